"""The HTTP server and its dashboard."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.serving.app import create_app as create_app
    from leanrec.serving.load.quality import LoadLimits as LoadLimits
    from leanrec.serving.security.api_keys import ApiKeys as ApiKeys
    from leanrec.serving.security.api_keys import add_key as add_key
    from leanrec.serving.server import serve as serve
    from leanrec.serving.serving_settings import ServingSettings as ServingSettings

__getattr__, __dir__, __all__ = export_lazily(
    __name__,
    {
        "app": ["create_app"],
        "load.quality": ["LoadLimits"],
        "security.api_keys": ["ApiKeys", "add_key"],
        "server": ["serve"],
        "serving_settings": ["ServingSettings"],
    },
)
