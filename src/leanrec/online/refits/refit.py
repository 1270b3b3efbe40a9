"""Refit: a new version from the log, judged on the newest events, and proposed to people if it is better."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from leanrec.data.dataset import Dataset
from leanrec.data.merge import join_events
from leanrec.data.removal import remove_users
from leanrec.data.splits.evaluation_set import EvaluationSet
from leanrec.data.splits.split import TEST, TRAIN, build_split
from leanrec.errors import ArtifactError, DataError, SettingError
from leanrec.evaluation.evaluate import Evaluation, evaluate
from leanrec.evaluation.metrics.ranking import RANKING_METRICS
from leanrec.events.event_reader import EventReader
from leanrec.events.seals import find_forgotten
from leanrec.online.refits.attempts import Attempt, AttemptFile
from leanrec.online.refits.drift import find_fall, read_responses
from leanrec.online.refits.judgment import Judgment, judge_refit
from leanrec.online.version_store import VersionStore
from leanrec.online.versions import Version
from leanrec.pipeline.lists.sources import refit_sources
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.provenance import build_provenance
from leanrec.pipeline.scorers import pad_scorer
from leanrec.pipeline.snapshot import SavedPipeline
from leanrec.protocols import Estimator, Scorer, Updatable
from leanrec.retrieval.choice import choose_index, get_asked
from leanrec.run import Run, measure
from leanrec.settings import check_at_least, check_between

__all__ = ["RefitResult", "RefitSettings", "refit"]

_RUN = Run()


@dataclasses.dataclass(frozen=True)
class RefitSettings:
    """When to refit, and when to propose.

    Attributes:
        metric: what the verdict is about, such as "ndcg@10" or "recall@20".
        judged_share: share of the new events, the newest, that the refit is judged on. It is not fitted on them.
        min_users: users to judge by; with fewer, nothing is fitted. Those who took nothing but the most frequent item do not
            count: a few accounts may push it.
        max_user_events: of a user with more new events than this, nothing is learned but what the served version knows.
        cooldown_hours: hours from the start of one refit to that of the next. 0 = no pause.
        level: of the intervals.
        warm: go on from the served model where it is `Updatable`; False = fit from the start.
        on_drift: fit only if people respond to fewer of the lists of the current version than at first: see `find_fall`.
    """

    metric: str = "ndcg@10"
    judged_share: float = 0.2
    min_users: int = 100
    max_user_events: int = 1_000
    cooldown_hours: float = 6.0
    level: float = 0.95
    warm: bool = True
    on_drift: bool = False

    def __post_init__(self) -> None:
        name, _, k = self.metric.partition("@")
        if name not in {each for each, _ in RANKING_METRICS} or not k.isdecimal() or int(k) < 1:
            names = ", ".join(each for each, _ in RANKING_METRICS)
            raise SettingError(f"metric must be one of {names}, with a cut-off such as ndcg@10. Got {self.metric!r}.")
        check_between("judged_share", self.judged_share, 0.01, 0.9)
        check_at_least("min_users", self.min_users, 2)
        check_at_least("max_user_events", self.max_user_events, 1)
        check_at_least("cooldown_hours", self.cooldown_hours, 0)
        check_between("level", self.level, 0.5, 0.9999)


@dataclasses.dataclass(frozen=True)
class RefitResult:
    """What a refit has come to.

    Attributes:
        outcome: "proposed", "no win", "outdated", or, where nothing was fitted, "too soon", "no drift" or "too few".
        reason: a sentence.
        against: id of the version that was served.
        version: the proposed version, or None.
        judgment: the measured difference, or None if nothing was fitted.
        attempt: what the store keeps about it, or None if nothing was fitted.
    """

    outcome: str
    reason: str
    against: str
    version: Version | None = None
    judgment: Judgment | None = None
    attempt: Attempt | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class _Window:
    """What has happened since the fit of the served version: a part to fit on, and the newest part to judge by."""

    train: Dataset
    newest: EvaluationSet
    has_same_users: bool
    n_new: int


def refit(
    store: VersionStore, log: EventReader, settings: RefitSettings = RefitSettings(), run: Run = _RUN
) -> RefitResult:
    """Refit the current version of a store on its log, and add the refit as a version if it is clearly better.

    The events that the current version does not know are divided in their order of arrival: the refit is fitted on the older
    ones, and both are judged on the newest, which neither has seen, with the same histories. What is proposed is what was judged,
    with its difference in ``Version.refit``. Nothing is promoted. A proposal before it that was neither promoted nor tried is
    removed, so at most one waits.

    Cost: a fit, or an update where the model can; two evaluations; memory for the data and both models. A server is not
    disturbed by more than the CPU time: do it in a process of its own, at low priority.

    Args:
        store: versions, one of which is current.
        log: the event log of the server.
        settings: when to refit and when to propose.
        run: conditions of the fit.

    Raises ArtifactError if no version is current, ConflictError if another refit is under way, and DataError if the log belongs to
    other data.
    """
    current = store.current()
    if current is None:
        raise ArtifactError(f"{store.path} must have a current version. None was promoted: promote one first.")
    attempts = AttemptFile(store.path)
    with attempts.lock() as staging:
        last, pause = attempts.find_last(), timedelta(hours=settings.cooldown_hours)
        if last is not None and datetime.now(UTC) < last + pause:
            reason = (
                f"The last refit began at {last:%Y-%m-%d %H:%M} UTC, less than {settings.cooldown_hours:g} hours ago."
            )
            return RefitResult("too soon", reason, current.id)
        steady = _find_no_drift(log, current.id) if settings.on_drift else None
        if steady is not None:
            return RefitResult("no drift", steady, current.id)
        served = Pipeline.load(current.path)
        log.check_origin(served.data_origin)
        window = _divide_log(served, log, settings)
        if isinstance(window, str):
            return RefitResult("too few", window, current.id)
        attempt = attempts.start(current.id)
        candidate, is_warm = _fit(served, window, log, settings, run)
        judgment = _judge(served, candidate, window.newest, settings, run)
        outcome, version = "no win", None
        if judgment.doubt is None:
            outcome, version = _propose(
                store, attempts, candidate, {"against": current.id} | judgment.to_dict(), staging
            )
        reason = f"{judgment}" + (f": {judgment.doubt}." if judgment.doubt else ".")
        attempt = dataclasses.replace(
            attempt,
            outcome=outcome,
            reason=reason,
            version=None if version is None else version.id,
            is_warm=is_warm,
            n_events=window.n_new,
            cpu_seconds=candidate.provenance["fit"]["cpu"],
        )
        attempts.finish(attempt)
    return RefitResult(outcome, reason, current.id, version, judgment, attempt)


def _find_no_drift(log: EventReader, version: str) -> str | None:
    """Why there is no drift, or None if there is."""
    responses = read_responses(log, version)
    if find_fall(responses.responded) is not None:
        return None
    n_lists = len(responses.responded)
    if not n_lists:
        return "The log has no list of the current version that is half an hour old."
    return f"People respond to {responses.rate:.2%} of the {n_lists:,} lists of the current version, without a lasting fall."


def _divide_log(served: Pipeline, log: EventReader, settings: RefitSettings) -> _Window | str:
    """Divide what the served version does not know. Returns a reason if there is too little."""
    known = served.to_dataset()
    known = remove_users(known, find_forgotten(known.users.ids, log.id, log.forgotten_users()))
    grown, joined, new = join_events(known, log.events(until=log.last_seq), log.items())
    n_old = len(new) - round(settings.judged_share * len(new))
    older, newest = new[:n_old], new[n_old:]
    if not len(older) or not len(newest):
        return f"The log has {len(new):,} events that the current version does not know: too few to divide."
    n_events = np.bincount(joined.user[older])
    older = older[n_events[joined.user[older]] <= settings.max_user_events]
    # No new event weighs more than the heaviest of the fit.
    heaviest = np.float32(joined.weight[: len(known.events)].max(initial=0) or 1.0)
    events = dataclasses.replace(joined, weight=np.minimum(joined.weight, heaviest))
    events = events.take(np.concatenate([np.arange(len(known.events)), older, newest]))
    part = np.full(len(events), TRAIN, np.int8)
    part[len(events) - len(newest) :] = TEST
    order = np.lexsort((events.time, events.user))  # the order of the events in ``data``
    data = grown.with_events(events)
    try:
        parts = build_split(data, part[order], "given")
    except DataError:
        return "The newest events have nothing to judge: no positive event on an item that is new to its user."
    taken = parts.test.ground_truth
    most_frequent = int(np.bincount(taken.indices).argmax())
    is_pushed = taken[:, [most_frequent]].toarray()[:, 0] > 0
    n_users = int((parts.test.n_relevant > is_pushed).sum())
    if n_users < settings.min_users:
        return (
            f"The newest {len(newest):,} events have {n_users:,} users to judge by, who took more than the most frequent item; "
            f"{settings.min_users:,} are needed."
        )
    has_same_users = len(known.users) == len(served.fitted_data.users)
    return _Window(parts.train, parts.test, has_same_users, len(older))


def _fit(
    served: Pipeline, window: _Window, log: EventReader, settings: RefitSettings, run: Run
) -> tuple[Pipeline, bool]:
    """The refit, and whether it has gone on from the served model."""
    model, fallback = served.fitted_scorers
    estimator, data = getattr(model, "settings", None), window.train
    is_warm = settings.warm and window.has_same_users and isinstance(model, Updatable)
    if not isinstance(estimator, Estimator):
        raise SettingError(f"{served.name} must have settings to be fitted again. It has none. Fit it yourself.")
    with measure() as meter, run.limit_threads():
        fitted = model.update(data, None, run) if is_warm else estimator.fit(data, run)  # type: ignore[attr-defined]
        sources = refit_sources(served.sources, data, run)
        item_index, retrieval = choose_index(fitted, data, get_asked(served.provenance), run)
    other: Any = None if fallback is None else fallback.settings.fit(data, run)  # type: ignore[attr-defined]
    hidden = data.items.rows(list(log.hidden_items()), missing=-1)
    saved = SavedPipeline(
        name=served.name,
        fallback_name=served.fallback_name,
        model=fitted,
        fallback=other,
        data=dataclasses.replace(
            data, events=dataclasses.replace(data.events, request=None, rank=None, propensity=None)
        ),
        stale=np.zeros(0, np.int32),
        hidden=hidden[hidden >= 0] if (hidden >= 0).any() else None,
        sources=sources,
        item_index=item_index,
    )
    provenance = build_provenance(estimator, data, run, dataclasses.asdict(meter.cost), log)
    if retrieval:
        provenance["retrieval"] = retrieval
    if sources:
        provenance["sources"] = served.provenance.get("sources", [])
    forgotten = log.forgotten_users()
    if forgotten:
        provenance["forgotten"] = forgotten[-1].number
    return Pipeline(saved, provenance), is_warm


def _judge(served: Pipeline, candidate: Pipeline, newest: EvaluationSet, settings: RefitSettings, run: Run) -> Judgment:
    """Compare the lists of both, each with its fallback, as they would be served with the same histories."""
    cutoff, data = int(settings.metric.partition("@")[2]), candidate.fitted_data
    fitted = served.fitted_data
    rows = fitted.users.rows(data.users.ids[newest.queries.users], missing=-1)
    rows[rows >= served.histories.n_fitted_users] = -1
    is_known = rows >= 0
    model, fallback = served.fitted_scorers
    n_events = np.diff(fitted.indptr)
    # The history of a user who has no event since the fit is that of the fit.
    is_stale = is_known & (n_events[rows] != np.diff(data.indptr)[newest.queries.users])
    is_stale |= np.array([row >= 0 and served.histories.is_stale(row, None) for row in rows.tolist()], np.bool_)
    queries = dataclasses.replace(newest.queries, users=rows, is_stale=is_stale)
    run = run.restart()

    def evaluate_scorers(model: Scorer, fallback: Scorer | None, queries: EvaluationSet) -> Evaluation:
        n_items = len(data.items)
        padded = None if fallback is None else pad_scorer(fallback, n_items)
        return evaluate(pad_scorer(model, n_items), queries, k=(cutoff,), fallback=padded, run=run)

    mine = evaluate_scorers(model, fallback, dataclasses.replace(newest, queries=queries))
    its = evaluate_scorers(*candidate.fitted_scorers, newest)
    has_history = is_known & (n_events[rows] > 0)
    return judge_refit(mine, its, newest.ground_truth, has_history, settings.metric, settings.level)


def _propose(
    store: VersionStore, attempts: AttemptFile, candidate: Pipeline, measured: dict[str, Any], staging: Any
) -> tuple[str, Version | None]:
    """Add the refit as a version, unless what it was compared with is not served any more."""
    candidate.provenance = {**candidate.provenance, "refit": measured}
    candidate.save(staging)
    current = store.current()
    if current is None or current.id != measured["against"]:
        return "outdated", None
    version = store.add(staging)
    known = {each.id for each in store.versions()}
    for each in attempts.read():
        if each.version in known - {version.id}:
            store.discard(each.version)
            known.discard(each.version)
    return "proposed", version
