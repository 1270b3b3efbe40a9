"""Pipeline: a fitted model with everything needed to serve recommendations by external id."""

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leanrec import artifacts, models
from leanrec.data.dataset import Dataset
from leanrec.data.merge import append_rows, find_new_ids, merge_events
from leanrec.data.removal import remove_users
from leanrec.data.table import Table
from leanrec.data.vocabulary import Id, Vocabulary
from leanrec.errors import ArtifactError, DataError, SettingError, UnknownIdError
from leanrec.events.event_reader import EventReader
from leanrec.events.records import DataOrigin
from leanrec.events.seals import find_forgotten
from leanrec.events.user_events import EvidenceWeights, UserEvent, to_events
from leanrec.finiteness import check_finite
from leanrec.pipeline.catalog import Catalog, ItemRules, Where, extend_ids, to_id_list
from leanrec.pipeline.explanations import MAX_TITLES, get_verb, render_explanation, render_path
from leanrec.pipeline.lists.batch import BatchResult, check_list_path, write_lists
from leanrec.pipeline.lists.degradation import ListOptions, OldList, StageTimes, fill_with_popular, trace_without_model
from leanrec.pipeline.lists.list_cache import CacheKey, ListCache
from leanrec.pipeline.lists.stages import RankedItems, StageTimer, build_stages, rank_and_fill, trace_stages
from leanrec.pipeline.provenance import build_provenance, check_estimator, get_data_origin, get_model_name
from leanrec.pipeline.responses import (
    AddItemsResult,
    Contribution,
    DroppedStage,
    HistoryEvent,
    ItemEmbeddings,
    ItemExplanation,
    Recommendations,
    RecommendedItem,
    RecordResult,
    RejectedEvent,
)
from leanrec.pipeline.scorers import ConstantScores, PaddedScorer, pad_scorer, single_query, unpad_scorer
from leanrec.pipeline.snapshot import SavedPipeline, Snapshot
from leanrec.pipeline.user_histories import UserHistories, UserHistory
from leanrec.protocols import Context, Embedder, Estimator, Explainable, Explanation, Extendable, Scorer, Updatable
from leanrec.retrieval.exploration import N_CANDIDATES, draw_places
from leanrec.run import Run, measure
from leanrec.types import Events, Float32Array, IdArray, Int32Array, Queries
from leanrec.unique_ids import make_id

__all__ = ["VERSION_LENGTH", "Pipeline"]

VERSION_LENGTH = 12  # digits of the id of a version
_RUN = Run()
_NO_REASON = "no item of the history contributes to its score"
_MAX_CACHED_LISTS = 10_000  # 15 to 40 MB of lists of ten
_MAX_CONTRIBUTIONS = 10
_MAX_EXPLAINED = 50  # newest history items to score one by one for a model that cannot explain itself


@dataclasses.dataclass(frozen=True, eq=False)
class _QueryUser:
    """The user of a request.

    Attributes:
        user: external id, or None.
        history: the stored history, or that of the call.
        row: row of the user in the fit, or −1.
        is_stale: the model was fitted on another history of the user.
        ignored: unknown ids of the history of the call.
    """

    user: Id | None
    history: UserHistory
    row: int
    is_stale: bool = False
    ignored: tuple[Id, ...] = ()

    def to_queries(self, n_items: int) -> Queries:
        """One query (B = 1) over N items."""
        return self.history.to_queries(self.row, n_items, is_stale=self.is_stale)


class Pipeline:
    """Model, fallback, ids, histories and item table; takes external ids and returns lists with titles and reasons.

    Thread-safe. Recorded events show in the next recommendation: they change the history of the user, nothing is
    refitted, and from then on the model scores that user by the new history and by what else it knows of the user.

    Cost: a request takes the model's cost of one query, O(N) vectorized work to select, and explanations of the
    listed items. The last 10,000 lists are kept for up to a minute, and used again for users without new events. Memory is
    the model plus about 25 bytes an event.
    """

    def __init__(
        self, saved: SavedPipeline, provenance: Mapping[str, Any] = MappingProxyType({}), version: str = ""
    ) -> None:
        """Wrap a fitted model and its data; made by ``fit`` and ``load``.

        Args:
            saved: the parts.
            provenance: the origin of the model.
            version: the first 12 hexadecimal digits of the SHA-256 of the artifact; "" for a pipeline that was not loaded.
        """
        self.name, self.fallback_name, self.version = saved.name, saved.fallback_name, version
        self.policy = f"{saved.name}/{version}"
        self.provenance = provenance
        self.evidence_weights = EvidenceWeights.from_events(saved.data.events, saved.data.conventions)
        self._data = saved.data
        self._histories = UserHistories(saved.data, saved.stale, saved.n_fitted_users, saved.forgotten)
        catalog = Catalog(saved.data.items, saved.data.item_table)
        self._fitted = Snapshot(saved.model, saved.fallback, catalog, saved.data.rating_range)
        hidden = np.zeros(0, np.int32) if saved.hidden is None else saved.hidden
        self._hidden: frozenset[Id] = frozenset(catalog.external_id(row) for row in hidden.tolist())
        self._base = self._fitted  # with the items that were added, and without updates
        self._snapshot = self._fitted.with_hidden(hidden)
        self._n_fitted_items = len(saved.data.items) if saved.n_fitted_items is None else saved.n_fitted_items
        self.learns = False  # see ``start_learning``
        self._updated: dict[str, Scorer] = {}
        self._n_known_users = 0
        self._adding_items = threading.Lock()
        self._replacing = threading.Lock()  # the snapshot
        self._lists = ListCache(_MAX_CACHED_LISTS)
        self._times = StageTimes()

    @classmethod
    def fit(
        cls,
        estimator: Estimator,
        data: Dataset,
        run: Run = _RUN,
        *,
        fallback: Estimator | None = None,
        log: EventReader | None = None,
    ) -> "Pipeline":
        """Fit a model and its fallback, and measure the cost of the fit.

        Args:
            estimator: settings of the model.
            data: what to fit it on.
            run: conditions of the fit.
            fallback: settings of the model for users without a usable history; default: popularity.
            log: an event store whose events and new items are merged into ``data`` first. A server of this pipeline
                can continue with that store.

        Raises BudgetError if the model would not fit the memory of ``run``.
        """
        check_estimator(estimator)
        forgotten = () if log is None else log.forgotten_users()
        if log is not None:
            gone = find_forgotten(data.users.ids, log.id, forgotten)
            data = merge_events(remove_users(data, gone), log.events(), log.items())
        hidden = () if log is None else log.hidden_items()
        with measure() as meter:
            model = estimator.fit(data, run)
        other = models.get_model("popularity")() if fallback is None else fallback
        events = dataclasses.replace(data.events, request=None, rank=None, propensity=None)
        saved = SavedPipeline(
            name=get_model_name(estimator),
            fallback_name=get_model_name(other),
            model=model,
            fallback=other.fit(data, run),
            data=dataclasses.replace(data, events=events),
            stale=np.zeros(0, np.int32),
            hidden=_find_known(data.items, hidden) if hidden else None,
        )
        provenance = build_provenance(estimator, data, run, dataclasses.asdict(meter.cost), log)
        if forgotten:
            provenance["forgotten"] = forgotten[-1].number
        return cls(saved, provenance)

    @classmethod
    def load(cls, path: str | Path) -> "Pipeline":
        """Read what ``save`` wrote. Raises ArtifactError unless all of it verifies."""
        saved = artifacts.load(path, SavedPipeline)
        n_items = len(saved.data.items) if saved.n_fitted_items is None else saved.n_fitted_items
        if not isinstance(saved.model, Scorer) or saved.model.n_items != n_items:
            raise ArtifactError(f"{path} does not verify: the model must score the {n_items} items of the data.")
        return cls(
            saved, artifacts.read_manifest(path).get("provenance", {}), artifacts.read_digest(path)[:VERSION_LENGTH]
        )

    def save(self, path: str | Path) -> Path:
        """Write model, histories and tables to a folder, with all recorded events."""
        return artifacts.save(self._merge_events(self._snapshot), path, provenance=self.provenance)

    def _merge_events(self, snapshot: Snapshot) -> SavedPipeline:
        """The pipeline with all recorded events and new items."""
        data, stale = self._histories.merge_into(self._data_with_new_items())
        n_fitted_users, gone = self._histories.n_fitted_users, self._histories.forgotten
        hidden = None if snapshot.shown is None else np.flatnonzero(~snapshot.shown).astype(np.int32)
        return SavedPipeline(
            name=self.name,
            fallback_name=self.fallback_name,
            model=unpad_scorer(self._base.model),
            n_fitted_items=self._n_fitted_items if isinstance(self._base.model, PaddedScorer) else None,
            fallback=self._base.fallback,
            data=data,
            stale=stale,
            n_fitted_users=n_fitted_users,
            hidden=hidden,
            forgotten=gone if len(gone) else None,
        )

    def start_learning(self) -> None:
        """Announce that the model will be updated while it answers, as `OnlineLearner` does.

        A model that can be updated then takes new items by their ids alone; they are last until it has learned of them.
        ``policy`` says so too.
        """
        if not self.learns:
            self.learns, self.policy = True, f"{self.policy}+learning"

    def use_updated(self, model: Scorer | None = None, fallback: Scorer | None = None, *, n_users: int = 0) -> None:
        """Answer with an updated model or fallback from the next list on; see ``Updatable``. ``save`` keeps those of the fit.

        Lists in the cache are given for up to three seconds more, and for a quarter of a second those with popular items.

        Args:
            model: the updated model, over the items of the catalog or the first of them; None = as before.
            fallback: the updated fallback, likewise.
            n_users: number of users that the updated model knows, in rows of ``histories``.
        """
        updated = {name: each for name, each in (("model", model), ("fallback", fallback)) if each is not None}
        snapshot = self._snapshot
        changed = snapshot.with_updated(**updated)
        changed.warm_up()
        with self._replacing:
            self._updated |= updated
            self._n_known_users = max(self._n_known_users, n_users)
            if self._snapshot is not snapshot:  # items were added or hidden meanwhile
                changed = self._snapshot.with_updated(**updated)
            self._snapshot = changed

    @property
    def fitted_scorers(self) -> tuple[Scorer, Scorer | None]:
        """Model and fallback of the fit, before items were added and before updates."""
        return unpad_scorer(self._fitted.model), self._fitted.fallback

    @property
    def data_origin(self) -> DataOrigin:
        """The data that the model was fitted on, to which an event store is bound."""
        return get_data_origin(self.provenance, self._data)

    @property
    def model(self) -> Scorer:
        """The fitted scorer."""
        return self._snapshot.model

    @property
    def catalog(self) -> Catalog:
        """The items, with titles, search and filters."""
        return self._snapshot.catalog

    @property
    def n_users(self) -> int:
        """Number of users, new ones included."""
        return self._histories.n_users

    @property
    def rating_range(self) -> tuple[float, float] | None:
        """Lowest and highest rating of the data, or None if there are no ratings."""
        return self._data.rating_range

    @property
    def event_types(self) -> tuple[str, ...]:
        """Event types of the data and of recorded events."""
        return self._histories.event_types

    def warm_up(self) -> None:
        """Compile the kernels and build the indices that the first request would otherwise wait for."""
        if len(self.catalog):
            first = self.catalog.external_id(0)
            self.recommend(history=[first], n=1)
            self.similar_items(first, 1)
            self.catalog.search("", 1)
        self.find_users("", 1)
        self._times.clear()

    def to_dataset(self) -> Dataset:
        """The data of the fit with all recorded events and new items, for the next fit. O(E).

        Forgotten users are not in it.
        """
        merged, _ = self._histories.merge_into(self._data_with_new_items())
        return remove_users(merged, self._histories.forgotten)

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
        trace: bool = False,
        time_limit_ms: float | None = None,
        rung: str = "full",
        explore: float = 0.0,
    ) -> Recommendations:
        """The n best items for a user, or for a history.

        Args:
            user: external id. Raises UnknownIdError if it is unknown and no history is given.
            history: external ids of items, oldest first, instead of the stored history of the user. An empty history
                gives the list of the fallback, unless the model knows something else of the user.
            weights: strength of each item of ``history``; default: the mean weight of positive events.
            ratings: rating of each item of ``history``, None where there is none.
            n: length of the list. If fewer items may be recommended, the list is shorter and has a ``note``.
            exclude_seen: leave out items of the history.
            allow: recommend only these items.
            deny: recommend none of these items.
            where: recommend only items that meet these conditions; see ``Catalog.filter_rows``.
            reasons: explain each item; False saves the time.
            trace: tell the stages of the list with their milliseconds, and what they dropped. Such a list is always made,
                and never taken from the cache.
            time_limit_ms: milliseconds in which the list should be ready. A stage that would take longer, by the latest lists,
                is left out, and ``Recommendations.rung`` and ``dropped`` say so. None = no limit.
            rung: the best that the list may be, for a server under load: "full"; "no_reasons"; "cached": an earlier list of
                the user of up to ten minutes, if there is one; "popular": no list of the model is made. All obey the same
                rules, such as hidden items. A list that is in the cache anyway is given as it is.
            explore: probability with which each place of the list shows another of the best n + 50 items, drawn anew for each list;
                see ``Recommendations.propensities``. A list from the cache keeps its draw, and has no propensities,
                because nothing was drawn for it.
        """
        _check_n(n)
        options = ListOptions.check(n, rung, time_limit_ms, exclude_seen=exclude_seen, reasons=reasons, explore=explore)
        snapshot = self._snapshot
        others = (history, weights, ratings, allow, deny, where, trace or None)
        if user is None or any(each is not None for each in others):
            query_user = self._find_query_user(user, history, weights, ratings)
            timer = StageTimer(options.end) if trace else None
            rules = snapshot.catalog.resolve_rules(allow, deny, where)
            return self._make_list(snapshot, query_user, rules, options, timer=timer)
        cached = self.find_cached(user, n=n, exclude_seen=exclude_seen, reasons=reasons, explore=explore)
        if cached is not None:
            return cached
        dropped = options.find_dropped("explain", self._times) if rung == "no_reasons" else None
        if dropped is not None and (
            plain := self.find_cached(user, n=n, exclude_seen=exclude_seen, reasons=False, explore=explore)
        ):
            return dataclasses.replace(plain, rung=rung, dropped=(dropped,))
        row = self._find_row(user)
        recorded = self._histories.find_recorded(row)  # before the history is read: an event in between makes a new one
        query_user = self._find_query_user(user, None, None, None)
        key = CacheKey(row, n, exclude_seen, reasons, explore)
        made = self._make_list(snapshot, query_user, ItemRules(), options, self._find_old_list(key))
        if made.rung == "full":
            kept = made if made.propensities is None else dataclasses.replace(made, propensities=None)
            self._lists.put(key, snapshot, recorded, kept)
        elif made.rung == "no_reasons":
            whole = dataclasses.replace(made, rung="full", dropped=(), propensities=None)
            self._lists.put(key._replace(reasons=False), snapshot, recorded, whole)
        return made

    def find_cached(
        self, user: Id, *, n: int = 10, exclude_seen: bool = True, reasons: bool = True, explore: float = 0.0
    ) -> Recommendations | None:
        """The list that ``recommend`` would return, under a new request id, if it is in the cache; None if not. O(1).

        Raises UnknownIdError.
        """
        row = self._find_row(user)
        key = CacheKey(row, n, exclude_seen, reasons, explore)
        cached = self._lists.get(key, self._snapshot, self._histories.find_recorded(row))
        return None if cached is None else dataclasses.replace(cached, request=make_id())

    def _find_old_list(self, key: CacheKey) -> OldList | None:
        """The last list of the user, with reasons or without."""
        found = self._lists.get_old(key) or self._lists.get_old(key._replace(reasons=False))
        return None if found is None else OldList(*found)

    def _make_list(
        self,
        snapshot: Snapshot,
        query_user: _QueryUser,
        rules: ItemRules,
        options: ListOptions,
        old: OldList | None = None,
        *,
        timer: StageTimer | None = None,
    ) -> Recommendations:
        """A list, as good as rung and deadline allow; ``old`` is an earlier one of the user."""
        n_items = len(snapshot.catalog)
        context = Context(options.exclude_seen, rules.allow, rules.deny, snapshot.shown)
        if timer is not None:
            timer.end_stage("rules")
            context = dataclasses.replace(context, end_stage=timer.end_stage)
        queries = query_user.to_queries(n_items)
        request, propensities = make_id(), None
        dropped = options.find_dropped("rank", self._times, has_old_list=old is not None)
        if dropped is not None:
            parts = self._list_popular(snapshot, queries, context, options, old)
            trace = None if timer is None else trace_without_model(timer, parts["rung"], n_items, len(parts["items"]))
        else:
            with single_query():
                found, propensities = self._rank(snapshot, queries, context, options, request)
                texts, dropped = self._explain_list(snapshot, query_user.history, queries, found, context, options)
            parts = {
                "items": _build_items(snapshot.catalog, found, texts),
                "fallback": self.fallback_name if found.from_fallback else None,
                "note": self._write_note(found, options.n),
                "rung": "full" if dropped is None else "no_reasons",
            }
            trace = None if timer is None else trace_stages(timer, found, queries, n_items, rules, context)
        return Recommendations(
            request=request,
            user=query_user.user,
            ignored=(*query_user.ignored, *rules.unknown),
            model=self.name,
            version=self.version,
            policy=f"{self.policy}+explore={options.explore:g}" if options.explore else self.policy,
            propensities=propensities,
            dropped=() if dropped is None else (dropped,),
            trace=trace,
            **parts,
        )

    def _rank(
        self, snapshot: Snapshot, queries: Queries, context: Context, options: ListOptions, request: str
    ) -> tuple[RankedItems, tuple[float | None, ...] | None]:
        """The list of the model, and the propensities of its items where they were drawn. Times both."""
        start = time.perf_counter()
        length = options.n + (N_CANDIDATES if options.explore else 0)
        found, propensities = rank_and_fill(snapshot.stages, queries, min(length, len(snapshot.catalog)), context), None
        if context.end_stage is not None:
            context.end_stage("fill")
        if options.explore:
            n_same = len(found.rows) if found.from_fallback else found.n_from_model
            drawn = draw_places(n_same, min(options.n, len(found.rows)), options.explore, request)
            found = found.take(range(options.n) if drawn is None else drawn.ranks)
            propensities = None if drawn is None else drawn.propensities
            if context.end_stage is not None:
                context.end_stage("explore")
        self._times.add("rank", time.perf_counter() - start, is_long=options.is_long)
        return found, propensities

    def _explain_list(
        self,
        snapshot: Snapshot,
        history: UserHistory,
        queries: Queries,
        found: RankedItems,
        context: Context,
        options: ListOptions,
    ) -> tuple[list[tuple[str, ...]] | None, DroppedStage | None]:
        """The reasons of a list, and whether they were left out. Times them."""
        dropped = options.find_dropped("explain", self._times) if options.reasons else None
        if not options.reasons or dropped is not None:
            return None, dropped
        start = time.perf_counter()
        texts = self._write_reasons(snapshot, history, queries, found)
        if not found.from_fallback:  # which needs no time for its reasons
            self._times.add("explain", time.perf_counter() - start, is_long=options.is_long)
        if context.end_stage is not None:
            context.end_stage("explain")
        return texts, None

    def _list_popular(
        self, snapshot: Snapshot, queries: Queries, context: Context, options: ListOptions, old: OldList | None
    ) -> dict[str, Any]:
        """The parts of a list without the model that depend on where its items come from."""
        kept, found = fill_with_popular(snapshot, queries, context, options.n, old)
        reasons = self._fallback_reasons(is_whole_list=not kept)
        items = (
            *kept,
            *_build_items(snapshot.catalog, found, [reasons] * len(found.rows) if options.reasons else None),
        )
        filled = (
            f"{len(found.rows)} of {len(items)} items, at the end of the list, are filled from {self.fallback_name}."
        )
        short = f"{len(items)} of {options.n} items: no other item may be recommended."
        is_filled = bool(kept) and len(found.rows) > 0
        return {
            "items": items,
            "fallback": old.recommendations.fallback if old is not None and kept else self.fallback_name,
            "note": " ".join([filled] * is_filled + [short] * (len(items) < options.n)) or None,
            "rung": "cached" if kept else "popular",
        }

    def _write_reasons(
        self, snapshot: Snapshot, history: UserHistory, queries: Queries, found: RankedItems
    ) -> list[tuple[str, ...]]:
        """The reasons of each item of a list, explained all at once."""
        n_explained = 0 if found.from_fallback else found.n_from_model
        texts: list[tuple[str, ...]] = [()] * n_explained
        if n_explained and snapshot.explainer is not None:
            rows, verb = np.array(found.rows[:n_explained], np.int32), self._main_verb(history)
            explanations = _explain_without_hidden(snapshot, snapshot.explainer, queries, rows, MAX_TITLES)
            texts = [render_explanation(each, snapshot.catalog.title, verb) for each in explanations]
        others = self._fallback_reasons(is_whole_list=found.from_fallback)
        return texts + [others] * (len(found.rows) - n_explained)

    def recommend_all(
        self,
        path: str | Path,
        *,
        n: int = 10,
        exclude_seen: bool = True,
        allow: Iterable[Id] | None = None,
        deny: Iterable[Id] | None = None,
        where: Where | None = None,
        run: Run = _RUN,
    ) -> BatchResult:
        """Write the n best items of every user to a .parquet or .csv file, best first, with ranks, titles and scores.

        The lists are those of ``recommend`` for each user. They are made in blocks, so memory does not grow with the lists.

        Args:
            path: the file, replaced if it exists.
            n: length of the lists.
            exclude_seen: leave out items of the user's history.
            allow: recommend only these items.
            deny: recommend none of these items.
            where: recommend only items that meet these conditions.
            run: threads, memory and progress.

        Raises SettingError for another kind of file, and SourceError if it cannot be written.
        """
        _check_n(n)
        target = check_list_path(path)
        snapshot = self._snapshot
        rules = snapshot.catalog.resolve_rules(allow, deny, where)
        saved = self._merge_events(snapshot)
        context = Context(exclude_seen, rules.allow, rules.deny, snapshot.shown)
        return write_lists(snapshot, saved, target, n=n, context=context, run=run)

    def similar_items(self, item: Id, n: int = 10, *, where: Where | None = None) -> Recommendations:
        """The n items most similar to one. Raises UnknownIdError.

        Similarity is the cosine between the embeddings of a model that has them. For other models it is the score
        for a history of only this item.
        """
        _check_n(n)
        snapshot = self._snapshot
        catalog, stages = snapshot.catalog, snapshot.stages
        row = catalog.items.row(item)
        rules = catalog.resolve_rules(None, [item], where)
        queries = self._make_history(np.array([row], np.int32), None, None).to_queries(-1, len(catalog))
        if snapshot.unit_embeddings is not None:
            cosine = snapshot.unit_embeddings @ snapshot.unit_embeddings[row]
            stages = build_stages(ConstantScores(cosine[None, :]), snapshot.padded_fallback, None)
        context = Context(allow=rules.allow, deny=rules.deny, shown=snapshot.shown)
        found = rank_and_fill(stages, queries, min(n, len(catalog)), context)

        shared = [catalog.shared_labels(row, other)[:3] for other in found.rows]
        items = _build_items(catalog, found, [(f"shares: {', '.join(each)}",) if each else () for each in shared])
        fallback = self.fallback_name if found.from_fallback else None
        return Recommendations(
            make_id(),
            items,
            fallback,
            note=self._write_note(found, n),
            model=self.name,
            version=self.version,
            policy=self.policy,
        )

    def embed_items(self) -> ItemEmbeddings:
        """The item vectors for a vector store, where the score of the model is a dot product. O(N · D).

        The longest vector is first, as indices by inner product need that are built in order. Items with a vector of
        zeros are left out: the model knows nothing of them, and a search by cosine lists them anywhere.

        Raises SettingError for a model whose score is no dot product.
        """
        vectors = self._get_embedder().embed_items()
        lengths = np.linalg.norm(vectors, axis=1)
        order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
        return ItemEmbeddings(self.catalog.items.ids[order], np.asarray(vectors[order], dtype=np.float32))

    def embed_user(
        self,
        user: Id | None = None,
        *,
        history: Iterable[Id] | None = None,
        weights: Sequence[float] | None = None,
        ratings: Sequence[float | None] | None = None,
    ) -> Float32Array:
        """(D,) the vector of a user, or of a history: its dot product with the vector of an item is the score.

        It follows recorded events. Zeros: the model has no evidence, and ``recommend`` answers with the fallback. The
        arguments are those of ``recommend``.

        Raises UnknownIdError for an unknown user, and SettingError for a model whose score is no dot product.
        """
        embedder = self._get_embedder()
        query_user = self._find_query_user(user, history, weights, ratings)
        with single_query():
            queries = query_user.to_queries(len(self.catalog))
            return np.asarray(embedder.embed_queries(queries)[0], dtype=np.float32)

    def _get_embedder(self) -> Embedder:
        """The model, if its score is a dot product."""
        model = self._snapshot.model
        if isinstance(model, Embedder):
            return model
        raise SettingError(
            f"Only a model whose score is a dot product, such as ials or bpr, has vectors. {self.name} has none."
        )

    def explain(self, user: Id | None, item: Id, *, history: Iterable[Id] | None = None) -> ItemExplanation:
        """Why an item is recommended to a user, or for this history. Raises UnknownIdError."""
        query_user = self._find_query_user(user, history, None, None)
        snapshot = self._snapshot
        catalog = snapshot.catalog
        row = catalog.items.row(item)
        item_id, title = catalog.external_id(row), catalog.title(row)
        queries = query_user.to_queries(len(catalog))
        if not queries.history.nnz and not _has_other_evidence(snapshot, queries):
            return ItemExplanation(
                item_id, title, self._fallback_reasons(is_whole_list=True), fallback=self.fallback_name
            )
        if snapshot.explainer is None:
            explanation = self._explain_by_single_items(snapshot, queries, row)
        else:
            with single_query():
                (explanation,) = _explain_without_hidden(
                    snapshot, snapshot.explainer, queries, np.array([row], np.int32), _MAX_CONTRIBUTIONS
                )
        contributions = [
            Contribution(catalog.external_id(int(past)), catalog.title(int(past)), float(weight))
            for past, weight in zip(explanation.items, explanation.weights, strict=True)
            if weight > 0
        ]
        reasons = render_explanation(explanation, catalog.title, self._main_verb(query_user.history))
        return ItemExplanation(
            item_id,
            title,
            reasons or (_NO_REASON,),
            tuple(contributions[:_MAX_CONTRIBUTIONS]),
            explanation.features[:10],
            paths=tuple(render_path(path, catalog.title, title) for path in explanation.paths),
        )

    def record_event(self, user: Id, item: Id, event_type: str = "click", rating: float | None = None) -> RecordResult:
        """Record one event that happened just now, by external id; see ``record_events``."""
        weight = self.evidence_weights.weight(event_type, rating)
        now = int(time.time())
        return self.record_events(to_events([UserEvent(make_id(), user, item, event_type, now, weight, rating)]))

    def record_events(self, events: Events, *, replayed: bool = False, replace: bool = False) -> RecordResult:
        """Record events of known and new users; the next recommendation uses them.

        An event with the user, item, event type and second of one of the fit is that event, and changes nothing. Rejects events of unknown items, events with an impossible weight or rating, and more event types than there
        are codes for. Cost: O(E); the history of a user is merged when it is read again.

        Args:
            events: (E,) by external id.
            replayed: the events may be there already, from the fit or an earlier replay; those with the same user,
                item, event type and time are skipped. False: every other event counts, also two in the same second.
            replace: these are all events that were recorded for their users since the fit, and take the place of those recorded
                before.
        """
        if not len(events):
            return RecordResult(0)
        encoded, rejected = self.encode_events(events)
        by_user: dict[Id, list[int]] = {}
        for position, user in enumerate(events.user.tolist()):
            if position not in rejected:
                by_user.setdefault(user, []).append(position)
        ordered = encoded.take(np.array([position for own in by_user.values() for position in own], np.int64))
        applied = start = 0
        for user, own in by_user.items():
            past = ordered.take(slice(start, start + len(own)))
            start += len(own)
            if replace:
                self._histories.replace(user, past)
                applied += len(own)
            else:
                applied += self._histories.add(user, past, replayed=replayed)
        return RecordResult(applied, tuple(RejectedEvent(at, reason) for at, reason in sorted(rejected.items())))

    def encode_events(self, events: Events) -> tuple[UserHistory, dict[int, str]]:
        """The columns of events in item rows and event type codes; and why some cannot be used, by position."""
        rows = self._snapshot.catalog.items.rows(events.item, missing=-1)
        codes = [self._histories.encode_event_type(name) for name in events.event_types]
        event_type = np.array([0 if code is None else code for code in codes], np.int8)[events.event_type]
        rating = np.full(len(events), np.nan, np.float32) if events.rating is None else events.rating
        rejected = _find_rejected(events, rows, codes, self.rating_range)
        return UserHistory(rows, event_type, events.time, events.weight, rating), rejected

    @property
    def histories(self) -> UserHistories:
        """The histories of all users."""
        return self._histories

    @property
    def fitted_data(self) -> Dataset:
        """The data of the fit."""
        return self._data

    def forget_user(self, user: Id) -> bool:
        """Forget a user, and return whether there was one: the id, the history and the lists in the cache. O(lists).

        The id is then unknown, and if it comes again it is that of a new user. What ``save`` and ``to_dataset`` give has
        neither the id nor the events, the row of the user table or the links of the user. The fitted model stays as it is,
        so what the events of the user contributed to it remains until the next fit.
        """
        row = self._histories.forget(user)
        if row is not None:
            self._lists.close_user(row)
        return row is not None

    @property
    def fitted_user_ids(self) -> IdArray:
        """(U,) ids of the users at the start, forgotten ones included."""
        return self._data.users.ids

    def add_items(
        self, ids: IdArray | Sequence[Id], table: Table, *, persist: Callable[[], None] | None = None
    ) -> AddItemsResult:
        """Add new items by their content, and correct the content of items that were added since the fit.

        An item of the fit stays as it is until the next fit. The content given last replaces the earlier one as a whole.

        Raises SettingError if the model cannot add items without a refit. Raises DataError, before anything changes, for
        an id of another type than those of the data, for a column that the item table lacks, for content that does not
        fit its column, and for content from which the model computes no finite numbers.

        Cost: that of ``extend`` of the model for the new items, or for all added ones where content is corrected.

        Args:
            ids: external ids; 12 and "12" are one item.
            table: a row of content for each; no columns at all stand for items without content.
            persist: writes the items to disk; called when the extended model is ready and before any request uses
                it. If it raises, nothing has changed.
        """
        values = ids.tolist() if isinstance(ids, np.ndarray) else list(ids)
        if not values:
            return AddItemsResult()
        with self._adding_items:
            snapshot, n_fitted = self._base, len(self._fitted.catalog)
            catalog = snapshot.catalog
            fresh = find_new_ids(catalog.items, values)
            will_learn = self.learns and isinstance(snapshot.model, Updatable)
            if len(fresh) and not (isinstance(snapshot.model, Extendable) or will_learn):
                raise SettingError(
                    f"The model must be able to score new items by their content. {self.name} cannot: refit it."
                )
            content = catalog.read_content(table, len(values))
            rows = catalog.items.rows(values, missing=-1).tolist()
            known = {row: position for position, row in enumerate(rows) if row >= 0}
            changed = {
                row: position
                for row, position in known.items()
                if row >= n_fitted and content.row(position) != catalog.content(row)
            }
            extended = self._extend(values, content, fresh, changed) if len(fresh) or changed else snapshot
            if persist is not None:
                persist()
            with self._replacing:
                if extended is not snapshot:
                    self._base = extended
                    shown = extended.with_hidden(_find_known(extended.catalog.items, self._hidden))
                    self._snapshot = shown.with_updated(**self._updated)
            return AddItemsResult(len(fresh), len(changed), len(known) - len(changed))

    def hide_items(
        self, ids: Iterable[Id], *, persist: Callable[[], None] | None = None, replayed: bool = False
    ) -> None:
        """Hide items from the next list on: of users, of similar items, of the fallback and of all users.

        No reason names a hidden item. Its events are recorded and kept, ``explain`` and the catalog still know it, and
        ``show_items`` brings it back. O(N), and lists in the cache are made again.

        Args:
            ids: external ids.
            persist: writes the change to disk; called before any request sees it. If it raises, nothing has changed.
            replayed: an unknown id is kept for an item that is added later. False: it raises UnknownIdError.
        """
        self._change_hidden(ids, persist, replayed=replayed, hidden=True)

    def show_items(
        self, ids: Iterable[Id], *, persist: Callable[[], None] | None = None, replayed: bool = False
    ) -> None:
        """Let lists show items again that were hidden; see ``hide_items`` for the arguments."""
        self._change_hidden(ids, persist, replayed=replayed, hidden=False)

    def _change_hidden(
        self, ids: Iterable[Id], persist: Callable[[], None] | None, *, replayed: bool, hidden: bool
    ) -> None:
        given = to_id_list("ids", ids)
        if not replayed:
            self._snapshot.catalog.items.rows(given)
        changed = frozenset(self.external_item_id(each) for each in given)
        with self._replacing:
            if persist is not None:
                persist()
            self._hidden = self._hidden | changed if hidden else self._hidden - changed
            snapshot = self._snapshot
            self._snapshot = snapshot.with_hidden(_find_known(snapshot.catalog.items, self._hidden))

    def is_hidden(self, item: Id) -> bool:
        """Whether an item is hidden."""
        return self.external_item_id(item) in self._hidden

    def _extend(
        self, ids: Sequence[Id], content: Table, fresh: NDArray[np.intp], changed: Mapping[int, int]
    ) -> Snapshot:
        """The snapshot with the content of the positions ``fresh`` added and of the rows ``changed`` replaced."""
        base = self._fitted if changed else self._base
        catalog, n_base = self._base.catalog, len(base.catalog)
        items = extend_ids(catalog.items, [ids[position] for position in fresh.tolist()])
        added = content.take(fresh)
        if changed:
            assert catalog.table is not None  # noqa: S101 - the added items have content
            below = catalog.table.concat(content)
            rows = np.arange(n_base, len(catalog))
            rows[np.array(list(changed)) - n_base] = len(catalog) + np.array(list(changed.values()))
            added = below.take(np.concatenate([rows, len(catalog) + fresh]))
        model, fallback = base.model, base.fallback
        model = model.extend(added) if isinstance(model, Extendable) else pad_scorer(model, len(items))
        fallback = fallback.extend(added) if isinstance(fallback, Extendable) else fallback
        if model.n_items != len(items):
            raise DataError(f"The model must have {len(items)} items after the addition. It has {model.n_items}.")
        check_finite(model, "Check the numbers in the content of the items.")
        table = append_rows(base.catalog.table, n_base, added)
        return Snapshot(model, fallback, Catalog(items, table), base.rating_range)

    def history(self, user: Id, limit: int | None = None) -> tuple[HistoryEvent, ...]:
        """The events of a user, newest first. Raises UnknownIdError."""
        past = self._histories.get(self._find_row(user))
        catalog, event_types = self._snapshot.catalog, self._histories.event_types
        newest = range(len(past) - 1, -1, -1)[:limit]
        return tuple(
            HistoryEvent(
                id=catalog.external_id(int(past.item[at])),
                title=catalog.title(int(past.item[at])),
                event_type=event_types[past.event_type[at]],
                time=int(past.time[at]),
                weight=float(past.weight[at]),
                rating=float(past.rating[at]) if np.isfinite(past.rating[at]) else None,
            )
            for at in newest
        )

    def find_users(self, prefix: str = "", limit: int = 20) -> tuple[tuple[Id, int], ...]:
        """Users whose id starts with the prefix, each with the number of their events. O(U) at the first call."""
        rows = self._histories.find_by_prefix(prefix, limit)
        return tuple((self._histories.external_id(row), self._histories.count_events(row)) for row in rows)

    def external_user_id(self, user: Id) -> Id:
        """The id as the data have it (12 for "12"), or as given if it is unknown."""
        row = self._histories.find_row(user)
        return user if row is None else self._histories.external_id(row)

    def external_item_id(self, item: Id) -> Id:
        """The id as the data have it: 12 for "12" where they are whole numbers, whether it is known or not."""
        return self._snapshot.catalog.items.normalize_id(item)

    @functools.cached_property
    def _main_event_type(self) -> int:
        """Code of the most frequent event type."""
        return int(np.bincount(self._data.events.event_type, minlength=1).argmax())

    def _main_verb(self, history: UserHistory) -> str:
        """What the user did with most of the items."""
        code = int(np.bincount(history.event_type).argmax()) if len(history) else self._main_event_type
        return get_verb(self._histories.event_types[code])

    def _find_row(self, user: Id) -> int:
        row = self._histories.find_row(user)
        if row is None and len(self._histories.forgotten):  # whose ids must not be in a hint
            raise UnknownIdError(f"No user with the id {str(user)!r} among {self.n_users}.")
        return self._data.users.row(user) if row is None else row

    def _find_query_user(
        self,
        user: Id | None,
        history: Iterable[Id] | None,
        weights: Sequence[float] | None,
        ratings: Sequence[float | None] | None,
    ) -> _QueryUser:
        """The user with the stored history, or with the one of the call."""
        if history is None:
            if user is None:
                raise SettingError(
                    "A user or a history must be given. Got neither; an empty history gives the list of the fallback."
                )
            if weights is not None or ratings is not None:
                raise SettingError("weights and ratings need a history. Got no history.")
            row = self._find_row(user)
            return self._describe_user(row, self._histories.get(row), is_given=False)
        ids = to_id_list("history", history)
        for name, values in (("weights", weights), ("ratings", ratings)):
            if values is not None and len(values) != len(ids):
                raise SettingError(f"{name} must have {len(ids)} entries, as history has. Got {len(values)}.")
        rows = self._snapshot.catalog.items.rows(ids, missing=-1)
        ignored = tuple(item for item, row in zip(ids, rows, strict=True) if row < 0)
        given = self._make_history(rows, weights, ratings)
        known = None if user is None else self._histories.find_row(user)
        if known is None:
            return _QueryUser(user, given, -1, ignored=ignored)
        return self._describe_user(known, given, ignored)

    def _describe_user(
        self, row: int, history: UserHistory, ignored: tuple[Id, ...] = (), *, is_given: bool = True
    ) -> _QueryUser:
        """A user with a row, and the history that a call gave, or that of the user."""
        fitted = self._histories.fitted_row(row)
        if fitted < 0 and row < self._n_known_users:
            fitted = row  # the updated model has learned of the user
        is_changed = is_given or self._histories.find_recorded(row) is not None
        is_stale = fitted >= 0 and self._histories.is_stale(row, history if is_changed else None)
        return _QueryUser(self._histories.external_id(row), history, fitted, is_stale, ignored)

    def _make_history(
        self, rows: Int32Array, weights: Sequence[float] | None, ratings: Sequence[float | None] | None
    ) -> UserHistory:
        """A history from item rows (−1 = unknown, left out) in time order."""
        values = [None] * len(rows) if ratings is None else ratings
        if weights is None:
            weights = [self.evidence_weights.weight(None, value) for value in values]
        history = UserHistory(
            item=rows,
            event_type=np.full(len(rows), self._main_event_type, np.int8),
            time=np.arange(len(rows), dtype=np.int64),
            weight=np.array(weights, np.float32),
            rating=np.array([np.nan if value is None else value for value in values], np.float32),
        )
        return UserHistory(**{name: column[rows >= 0] for name, column in history.columns().items()})

    def _fallback_reasons(self, *, is_whole_list: bool) -> tuple[str, ...]:
        if self.fallback_name == "popularity":
            return ("popular with all users",)
        return (f"no history yet: from {self.fallback_name}" if is_whole_list else f"from {self.fallback_name}",)

    def _write_note(self, found: RankedItems, n: int) -> str | None:
        """How many items were filled from the fallback, and why the list is short; None if neither applies."""
        count = len(found.rows)
        filled = (
            f"{count - found.n_from_model} of {count} items, at the end of the list, are filled from "
            f"{self.fallback_name}: the model scored them zero."
        )
        short = f"{count} of {n} items: no other item may be recommended."
        return " ".join([filled] * (found.n_from_model < count) + [short] * (count < n)) or None

    def _explain_by_single_items(self, snapshot: Snapshot, queries: Queries, row: int) -> Explanation:
        """For a model that cannot explain itself: the score of ``row`` for a history of each single item."""
        if queries.sequences is None:
            newest = queries.history.indices
        else:
            newest = np.unique(queries.sequences[0][-_MAX_EXPLAINED:])
        newest = newest[snapshot.is_shown(newest)]
        single = [
            self._make_history(np.array([item], np.int32), None, None).to_queries(-1, len(snapshot.catalog))
            for item in newest
        ]
        if not single:
            return Explanation("history", np.zeros(0, np.int32), np.zeros(0, np.float32))
        scores = np.concatenate([snapshot.model.score(each) for each in single])
        above_mean = scores[:, row] - scores.mean(axis=1)
        order = np.argsort(-above_mean, kind="stable")
        return Explanation("history", newest[order].astype(np.int32), above_mean[order])

    def _data_with_new_items(self) -> Dataset:
        """The data of the fit with the current items."""
        catalog = self._snapshot.catalog
        return dataclasses.replace(self._data, items=catalog.items, item_table=catalog.table)


def _check_n(n: int) -> None:
    if n < 1:
        raise SettingError(f"n must be 1 or more. Got {n}.")


def _build_items(
    catalog: Catalog, found: RankedItems, reasons: Sequence[tuple[str, ...]] | None
) -> tuple[RecommendedItem, ...]:
    """A list with titles, images and the reasons of each item."""
    items = []
    for position, (row, score) in enumerate(zip(found.rows, found.scores, strict=True)):
        item, title, image_url = catalog.label(row)
        items.append(RecommendedItem(item, title, score, () if reasons is None else reasons[position], image_url))
    return tuple(items)


def _find_known(items: Vocabulary, ids: Iterable[Id]) -> Int32Array:
    """Rows of the ids that are known."""
    rows = items.rows(list(ids), missing=-1)
    return rows[rows >= 0]


def _explain_without_hidden(
    snapshot: Snapshot, explainer: Explainable, queries: Queries, rows: Int32Array, top_k: int
) -> list[Explanation]:
    """Explanations with the ``top_k`` largest contributions of items that are not hidden."""
    if snapshot.shown is None:
        return explainer.explain(queries, rows, top_k)
    past = queries.history.indices if queries.seen is None else queries.seen.indices
    n_hidden = int(np.count_nonzero(~snapshot.shown[past]))
    explanations = []
    for each in explainer.explain(queries, rows, top_k + n_hidden):
        kept = np.flatnonzero(snapshot.is_shown(each.items))[:top_k]
        paths = tuple(path for path in each.paths if snapshot.shown[path.item])
        explanations.append(dataclasses.replace(each, items=each.items[kept], weights=each.weights[kept], paths=paths))
    return explanations


def _has_other_evidence(snapshot: Snapshot, queries: Queries) -> bool:
    """Whether an explainable model has evidence, such as links, for a user without a history."""
    if queries.users[0] < 0 or snapshot.explainer is None:
        return False
    scores = snapshot.model.score(queries)[0]
    return bool(scores.max(initial=0) > scores.min(initial=0))


def _find_rejected(
    events: Events, rows: Int32Array, codes: Sequence[int | None], rating_range: tuple[float, float] | None
) -> dict[int, str]:
    """Positions of the events that cannot be recorded, each with the reason."""
    rejected = {int(at): f"No item has the id {str(events.item[at])!r}." for at in np.flatnonzero(rows < 0)}
    valid = np.isfinite(events.weight) & (events.weight >= 0)
    rejected |= {int(at): f"The weight must be 0 or more. Got {events.weight[at]}." for at in np.flatnonzero(~valid)}
    if events.rating is not None and rating_range is not None:
        low, high = rating_range
        for at in np.flatnonzero((events.rating < low) | (events.rating > high)).tolist():
            rejected[at] = f"The rating must be from {low:g} to {high:g}. Got {events.rating[at]:g}."
    for code, name in enumerate(events.event_types):
        if codes[code] is None:
            for at in np.flatnonzero(events.event_type == code).tolist():
                rejected[at] = f"There are too many event types to add {name!r}."
    return rejected
