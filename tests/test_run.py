"""Conditions of a run: threads, time, memory, progress; and the measurement of cost."""

import sys
import time
import types

import numpy as np
import pytest
import threadpoolctl

from leanrec.budget import Budget
from leanrec.callbacks import ProgressBar
from leanrec.errors import BudgetError, SettingError
from leanrec.run import Run, measure


def test_a_negative_number_of_threads_is_refused() -> None:
    with pytest.raises(SettingError, match="threads must be 0"):
        Run(threads=-1)


def test_the_same_seed_gives_the_same_numbers() -> None:
    assert Run(seed=3).rng().integers(1000) == Run(seed=3).rng().integers(1000)


def test_threads_are_never_more_than_cores_and_are_divided_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = Run().n_threads()
    assert Run(threads=10_000).n_threads() == cores
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(cores))
    assert Run().n_threads() == 1


def test_libraries_with_threads_are_searched_again_after_an_import_only(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    search = threadpoolctl.ThreadpoolController
    monkeypatch.setattr(threadpoolctl, "ThreadpoolController", lambda: (searched.append(1), search())[1])
    for name in ("first", "second", "second"):
        monkeypatch.setitem(sys.modules, f"a_library_with_threads_{name}", types.ModuleType(name))
        with Run(threads=1).limit_threads():
            assert {each["num_threads"] for each in search().info()} == {1}
    assert len(searched) == 2


def test_time_runs_out_from_the_start_and_restart_resets_the_clock() -> None:
    late = Run(budget=Budget(fit_time=5), started=time.monotonic() - 6)
    assert late.out_of_time()
    fresh = late.restart(threads=1)
    assert not fresh.out_of_time()
    assert fresh == Run(threads=1, budget=Budget(fit_time=5))
    assert not Run().out_of_time()


def test_memory_above_the_budget_is_refused_with_both_sizes() -> None:
    run = Run(budget=Budget(memory="2kB"))
    assert run.available_memory() == 2000
    run.require_memory(2000, "A matrix")
    with pytest.raises(BudgetError, match="A matrix needs about 3 kB of memory and 2 kB is available"):
        run.require_memory(3000, "A matrix")


def test_tracked_steps_are_the_same_with_and_without_a_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(Run().track(range(3), "Work")) == list(Run(callbacks=(ProgressBar(),)).track(range(3), "Work"))


def test_measured_cost_contains_the_time_and_memory_of_the_block() -> None:
    with measure() as meter:
        kept = np.ones(4_000_000)
        time.sleep(0.02)
    assert meter.cost.wall >= 0.02
    assert meter.cost.peak >= 0.8 * kept.nbytes
