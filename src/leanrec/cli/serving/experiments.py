"""``leanrec experiments``: what may be concluded from a trial of a version, or from lists that explore."""

import dataclasses
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leanrec.cli import output
from leanrec.cli.options import Json, parse_number, parse_pairs
from leanrec.cli.recommend import Model
from leanrec.errors import SettingError

if TYPE_CHECKING:
    from leanrec.events.event_reader import EventReader
    from leanrec.online import VersionTrial
    from leanrec.online.experiments import ExperimentReport

__all__ = ["experiments"]

_WORDS = {
    "better": "{arm} is better than {control}",
    "worse": "{arm} is worse than {control}",
    "undecided": "No difference between {arm} and {control} so far",
    "too little data": "No verdict on {arm} yet: both arms need 25 users, some with positive events and some without",
    "same lists": "No verdict on {arm}: most lists of both arms are of the same policy, so it was not delivered",
    "sample ratio mismatch": "No verdict on {arm}: the numbers of users do not fit the intended ratio (p = {p:.2g}), so users or lists "
    "were lost. Find out which before anything else",
}


def experiments(
    model: Model,
    event_log: Annotated[
        str | None, typer.Option(help="Event log of the server (file or URL). Default: the log beside the model.")
    ] = None,
    trial: Annotated[
        str | None, typer.Option(help="Version that was on trial, or the start of its id. Default: the last trial.")
    ] = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(
            "--arm",
            help="An arm and its intended share, such as control=9, the control first; repeatable. Default: equal.",
        ),
    ] = None,
    since: Annotated[str | None, typer.Option(help="Count lists from this date or time on (ISO 8601, UTC).")] = None,
    until: Annotated[str | None, typer.Option(help="Count lists and events before this date or time.")] = None,
    event_type: Annotated[
        str | None, typer.Option(help="Count only positive events of this type. Default: all positive events.")
    ] = None,
    attributed: Annotated[
        bool, typer.Option("--attributed", help="Count only events that name a list of the experiment.")
    ] = False,
    adjust: Annotated[
        bool, typer.Option("--adjust", help="Take out what events before the first list of a user explain (CUPED).")
    ] = False,
    level: Annotated[float, typer.Option(help="Probability that the intervals hold at all looks.")] = 0.95,
    expected_users: Annotated[
        float, typer.Option(help="Users at which the interval should be narrowest; choose it before the first look.")
    ] = 10_000,
    off_policy: Annotated[
        str | None,
        typer.Option(help="Estimate instead what this version or model would have earned, from lists that explored."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the differences over time to this PNG.")] = None,
    as_json: Json = False,
) -> None:
    """Report an experiment from the event log of a server: users, differences, and what may be concluded at any time."""
    from leanrec.events.locations import open_reader
    from leanrec.online.experiments import report_experiment
    from leanrec.pipeline.replay import default_log_path

    log = open_reader(default_log_path(model) if event_log is None else event_log)
    window = {"since": _parse_time("since", since, -math.inf), "until": _parse_time("until", until, math.inf)}
    if off_policy is not None:
        _report_off_policy(log, model, off_policy, level, as_json=as_json, event_type=event_type, **window)
        return
    tried = _find_trial(model, trial)
    ratio = {name: parse_number("--arm", share) for name, share in parse_pairs(arm or (), "--arm").items()} or None
    if tried is not None:
        window = {
            "since": max(window["since"], _parse_time("since", tried.started, -math.inf)),
            "until": min(window["until"], _parse_time("until", tried.ended, math.inf)),
        }
        ratio = {"control": 1.0, "candidate": 1.0} if ratio is None else ratio
    report = report_experiment(
        log,
        ratio,
        event_type=event_type,
        attributed=attributed,
        adjusted=adjust,
        level=level,
        expected_users=expected_users,
        **window,
    )
    if as_json:
        output.print_json(report.to_dict() | {"trial": None if tried is None else vars(tried)})
    else:
        _print_report(report, tried)
    if plot is not None:
        from leanrec.evaluation.plots.experiment_figure import draw_differences

        compared = report.comparisons
        draw_differences(plot, [each.arm for each in compared], [each.looks for each in compared])
        output.print_note(f"Plot: {plot}")


def _find_trial(model: Path, version: str | None) -> "VersionTrial | None":
    """The last trial in which users got lists of the version; None where the model has no versions."""
    from leanrec.online import VersionStore
    from leanrec.online.version_store import is_version_store

    if not is_version_store(model):
        if version is not None:
            raise SettingError(f"trial must be one of a store of versions. {model} is a model without versions.")
        return None
    trials = [each for each in VersionStore(model).trials() if not each.is_shadow]
    found = [each for each in trials if version is None or each.version.startswith(version)]
    if version is not None and not found:
        tried = ", ".join(dict.fromkeys(each.version for each in trials)) or "none"
        raise SettingError(f"trial must be a version that was tried. Got {version!r}; tried so far: {tried}.")
    return found[-1] if found else None


def _parse_time(name: str, text: str | None, default: float) -> float:
    """A time in ISO 8601 as seconds since 1970; UTC unless it says otherwise."""
    if text is None:
        return default
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise SettingError(
            f"{name} must be a date or time such as 2026-11-30 or 2026-11-30T14:00. Got {text!r}."
        ) from None
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _print_report(report: "ExperimentReport", trial: "VersionTrial | None") -> None:
    what = "Experiment" if trial is None else f"Trial of {trial.version}"
    first, last = (f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}" for time in (report.first, report.last))
    output.print_table(
        f"{what}, lists from {first} to {last} UTC",
        ("arm", "most lists by", "users", "lists", "positive events", "for each user"),
        [
            (
                each.name,
                next(iter(each.policies), ""),
                f"{each.users:,}",
                f"{each.lists:,}",
                f"{each.rewards:,}",
                f"{each.mean_reward:.4f}",
            )
            for each in report.arms
        ],
        left=2,
    )
    for comparison in report.comparisons:
        found = comparison.difference
        words = _WORDS[comparison.verdict].format(
            arm=comparison.arm, control=report.arms[0].name, p=report.ratio_p_value
        )
        interval = (
            f" Difference: {found.value:+.4f} positive events for each user, {found.low:+.4f} to {found.high:+.4f} "
            f"({report.level:.0%}, at every look)."
        )
        output.print_line(f"{words}.{interval if math.isfinite(found.low) else ''}")
    if report.n_switched:
        output.print_note(
            f"{report.n_switched:,} lists went to users who had another arm before. They count in their first arm."
        )


def _report_off_policy(
    log: "EventReader",
    model: Path,
    version: str,
    level: float,
    *,
    as_json: bool,
    event_type: str | None,
    since: float,
    until: float,
) -> None:
    from leanrec.online import VersionStore
    from leanrec.online.experiments import replay_policy
    from leanrec.online.version_store import find_pipeline_path, is_version_store
    from leanrec.pipeline.pipeline import Pipeline

    is_path = Path(version).is_dir() or not is_version_store(model)
    path = find_pipeline_path(Path(version)) if is_path else VersionStore(model).find(version).path
    replayed = replay_policy(log, Pipeline.load(path), since=since, until=until, event_type=event_type)
    found = replayed.estimate_values(level)
    if as_json:
        listed = {"version": version, "lists": replayed.n_lists, "skipped": replayed.skipped}
        output.print_json(listed | {"estimates": [dataclasses.asdict(each) for each in found]})
        return
    output.print_table(
        "Positive events for each shown item",
        ("estimate", "value", f"{level:.0%} from", "to", "served", "shown items", "effective"),
        [
            (
                each.method,
                f"{each.value:.4f}",
                f"{each.low:.4f}",
                f"{each.high:.4f}",
                f"{each.logged:.4f}",
                f"{each.n:,}",
                f"{each.effective_n:,.0f}",
            )
            for each in found
        ],
    )
    output.print_line(f"Estimates for {version}, from {replayed.n_lists:,} lists that explored.")
    for reason, count in replayed.skipped.items():
        output.print_note(f"{count:,} lists were left out, because {reason}.")
