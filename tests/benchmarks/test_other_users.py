"""The benchmark of what other users do, on a server of its own."""

import other_users
import pytest


def test_it_waits_until_something_holds() -> None:
    asked: list[int] = []

    def holds() -> bool:
        asked.append(1)
        return len(asked) == 3

    assert other_users.wait_until(holds) < 60
    assert len(asked) == 3
    with pytest.raises(TimeoutError, match="within 0 s"):
        other_users.wait_until(lambda: False, 0)
