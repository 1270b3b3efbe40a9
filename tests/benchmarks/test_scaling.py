"""Scaling curves: exponents of known power laws, and which cells are skipped by extrapolation."""

import math
from pathlib import Path

import harness
import pytest
import scaling
from scaling import Cell


def cell(size: int) -> Cell:
    return Cell("ease", "events", size, 1000, 2)


PLAN = {str(size): cell(size) for size in (10, 100, 1000, 10_000)}


def known(**seconds: float | None) -> dict:
    return {
        cell(int(size[1:])).name: [{"failed": "stopped"} if value is None else {"wall": [value]}]
        for size, value in seconds.items()
    }


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_the_exponent_of_a_power_law_is_found(power: float) -> None:
    points = [(x, 3.0 * x**power) for x in (1e5, 1e6, 1e7)]
    assert scaling.fit_exponent(points) == pytest.approx(power, abs=1e-9)


def test_the_smallest_size_is_always_run() -> None:
    assert scaling.forecast_seconds(cell(10), PLAN, {}) == 0


def test_one_smaller_size_gives_its_own_time() -> None:
    assert scaling.forecast_seconds(cell(100), PLAN, known(_10=4.0)) == 4.0


def test_two_smaller_sizes_are_extrapolated() -> None:
    assert scaling.forecast_seconds(cell(1000), PLAN, known(_10=0.1, _100=1.0)) == pytest.approx(10)
    assert scaling.forecast_seconds(cell(1000), PLAN, known(_10=2.0, _100=1.0)) == pytest.approx(1)


def test_a_larger_size_than_one_that_failed_is_skipped() -> None:
    assert scaling.forecast_seconds(cell(100), PLAN, known(_10=None)) == math.inf
    assert scaling.forecast_seconds(cell(10_000), PLAN, known(_10=1.0, _100=2.0)) == math.inf


def test_rows_name_the_exponent_and_the_speed_up() -> None:
    plan = {f"{it.name} ({it.axis})": it for it in scaling.plan_cells("ease", 2, quick=True)}
    runs = {it.name: [{"wall": [it.events * 1e-4 / it.threads], "added": 8 * it.items}] for it in plan.values()}
    found = {row["what"]: row["ours"]["value"] for row in scaling.make_rows(plan, runs)}
    assert found["ease: time by events, up to 100,000"] == pytest.approx(1)
    assert found["ease: memory by items, up to 10,000"] == pytest.approx(1)
    assert found["ease: time by items, up to 10,000"] == pytest.approx(0, abs=1e-9)
    assert found["ease: 2 threads"] == pytest.approx(2)


def test_every_axis_is_drawn(tmp_path: Path) -> None:
    plan = {f"{it.name} ({it.axis})": it for it in scaling.plan_cells("ease", 2, quick=True)}
    runs = {it.name: [{"wall": [0.1 / it.threads], "added": 8 * it.items}] for it in plan.values()}
    assert harness.can_draw()
    names = scaling.draw_axes(plan, runs, tmp_path)
    assert names == ["scaling_events.png", "scaling_items.png", "scaling_threads.png"]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names)
