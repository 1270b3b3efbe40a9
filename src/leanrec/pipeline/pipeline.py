"""Pipeline: a fitted model with all it needs to answer people, in own ids."""

import dataclasses
import functools
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from leanrec import artifacts, models
from leanrec.data.dataset import Dataset
from leanrec.data.merge import extend_vocabulary, append_rows, merge
from leanrec.data.table import Table
from leanrec.data.vocabulary import Id
from leanrec.errors import ArtifactError, SettingError
from leanrec.events.sqlite_reader import DataOrigin, SQLiteEventReader
from leanrec.events.user_events import EvidenceWeights, UserEvent, to_events
from leanrec.pipeline.catalog import Catalog, ItemRules, Where, to_id_list
from leanrec.pipeline.explanations import render_explanation, render_path, verb_for
from leanrec.pipeline.provenance import check_estimator, model_name, origin, provenance
from leanrec.pipeline.recording import by_user, unusable
from leanrec.pipeline.responses import (
    Contribution,
    HistoryEvent,
    ItemExplanation,
    Recommendations,
    RecommendedItem,
    RecordResult,
    RejectedEvent,
)
from leanrec.pipeline.scorers import ConstantScores
from leanrec.pipeline.snapshot import SavedPipeline, Snapshot
from leanrec.pipeline.stages import RankedItems, listed
from leanrec.pipeline.user_histories import UserHistories, UserHistory
from leanrec.protocols import Estimator, Explanation, Extendable, Scorer, rank_contributions
from leanrec.run import Run, measure
from leanrec.types import Events, IdArray, Int32Array, Queries

__all__ = ["Pipeline"]

_RUN = Run()
_SILENT = "nothing in the history speaks for it"
_MOST_EXPLAINED = 50  # newest items of a history that a model without reasons of its own is asked about


@dataclasses.dataclass(frozen=True, eq=False)
class _Asker:
    user: Id | None
    history: UserHistory
    row: int
    ignored: tuple[Id, ...] = ()


class Pipeline:
    """Model, fallback, ids, histories and item table: own ids in, lists with titles and reasons out.

    Safe to use from many threads. What ``record`` takes in, the next ``recommend`` reflects: histories
    change, nothing is refitted, and from then on the model sees the user as their history alone.

    Cost: a request is the model's cost of one query, O(N) vectorised work to select, and reasons for the
    shown items; memory is the model plus about 25 bytes an event.
    """

    def __init__(self, saved: SavedPipeline, provenance: Mapping[str, Any] = MappingProxyType({})) -> None:
        """Take a fitted model and its data; ``fit`` and ``load`` make both."""
        self.name, self.fallback_name = saved.name, saved.fallback_name
        self.provenance = provenance
        self.strength = EvidenceWeights.of(saved.data.events)
        self._data = saved.data
        self._histories = UserHistories(saved.data, saved.stale)
        self._state = Snapshot(saved.model, saved.fallback, Catalog(saved.data.items, saved.data.item_table))
        self._changing = threading.Lock()

    @classmethod
    def fit(
        cls,
        estimator: Estimator,
        data: Dataset,
        run: Run = _RUN,
        *,
        fallback: Estimator | None = None,
        log: SQLiteEventReader | None = None,
    ) -> "Pipeline":
        """Fit a model and its fallback (popularity unless given) and note what the fit cost.

        Args:
            estimator: settings of the model.
            data: what to fit it on.
            run: conditions of the fit.
            fallback: settings of the model that answers people of whom nothing is known.
            log: an event log whose reactions and new items join ``data`` first. A server of this pipeline can
                go on with that log.

        Raises BudgetError where the model would not fit the memory of ``run``.
        """
        check_estimator(estimator)
        if log is not None:
            data = merge(data, log.events(), log.items())
        with measure() as meter:
            model = estimator.fit(data, run)
        other = models.get_model("popularity")() if fallback is None else fallback
        bare = dataclasses.replace(data.events, request=None, rank=None, propensity=None)
        saved = SavedPipeline(
            name=model_name(estimator),
            fallback_name=model_name(other),
            model=model,
            fallback=other.fit(data, run),
            data=dataclasses.replace(data, events=bare),
            stale=np.zeros(0, np.int32),
        )
        return cls(saved, provenance(estimator, data, run, dataclasses.asdict(meter.cost), log))

    @classmethod
    def load(cls, path: str | Path) -> "Pipeline":
        """Read what ``save`` wrote. Raises ArtifactError unless all of it verifies."""
        saved = artifacts.load(path, SavedPipeline)
        if not isinstance(saved.model, Scorer) or saved.model.n_items != len(saved.data.items):
            raise ArtifactError(f"{path} does not verify: the model is not one over its {len(saved.data.items)} items.")
        return cls(saved, artifacts.read_manifest(path).get("provenance", {}))

    def save(self, path: str | Path) -> Path:
        """Write model, histories and tables to a folder, with what was recorded so far."""
        data, stale = self._histories.merged(self._catalogued())
        state = self._state
        saved = SavedPipeline(self.name, self.fallback_name, state.model, state.fallback, data, stale)
        return artifacts.save(saved, path, provenance=self.provenance)

    @property
    def origin(self) -> DataOrigin:
        """The data that the model was fitted on: what an event log is kept for."""
        return origin(self.provenance, self._data)

    @property
    def model(self) -> Scorer:
        """The fitted scorer."""
        return self._state.model

    @property
    def catalog(self) -> Catalog:
        """The items, with titles, search and filters."""
        return self._state.catalog

    @property
    def n_users(self) -> int:
        """Users known by now."""
        return self._histories.n_users

    @property
    def rating_range(self) -> tuple[float, float] | None:
        """Lowest and highest rating, or None where there are no ratings."""
        return self._data.rating_range

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of events known by now."""
        return self._histories.kinds

    def warm(self) -> None:
        """Make ready what the first request would otherwise wait for: kernels, look-ups and texts."""
        if len(self.catalog):
            first = self.catalog.external_id(0)
            self.recommend(history=[first], n=1)
            self.similar(first, 1)
            self.catalog.search("", 1)
        self.users("", 1)

    def data(self) -> Dataset:
        """The data of the fit with all that was recorded since: what the next fit should see. O(E)."""
        return self._histories.merged(self._catalogued())[0]

    def recommend(
        self,
        user: Id | None = None,
        *,
        history: Iterable[Id] | None = None,
        weights: Sequence[float] | None = None,
        ratings: Sequence[float | None] | None = None,
        n: int = 10,
        exclude_seen: bool = True,
        allow: Iterable[Id] | None = None,
        deny: Iterable[Id] | None = None,
        where: Where | None = None,
        reasons: bool = True,
    ) -> Recommendations:
        """The n best items for a user, or for a history.

        Args:
            user: own id. Raises UnknownIdError if nobody has it and no history is given.
            history: items, oldest first, that stand for the asker instead of what is known of them; empty =
                somebody of whom nothing is known, who gets the fallback.
            weights: strength of each item of ``history``; default: that of a usual positive event.
            ratings: rating of each item of ``history``, None where there is none.
            n: length of the list; a longer one than there are items is cut, and ``note`` says so.
            exclude_seen: leave out items of the history.
            allow: only these items.
            deny: none of these items.
            where: only items that meet these conditions; see ``Catalog.matching``.
            reasons: say why; switch it off to save its time.
        """
        _check_count(n)
        asker = self._asker(user, history, weights, ratings)
        state = self._state
        rules = state.catalog.rules(allow, deny, where)
        queries = asker.history.queries(asker.row, len(state.catalog))
        found = self._listed(state, queries, n, rules, exclude_seen=exclude_seen)
        verb = self._verb(asker.history)

        def why(place: int, row: int) -> tuple[str, ...]:
            if not reasons:
                return ()
            if found.fell_back or place >= found.n_from_model:
                return self._fallback_reason(fell_back=found.fell_back)
            return self._reasons(state, queries, row, verb)

        return Recommendations(
            request=uuid.uuid4().hex,
            items=_shown(state.catalog, found, why),
            fallback=self.fallback_name if found.fell_back else None,
            user=asker.user,
            ignored=(*asker.ignored, *rules.unknown),
            note=self._note(found, n),
        )

    def similar(self, item: Id, n: int = 10, *, where: Where | None = None) -> Recommendations:
        """The n items most like one. Raises UnknownIdError.

        Likeness is the angle between the model's embeddings where it has any, and otherwise what the model
        recommends to somebody who touched only this item.
        """
        _check_count(n)
        state = self._state
        row = state.catalog.items.row(item)
        rules = state.catalog.rules(None, [item], where)
        queries = self._given(np.array([row], np.int32), None, None).queries(-1, len(state.catalog))
        if state.directions is not None:
            cosine = state.directions @ state.directions[row]
            state = dataclasses.replace(state, model=ConstantScores(cosine[None, :]))
        found = self._listed(state, queries, n, rules, exclude_seen=True)
        shown = _shown(state.catalog, found, lambda _, other: _common(state.catalog, row, other))
        fallback = self.fallback_name if found.fell_back else None
        return Recommendations(uuid.uuid4().hex, shown, fallback, note=self._note(found, n))

    def explain(self, user: Id | None, item: Id, *, history: Iterable[Id] | None = None) -> ItemExplanation:
        """Why an item suits a user (or somebody with this history). Raises UnknownIdError."""
        asker = self._asker(user, history, None, None)
        state = self._state
        row = state.catalog.items.row(item)
        queries = asker.history.queries(asker.row, len(state.catalog))
        if not queries.history.nnz and not self._knows(state, queries):
            reasons = self._fallback_reason(fell_back=True)
            return ItemExplanation(state.catalog.external_id(row), state.catalog.title(row), reasons, fallback=self.fallback_name)
        why = self._explanation(state, queries, row)
        contributions = [
            Contribution(state.catalog.external_id(int(past)), state.catalog.title(int(past)), float(weight))
            for past, weight in zip(why.items, why.weights, strict=True)
            if weight > 0
        ]
        words = render_explanation(why, state.catalog.title, self._verb(asker.history))
        return ItemExplanation(
            state.catalog.external_id(row),
            state.catalog.title(row),
            words or (_SILENT,),
            tuple(contributions[:10]),
            why.features[:10],
            paths=tuple(render_path(path, state.catalog.title, state.catalog.title(row)) for path in why.paths),
        )

    def record_event(self, user: Id, item: Id, kind: str = "click", value: float | None = None) -> RecordResult:
        """Take in one thing that a user did just now: ``record`` for a single event in own ids."""
        weight = self.strength.weight(kind, value)
        now = int(time.time())
        return self.record(to_events([UserEvent(uuid.uuid4().hex, user, item, kind, now, weight, value)]))

    def record(self, events: Events, *, replayed: bool = False) -> RecordResult:
        """Take in events in own ids, of known and new users; the next answer reflects them.

        Events on unknown items, of too many kinds, or with an impossible weight or rating are set aside.
        Cost: O(L) for each user named.

        Args:
            events: (E,) in own ids.
            replayed: some of them may be there already, from the fit or an earlier replay; these (user, item, kind
                and time) change nothing. Otherwise each is something that happened, twice in a second or not.
        """
        if not len(events):
            return RecordResult(0)
        rows = self._state.catalog.items.rows(events.item, missing=-1)
        codes = [self._histories.code(name) for name in events.event_types]
        aside = unusable(events, rows, codes, self.rating_range)
        good = np.setdiff1d(np.arange(len(events)), list(aside), assume_unique=True).astype(np.intp)
        kind = np.array([0 if code is None else code for code in codes], np.int8)[events.event_type]
        value = np.full(len(events), np.nan, np.float32) if events.rating is None else events.rating
        added = 0
        for user, where in by_user(events.user, good):
            past = UserHistory(rows[where], kind[where], events.time[where], events.weight[where], value[where])
            added += self._histories.add(user, past, replayed=replayed)
        return RecordResult(added, tuple(RejectedEvent(position, why) for position, why in sorted(aside.items())))

    def add_items(self, ids: IdArray | Sequence[Id], table: Table, *, keep: Callable[[], None] | None = None) -> int:
        """Take in new items by their content, leave known ones as they are, and return how many are new.

        Raises SettingError if the model needs a refit for that, and DataError for content that does not fit.

        Args:
            ids: own ids.
            table: a row for each.
            keep: writes the items down; called when all is ready and before anybody sees them. If it raises,
                nothing has changed.
        """
        with self._changing:
            state = self._state
            model, known = state.model, state.catalog.items
            fresh = [place for place, own in enumerate(ids) if own not in known]
            if not fresh:
                return 0
            if not isinstance(model, Extendable):
                raise SettingError(
                    f"{self.name} cannot take in new items: it needs a refit. A model that reads content can."
                )
            wider = extend_vocabulary(known, np.asarray(ids)[fresh])
            added = _like(state.catalog.table, table.take(np.array(fresh)))
            fallback = state.fallback.extend(added) if isinstance(state.fallback, Extendable) else state.fallback
            catalog = Catalog(wider, append_rows(state.catalog.table, len(known), added))
            wider_state = Snapshot(model.extend(added), fallback, catalog)
            if keep is not None:
                keep()
            self._state = wider_state
            return len(wider) - len(known)

    def history(self, user: Id, limit: int | None = None) -> tuple[HistoryEvent, ...]:
        """What a user did, newest first. Raises UnknownIdError."""
        past = self._histories.of(self._row(user))
        catalog, kinds = self._state.catalog, self._histories.kinds
        newest = range(len(past) - 1, -1, -1)[:limit]
        return tuple(
            HistoryEvent(
                id=catalog.external_id(int(past.item[at])),
                title=catalog.title(int(past.item[at])),
                kind=kinds[past.event_type[at]],
                time=int(past.time[at]),
                weight=float(past.weight[at]),
                value=float(past.rating[at]) if np.isfinite(past.rating[at]) else None,
            )
            for at in newest
        )

    def users(self, text: str = "", limit: int = 20) -> tuple[tuple[Id, int], ...]:
        """Users whose id begins with the text, and how many events each has. O(U) for the first look."""
        rows = self._histories.beginning_with(text, limit)
        return tuple((self._histories.external_id(row), self._histories.count(row)) for row in rows)

    def external_user_id(self, user: Id) -> Id:
        """The id as the data writes it (12 for "12"), or as it came if nobody has it."""
        row = self._histories.find(user)
        return user if row is None else self._histories.external_id(row)

    def external_item_id(self, item: Id) -> Id:
        """The id as the data writes it, or as it came if it is unknown."""
        catalog = self._state.catalog
        return catalog.external_id(catalog.items.row(item)) if item in catalog.items else item

    @functools.cached_property
    def _main_kind(self) -> int:
        """Code of the most frequent kind of event."""
        return int(np.bincount(self._data.events.event_type, minlength=1).argmax())

    def _verb(self, history: UserHistory) -> str:
        """What the asker did with most of the items."""
        code = int(np.bincount(history.event_type).argmax()) if len(history) else self._main_kind
        return verb_for(self._histories.kinds[code])

    def _row(self, user: Id) -> int:
        row = self._histories.find(user)
        return self._data.users.row(user) if row is None else row

    def _asker(
        self,
        user: Id | None,
        history: Iterable[Id] | None,
        weights: Sequence[float] | None,
        ratings: Sequence[float | None] | None,
    ) -> _Asker:
        if history is None:
            if user is None:
                raise SettingError(
                    "A user or a history must be given. Got neither; an empty history asks for the fallback."
                )
            if weights is not None or ratings is not None:
                raise SettingError("weights and ratings go with a history. Got no history.")
            row = self._row(user)
            return _Asker(self._histories.external_id(row), self._histories.of(row), self._histories.row_for_model(row))
        ids = to_id_list("history", history)
        for name, values in (("weights", weights), ("ratings", ratings)):
            if values is not None and len(values) != len(ids):
                raise SettingError(f"{name} must have {len(ids)} entries, as history has. Got {len(values)}.")
        rows = self._state.catalog.items.rows(ids, missing=-1)
        ignored = tuple(own for own, item in zip(ids, rows, strict=True) if item < 0)
        return _Asker(None if user is None else self.external_user_id(user), self._given(rows, weights, ratings), -1, ignored)

    def _given(
        self, rows: Int32Array, weights: Sequence[float] | None, ratings: Sequence[float | None] | None
    ) -> UserHistory:
        """A history that came with the call: order stands in for time."""
        values = [None] * len(rows) if ratings is None else ratings
        if weights is None:
            weights = [self.strength.weight(None, value) for value in values]
        history = UserHistory(
            item=rows,
            event_type=np.full(len(rows), self._main_kind, np.int8),
            time=np.arange(len(rows), dtype=np.int64),
            weight=np.array(weights, np.float32),
            rating=np.array([np.nan if value is None else value for value in values], np.float32),
        )
        return UserHistory(**{name: column[rows >= 0] for name, column in history.columns().items()})

    def _listed(self, state: Snapshot, queries: Queries, n: int, rules: ItemRules, *, exclude_seen: bool) -> RankedItems:
        return listed(state, queries, n, rules, exclude_seen=exclude_seen, rating_range=self.rating_range)

    def _reasons(self, state: Snapshot, queries: Queries, row: int, verb: str) -> tuple[str, ...]:
        if state.explainer is None:
            return ()
        return render_explanation(state.explainer.explain(queries, row), state.catalog.title, verb)

    def _fallback_reason(self, *, fell_back: bool) -> tuple[str, ...]:
        if self.fallback_name == "popularity":
            return ("popular with everybody",)
        return (f"nothing is known of you yet: {self.fallback_name}" if fell_back else f"from {self.fallback_name}",)

    def _note(self, found: RankedItems, n: int) -> str | None:
        """What the asker should know about a list: where the model fell silent, and why it is short."""
        count = len(found.rows)
        silent = f"{count - found.n_from_model} of {count}, at the end, come from {self.fallback_name}: the model has nothing to say for them."
        short = f"{count} of {n}: no other item may be shown."
        return " ".join([silent] * (found.n_from_model < count) + [short] * (count < n)) or None

    def _explanation(self, state: Snapshot, queries: Queries, row: int) -> Explanation:
        """The model's own, or what each item of the history would say for the item if it stood alone."""
        if state.explainer is not None:
            return state.explainer.explain(queries, row)
        newest = queries.history.indices if queries.sequences is None else np.unique(queries.sequences[0][-_MOST_EXPLAINED:])
        alone = [
            self._given(np.array([each], np.int32), None, None).queries(-1, len(state.catalog)) for each in newest
        ]
        scores = np.concatenate([state.model.score(each) for each in alone])
        above = scores[:, row] - scores.mean(axis=1)
        return rank_contributions(newest, above)

    def _knows(self, state: Snapshot, queries: Queries) -> bool:
        """Whether a model with reasons of its own knows something of a user without a history: links, say."""
        if queries.users[0] < 0 or state.explainer is None:
            return False
        scores = state.model.score(queries)[0]
        return bool(scores.max(initial=0) > scores.min(initial=0))

    def _catalogued(self) -> Dataset:
        """The data of the fit with the items there are by now."""
        catalog = self._state.catalog
        return dataclasses.replace(self._data, items=catalog.items, item_table=catalog.table)


def _check_count(n: int) -> None:
    if n < 1:
        raise SettingError(f"n must be 1 or more. Got {n}.")


def _shown(catalog: Catalog, found: RankedItems, why: Callable[[int, int], tuple[str, ...]]) -> tuple[RecommendedItem, ...]:
    """A list with titles, pictures and reasons."""
    return tuple(
        RecommendedItem(catalog.external_id(row), catalog.title(row), score, why(place, row), catalog.image_url(row))
        for place, (row, score) in enumerate(zip(found.rows, found.scores, strict=True))
    )


def _common(catalog: Catalog, row: int, other: int) -> tuple[str, ...]:
    labels = catalog.shared(row, other)
    return (f"both: {', '.join(labels[:3])}",) if labels else ()


def _like(table: Table | None, new: Table) -> Table:
    """The new rows with the columns of the table there is: models read content by column."""
    return new if table is None else table.take(np.zeros(0, np.intp)).concat_events(new)
