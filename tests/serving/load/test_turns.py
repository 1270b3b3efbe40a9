"""Turns of lists: in the order of arrival, a few at a time, so that other requests have theirs."""

import asyncio

import pytest

from leanrec.serving.load.turns import Turns


async def make_list(turns: Turns, number: int, made: list[int]) -> None:
    await turns.wait()
    made.append(number)
    turns.spend(1e-3)


def test_lists_are_made_in_order_and_a_few_in_a_round() -> None:
    made: list[int] = []
    rounds: list[int] = []

    async def run() -> None:
        turns = Turns(100)
        tasks = [asyncio.ensure_future(make_list(turns, number, made)) for number in range(60)]
        while len(made) < 60:
            await asyncio.sleep(0)
            rounds.append(len(made))
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert made == list(range(60))
    # A probe would have been answered in each of these rounds.
    assert max(after - before for before, after in zip([0, *rounds[:-1]], rounds, strict=True)) <= 10
    assert len(rounds) < 40


def test_without_load_a_list_has_its_turn_at_once() -> None:
    async def run() -> None:
        turns = Turns(1)
        waiting = turns.wait()
        with pytest.raises(StopIteration):
            waiting.send(None)

    asyncio.run(run())


def test_a_long_list_delays_the_next_round_only() -> None:
    made: list[int] = []

    async def run() -> None:
        turns = Turns(10)
        turns.spend(10.0)
        await asyncio.gather(*(make_list(turns, number, made) for number in range(3)))

    asyncio.run(run())
    assert made == [0, 1, 2]


def test_a_client_that_gives_up_harms_no_other() -> None:
    made: list[int] = []

    async def run() -> None:
        turns = Turns(50)
        tasks = [asyncio.ensure_future(make_list(turns, number, made)) for number in range(30)]
        await asyncio.sleep(0)
        for task in tasks[10:20]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())
    assert made == [*range(10), *range(20, 30)]


def test_places_are_limited_and_given_back() -> None:
    turns = Turns(2)
    assert [turns.enter() for _ in range(3)] == [True, True, False]
    turns.leave()
    assert turns.enter()
    assert turns.in_flight == 2


def test_refusals_take_turns_too() -> None:
    refused: list[int] = []
    rounds: list[int] = []

    async def refuse(turns: Turns, number: int) -> None:
        await turns.wait_refused()
        refused.append(number)

    async def run() -> None:
        turns = Turns(1)
        tasks = [asyncio.ensure_future(refuse(turns, number)) for number in range(200)]
        while len(refused) < 200:
            await asyncio.sleep(0)
            rounds.append(len(refused))
        await asyncio.gather(*tasks)

    asyncio.run(run())
    assert refused == list(range(200))
    assert max(after - before for before, after in zip([0, *rounds[:-1]], rounds, strict=True)) <= 20
