"""Client of a leanrec server, on the standard library alone: lists, and events that are sent again until they are stored."""

from typing import TYPE_CHECKING

from leanrec._lazy import export_lazily

if TYPE_CHECKING:
    from leanrec.client.client import Client as Client
    from leanrec.client.client import RetryPolicy as RetryPolicy

__getattr__, __dir__, __all__ = export_lazily(__name__, {"leanrec.client.client": ["Client", "RetryPolicy"]})
