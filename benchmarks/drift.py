"""Detectors of falls of the response rate: false alarms and delays, beside an alarm at every hundredth list and none at all.

    python benchmarks/drift.py [--repeats 1] [--quick]

Simulated lists with a response rate of 5 percent: steady streams of a million, and streams in which it falls to 4 percent after 50,000.
river has the detectors with their defaults; it is measured where it is installed.
"""

import functools
from collections.abc import Callable

import numpy as np
from harness import Claim, Comparison, Contestant, Probe, main

from leanrec.online.refits.drift import find_fall

RATE, FALLEN, BEFORE, AFTER, STEADY = 0.05, 0.04, 50_000, 50_000, 1_000_000
N_STREAMS = 20
Detector = Callable[[np.ndarray], int | None]


def follow_river(responded: np.ndarray, name: str) -> int | None:
    from river import drift

    detector = getattr(drift, name)()
    for position, value in enumerate(responded.tolist()):
        detector.update(float(value))
        if detector.drift_detected:
            return position
    return None


def alarm_always(responded: np.ndarray) -> int | None:
    return 99 if len(responded) > 99 else None


def alarm_never(responded: np.ndarray) -> int | None:  # noqa: ARG001
    return None


def count_alarms(detect: Detector, stream: np.ndarray) -> int:
    """All alarms of a stream; the detector begins anew behind each."""
    n_alarms, start = 0, 0
    while (position := detect(stream[start:])) is not None:
        n_alarms, start = n_alarms + 1, start + position + 1
    return n_alarms


def measure(probe: Probe, detect: Detector, n_streams: int = N_STREAMS) -> None:
    if probe.quick:
        n_streams = 2
    delays, n_early = [], 0
    with probe.timed():
        for seed in range(n_streams):
            rng = np.random.default_rng(seed)
            stream = np.concatenate([rng.random(BEFORE) < RATE, rng.random(AFTER) < FALLEN])
            n_early += count_alarms(detect, stream[:BEFORE])
            found = detect(stream)
            while found is not None and found < BEFORE:  # a false alarm, after which the detector begins anew
                later = detect(stream[found + 1 :])
                found = None if later is None else found + 1 + later
            delays.append(AFTER if found is None else found - BEFORE)
        n_steady = max(1, n_streams // 4)
        steady = [np.random.default_rng(1_000 + seed).random(STEADY) < RATE for seed in range(n_steady)]
        n_false = sum(count_alarms(detect, each) for each in steady)
    n_hits = sum(each < AFTER for each in delays)
    probe.record_quality(
        alarms_per_million=n_false / n_steady,
        median_delay=float(np.median(delays)),
        slowest_delay=float(np.quantile(delays, 0.9)),
        f1=2 * n_hits / (n_hits + n_early + n_streams),
    )


DETECTORS: dict[str, Detector] = {
    "leanrec": find_fall,
    "always": alarm_always,
    "never": alarm_never,
    "river ADWIN": functools.partial(follow_river, name="ADWIN"),
    "river PageHinkley": functools.partial(follow_river, name="PageHinkley"),
}
CLAIM = Claim(
    name="drift",
    title="Falls of the response rate.",
    data="simulated lists: a response rate of 5 percent, which falls to 4 percent in half of the streams",
    contestants={
        name: Contestant(
            functools.partial(measure, detect=each, n_streams=8 if "river" in name else N_STREAMS), repeats=1
        )
        for name, each in DETECTORS.items()
    },
    comparisons=[
        Comparison("alarms in a million lists without drift", "leanrec", measure="alarms_per_million", at_most=1),
        *(
            Comparison(f"alarms in a million lists without drift, {name}", name, measure="alarms_per_million")
            for name in list(DETECTORS)[1:]
        ),
        Comparison(
            "lists from a fall of 20 % to its alarm, nine in ten", "leanrec", measure="slowest_delay", at_most=20_000
        ),
        *(
            Comparison(f"lists from a fall of 20 % to its alarm, nine in ten, {name}", name, measure="slowest_delay")
            for name in list(DETECTORS)[1:]
        ),
    ],
)

if __name__ == "__main__":
    main(CLAIM, __doc__)
