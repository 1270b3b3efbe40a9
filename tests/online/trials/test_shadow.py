"""Shadow lists: compared and counted, and never in the way of an answer."""

import threading
import time
from typing import Any

from leanrec.online.trials.shadow import ShadowLists
from leanrec.pipeline import Recommendations, RecommendedItem


def _make_list(*items: int) -> Recommendations:
    return Recommendations("r", tuple(RecommendedItem(item, str(item), 1.0) for item in items))


class Scripted:
    """A version that lists the items of a script, fails at 0, and can be held up."""

    def __init__(self, *lists: tuple[int, ...]) -> None:
        self._lists, self.options = list(lists), list[dict[str, Any]]()
        self.go = threading.Event()
        self.go.set()

    def recommend(self, user: object, **options: Any) -> Recommendations:
        self.go.wait(10)
        self.options.append({"user": user, **options})
        listed = self._lists.pop(0)
        if listed == (0,):
            raise RuntimeError("a defect")
        return _make_list(*listed)


def _wait(shadow: ShadowLists, n: int) -> None:
    end = time.monotonic() + 60
    while shadow.n_compared + shadow.n_failed < n and time.monotonic() < end:
        time.sleep(0.005)


def test_lists_are_compared_and_failures_counted() -> None:
    version = Scripted((1, 2, 3), (1, 9), (0,), ())
    shadow = ShadowLists(version, 1.0)  # type: ignore[arg-type]
    for each in (_make_list(3, 2, 1), _make_list(1, 2), _make_list(5), _make_list(5)):
        shadow.offer("ann", {"n": 3, "trace": True}, each, 0.001)
    _wait(shadow, 4)
    shadow.close()
    assert (shadow.n_compared, shadow.n_failed, shadow.n_dropped) == (3, 1, 0)
    assert shadow.overlap == (1 + 0.5 + 0) / 3
    assert version.options[0] == {"user": "ann", "n": 3, "trace": False}
    assert shadow.seconds[0] > 0


def test_lists_that_find_the_queue_full_are_dropped_at_once() -> None:
    version = Scripted(*[(1,)] * 100)
    version.go.clear()
    shadow = ShadowLists(version, 1.0)  # type: ignore[arg-type]
    for _ in range(100):
        shadow.offer("ann", {}, _make_list(1), 0.001)
    assert 60 <= shadow.n_dropped <= 68
    version.go.set()
    shadow.close()
    assert shadow.n_compared <= 40


def test_a_share_of_the_lists_is_taken() -> None:
    shadow = ShadowLists(Scripted(), 0.0)  # type: ignore[arg-type]
    shadow.offer("ann", {}, _make_list(1), 0.001)
    shadow.close()
    assert (shadow.n_compared, shadow.n_dropped, shadow.overlap) == (0, 0, None)
