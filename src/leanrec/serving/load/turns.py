"""Turns of lists in the event loop: how many wait, and how long they hold it before other requests are read."""

import asyncio
import collections

__all__ = ["Turns"]

_ROUND_SECONDS = 5e-3
_REFUSALS_OF_A_ROUND = 20


class Turns:
    """Gives lists their turns, oldest first.

    The event loop would run all lists that have arrived before it looks at any other request. Here those beyond about 5 ms
    of work wait for the next round, in which the loop reads what has arrived meanwhile, and so a probe or an event waits for
    milliseconds however many lists wait. Refusals take turns too, 20 of a round: a client that is refused asks again, so
    that refusing at once could take all the time there is.

    Without load a list has its turn at once, which costs less than a microsecond. Of one event loop.

    Attributes:
        max_in_flight: largest number of lists that wait for their turn or have it.
        in_flight: number of lists that wait for their turn or have it.
    """

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight, self.in_flight = max_in_flight, 0
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._refused: collections.deque[asyncio.Future[None]] = collections.deque()
        self._spent = 0.0  # seconds since the last round began; without load one of these lasts for many of the loop
        self._n_refused = 0  # of this round
        self._seconds = 1e-3  # of one list in the loop
        self._is_scheduled = False

    def enter(self) -> bool:
        """Take a place, which ``leave`` must give back. False: there is none."""
        if self.in_flight >= self.max_in_flight:
            return False
        self.in_flight += 1
        return True

    def leave(self) -> None:
        """Give back a place."""
        self.in_flight -= 1

    async def wait(self) -> None:
        """Wait for a turn."""
        if self._waiting or self._spent >= _ROUND_SECONDS:
            await self._join(self._waiting)

    def spend(self, seconds: float) -> None:
        """Count the time in which a list held the event loop."""
        self._spent += seconds
        self._seconds += 0.1 * (seconds - self._seconds)
        if self._spent >= _ROUND_SECONDS:
            self._schedule()

    async def wait_refused(self) -> None:
        """Wait until a request may be refused."""
        self._n_refused += 1
        if self._refused or self._n_refused > _REFUSALS_OF_A_ROUND:
            await self._join(self._refused)
        else:
            self._schedule()

    async def _join(self, waiting: "collections.deque[asyncio.Future[None]]") -> None:
        turn = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        self._schedule()
        await turn  # one that is cancelled stays, and is passed over

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._begin_round)

    def _begin_round(self) -> None:
        self._is_scheduled = False
        self._spent, self._n_refused = 0.0, 0
        n_lists = max(1, int(_ROUND_SECONDS / max(self._seconds, 1e-6)))
        for waiting, count in ((self._waiting, n_lists), (self._refused, _REFUSALS_OF_A_ROUND)):
            left = count
            while waiting and left:
                turn = waiting.popleft()
                if not turn.done():
                    turn.set_result(None)
                    left -= 1
        if self._waiting or self._refused:
            self._schedule()
