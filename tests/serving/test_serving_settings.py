"""Settings of a server: what must hold is said before anything is served."""

from typing import Any

import pytest

from leanrec.errors import SettingError
from leanrec.serving.serving_settings import ServingSettings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_connections": 0}, "max_connections must be .* at least 1. Got 0"),
        ({"request_timeout": 0.0}, "request_timeout must be a positive number. Got 0"),
        ({"explore": 1.5}, "explore must be"),
        ({"log_format": "xml"}, "log_format must be .*text.*json.*xml"),
        ({"slow_request": -1.0}, "slow_request must be"),
        ({"trace_share": 2.0}, "trace_share must be"),
        ({"allowed_hosts": ("a b",)}, "a b"),
        ({"tls_key": "key.pem"}, "tls_cert"),
        ({"event_types": tuple(map(str, range(51)))}, "event_types must be at most 50. Got 51"),
    ],
)
def test_impossible_settings_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        ServingSettings(**setting)


def test_the_defaults_admit_nobody_else_and_change_no_list() -> None:
    settings = ServingSettings()
    assert settings.keys is None
    assert not settings.insecure
    assert (settings.explore, settings.learning, settings.trace_endpoint) == (0.0, None, None)
