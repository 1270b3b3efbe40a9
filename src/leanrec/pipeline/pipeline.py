"""Pipeline: a fitted model with everything needed to serve recommendations by external id."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from leanrec import artifacts, models
from leanrec.compression.methods import CompressionMethod, count_parts
from leanrec.data.dataset import Dataset
from leanrec.data.merge import merge_events
from leanrec.data.removal import remove_users
from leanrec.data.table import Table
from leanrec.data.vocabulary import Id
from leanrec.errors import ArtifactError, SettingError
from leanrec.events.event_reader import EventReader
from leanrec.events.records import DataOrigin
from leanrec.events.seals import find_forgotten
from leanrec.events.user_events import EvidenceWeights, UserEvent, to_events, to_milliseconds
from leanrec.events.user_history import UserHistory
from leanrec.kernels.threads import single_query
from leanrec.pacing import pause
from leanrec.pipeline.catalog import Catalog, ItemRules, Where
from leanrec.pipeline.contributions import explain_by_single_items, explain_without_hidden, has_other_evidence
from leanrec.pipeline.current_snapshot import CurrentSnapshot, find_known
from leanrec.pipeline.explanations import render_explanation, render_path
from leanrec.pipeline.lists.batch import BatchResult, check_list_path, write_lists
from leanrec.pipeline.lists.degradation import ListOptions, OldList
from leanrec.pipeline.lists.list_cache import CacheKey, ListCache
from leanrec.pipeline.lists.list_maker import ListMaker
from leanrec.pipeline.lists.rules import ListRules
from leanrec.pipeline.lists.shared_lists import ListStore, SharedLists
from leanrec.pipeline.lists.sources import CandidateSource, FittedSource, fit_sources
from leanrec.pipeline.lists.stage_trace import StageTimer
from leanrec.pipeline.lists.unique_ids import make_id
from leanrec.pipeline.provenance import build_provenance, check_estimator, get_data_origin, get_model_name
from leanrec.pipeline.query_users import QueryUsers
from leanrec.pipeline.responses import (
    AddItemsResult,
    Contribution,
    HistoryEvent,
    ItemEmbeddings,
    ItemExplanation,
    Recommendations,
    RecordResult,
    RejectedEvent,
)
from leanrec.pipeline.scorers import PaddedScorer, unpad_scorer
from leanrec.pipeline.snapshot import SavedPipeline, Snapshot
from leanrec.pipeline.user_histories import UserHistories
from leanrec.protocols import Context, Embedder, Estimator, Scorer
from leanrec.retrieval.choice import check_retrieval, choose_index
from leanrec.retrieval.recall_watch import RecallWatch
from leanrec.run import Run, measure
from leanrec.types import Events, Float32Array, IdArray, Int32Array

__all__ = ["VERSION_LENGTH", "Pipeline"]

VERSION_LENGTH = 12  # digits of the id of a version
_RUN = Run()
_NO_REASON = "no item of the history contributes to its score"
_MAX_CACHED_LISTS = 10_000  # 15 to 40 MB of lists of ten
_MAX_CONTRIBUTIONS = 10
_MAX_USUAL_ID, _MAX_USUAL_WEIGHT = 2**62, 1e30  # below the largest int64 and float32


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
        self.provenance = provenance
        self.evidence_weights = EvidenceWeights.from_events(saved.data.events, saved.data.conventions)
        self._data = saved.data
        self._n_fitted_items = len(saved.data.items) if saved.n_fitted_items is None else saved.n_fitted_items
        self._histories = UserHistories(saved.data, saved.stale, saved.n_fitted_users, saved.forgotten)
        catalog = Catalog(saved.data.items, saved.data.item_table)
        fitted = Snapshot(
            saved.model, saved.fallback, catalog, saved.data.rating_range, saved.sources, saved.item_index
        )
        hidden = np.zeros(0, np.int32) if saved.hidden is None else saved.hidden
        users = Catalog(saved.data.users, saved.data.user_table)
        self._current = CurrentSnapshot(fitted, hidden, saved.name, users)
        self._users = QueryUsers(saved.data, self._histories, self.evidence_weights)
        self._maker = ListMaker(saved.name, saved.fallback_name, version, self._users, saved.sources)
        self._lists = ListCache(_MAX_CACHED_LISTS)
        self._shared: SharedLists | None = None  # see ``share_lists``

    @classmethod
    def fit(
        cls,
        estimator: Estimator,
        data: Dataset,
        run: Run = _RUN,
        *,
        fallback: Estimator | None = None,
        sources: Sequence[CandidateSource] = (),
        log: EventReader | None = None,
        retrieval: str = "auto",
    ) -> "Pipeline":
        """Fit a model, its fallback and other sources of items, and measure the cost of the fit.

        Args:
            estimator: settings of the model.
            data: what to fit it on.
            run: conditions of the fit.
            fallback: settings of the model for users without a usable history; default: popularity.
            sources: models with places of their own in each list, such as new items; see `CandidateSource`.
            log: an event store whose events and new items are merged into ``data`` first. A server of this pipeline
                can continue with that store.
            retrieval: how the candidates of a model whose score is a dot product are found: "exact"; "approximate" by an index
                whose recall is measured, see `ApproximateIndex`; "auto": approximate above two million items, if the extra
                "ann" is installed. Where the index does not reach its recall, exact search stays, and
                ``provenance["retrieval"]`` says so.

        Raises BudgetError if the model would not fit the memory of ``run``, and MissingExtraError for "approximate" without the
        extra "ann".
        """
        check_estimator(estimator)
        check_retrieval(retrieval)
        forgotten = () if log is None else log.forgotten_users()
        if log is not None:
            gone = find_forgotten(data.users.ids, log.id, forgotten)
            data = merge_events(remove_users(data, gone), log.events(), log.items())
        hidden = () if log is None else log.hidden_items()
        other = models.get_model("popularity")() if fallback is None else fallback
        with measure() as meter:
            model = estimator.fit(data, run)
            fitted_sources = fit_sources(sources, other, data, run)
            item_index, described = choose_index(model, data, retrieval, run)
        events = dataclasses.replace(data.events, request=None, rank=None, propensity=None)
        saved = SavedPipeline(
            name=get_model_name(estimator),
            fallback_name=get_model_name(other),
            model=model,
            fallback=model if other == estimator else other.fit(data, run),
            data=dataclasses.replace(data, events=events),
            stale=np.zeros(0, np.int32),
            hidden=find_known(data.items, hidden) if hidden else None,
            sources=fitted_sources,
            item_index=item_index,
        )
        provenance = build_provenance(estimator, data, run, dataclasses.asdict(meter.cost), log)
        if described:
            provenance["retrieval"] = described
        if sources:
            provenance["sources"] = [repr(each) for each in sources]
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

    def compress(self, method: CompressionMethod, run: Run = _RUN) -> "Pipeline":
        """The pipeline with a smaller model, made by a method that `leanrec.evaluation.compress` has chosen."""
        saved = self._merge_events(self._snapshot)
        smaller = method.compress(saved.model, saved.data, run)
        described = {"method": str(method), "bytes": sum(count_parts(smaller).values())}
        # Codes are searched as they are; an index would be as large as the model was.
        saved = dataclasses.replace(saved, model=smaller, item_index=None)
        return Pipeline(saved, {**self.provenance, "compression": described})

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
            model=unpad_scorer(self._current.base.model),
            n_fitted_items=self._n_fitted_items if isinstance(self._current.base.model, PaddedScorer) else None,
            fallback=self._current.base.fallback,
            data=data,
            stale=stale,
            n_fitted_users=n_fitted_users,
            hidden=hidden,
            forgotten=gone if len(gone) else None,
            sources=tuple(each.unpad() for each in self._current.base.sources),
            item_index=self._current.base.item_index,
        )

    def start_learning(self) -> None:
        """Announce that the model will be updated while it answers, as `OnlineLearner` does.

        A model that can be updated then takes new items by their ids alone; they are last until it has learned of them.
        ``policy`` says so too.
        """
        if not self.learns:
            self._current.learns, self._maker.policy = True, f"{self._maker.policy}+learning"
            self._shared = None

    def use_rules(self, rules: ListRules) -> None:
        """Make the lists for users by these rules from the next one on, instead of those before; ``save`` does not keep them.

        Lists of similar items, and those that are made without the model under load, have no pins and limits. O(N).

        Raises SettingError for a column that the items or the users do not have.
        """
        self._current.use_rules(rules)
        if self._shared is not None:
            self.share_lists(self._shared.store)

    def check_rules(self, rules: ListRules) -> None:
        """Raise SettingError for rules that ``use_rules`` does not take: with a column that the items or the users do not have. O(N)."""
        self._current.check_rules(rules)

    @property
    def rules(self) -> ListRules:
        """The rules of lists."""
        return self._current.rules

    def use_updated(self, model: Scorer | None = None, fallback: Scorer | None = None, *, n_users: int = 0) -> None:
        """Answer with an updated model or fallback from the next list on; see ``Updatable``. ``save`` keeps those of the fit.

        Lists in the cache are given for up to three seconds more, and for a quarter of a second those with popular items.

        Args:
            model: the updated model, over the items of the catalog or the first of them; None = as before.
            fallback: the updated fallback, likewise.
            n_users: number of users that the updated model knows, in rows of ``histories``.
        """
        self._shared = None  # other servers have other updates
        self._current.use_updated(model, fallback, n_users)

    @property
    def learns(self) -> bool:
        """Whether ``start_learning`` was called."""
        return self._current.learns

    @property
    def policy(self) -> str:
        """What makes the lists: name and version of the model, the sources, "learning" if it is updated while it answers, and the rules."""
        return self._maker.describe_policy(self._snapshot)

    @property
    def fitted_scorers(self) -> tuple[Scorer, Scorer | None]:
        """Model and fallback of the fit, before items were added and before updates."""
        return self._current.fitted_scorers

    @property
    def sources(self) -> tuple[FittedSource, ...]:
        """The fitted sources with places of their own in each list."""
        return self._current.base.sources

    @property
    def recall_watch(self) -> RecallWatch | None:
        """Compares some of the lists with exact ones after they were made; None where all are exact.

        Set its ``share`` to compare more or fewer of them.
        """
        index = self._current.base.item_index
        return None if index is None else index.watch

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
            pause()
            self.similar_items(first, 1)
            pause()
            self.catalog.search("", 1)
            pause()
        self.find_users("", 1)
        self._maker.times.clear()

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
        if user is None or trace or not (history is weights is ratings is allow is deny is where is None):
            query_user = self._users.find(snapshot, user, history, weights, ratings)
            timer = StageTimer(options.end) if trace else None
            rules = snapshot.catalog.resolve_rules(allow, deny, where)
            return self._maker.make(snapshot, query_user, rules, options, timer=timer)
        row = self._users.find_row(user)
        recorded = self._histories.find_recorded(row)  # the list is made from it, whatever is recorded meanwhile
        key = CacheKey(row, n, exclude_seen, reasons, explore)
        cached = self._lists.get(key, snapshot, recorded)
        if cached is not None:
            return cached.with_request(make_id())
        dropped = options.find_dropped("explain", self._maker.times) if rung == "no_reasons" else None
        if dropped is not None and (plain := self._lists.get(key._replace(reasons=False), snapshot, recorded)):
            return dataclasses.replace(plain, request=make_id(), rung=rung, dropped=(dropped,))
        query_user = self._users.describe(snapshot, row, recorded)
        shared = None if explore or rung != "full" else self._shared
        if (
            shared is not None
            and shared.is_quick_enough(options.end)
            and (found := shared.get(key, snapshot, recorded))
        ):
            self._lists.put(key, snapshot, recorded, found)
            return found
        old = None
        if options.is_limited:
            old = self._lists.get_old(key) or self._lists.get_old(key._replace(reasons=False))
        made = self._maker.make(snapshot, query_user, ItemRules(), options, None if old is None else OldList(*old))
        if any(each.stage.startswith("source ") for each in made.dropped):
            return made  # the next list may have time for all sources
        if made.rung == "full":
            kept = made if made.propensities is None else dataclasses.replace(made, propensities=None)
            self._lists.put(key, snapshot, recorded, kept)
            if shared is not None:
                shared.put(key, snapshot, recorded, kept)
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
        row = self._users.find_row(user)
        key = CacheKey(row, n, exclude_seen, reasons, explore)
        cached = self._lists.get(key, self._snapshot, self._histories.find_recorded(row))
        return None if cached is None else cached.with_request(make_id())

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
        return self._maker.make_similar(snapshot, snapshot.catalog.items.row(item), n, where)

    def embed_items(self) -> ItemEmbeddings:
        """The item vectors for a vector store, where the score of the model is a dot product. O(N · D).

        The longest vector is first, as indices by inner product need that are built in order. Items with a vector of
        zeros are left out: the model knows nothing of them, and a search by cosine lists them anywhere.

        Raises SettingError for a model whose score is no dot product.
        """
        snapshot = self._snapshot
        vectors = self._get_embedder(snapshot).embed_items()
        lengths = np.linalg.norm(vectors, axis=1)
        order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
        return ItemEmbeddings(snapshot.catalog.items.ids[order], np.asarray(vectors[order], dtype=np.float32))

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
        snapshot = self._snapshot
        embedder = self._get_embedder(snapshot)
        query_user = self._users.find(snapshot, user, history, weights, ratings)
        with single_query():
            queries = query_user.to_queries(len(snapshot.catalog))
            return np.asarray(embedder.embed_queries(queries)[0], dtype=np.float32)

    def _get_embedder(self, snapshot: Snapshot) -> Embedder:
        """The model, if its score is a dot product."""
        model = snapshot.model
        if isinstance(model, Embedder):
            return model
        raise SettingError(
            f"Only a model whose score is a dot product, such as ials or bpr, has vectors. {self.name} has none."
        )

    def explain(self, user: Id | None, item: Id, *, history: Iterable[Id] | None = None) -> ItemExplanation:
        """Why an item is recommended to a user, or for this history. Raises UnknownIdError."""
        snapshot = self._snapshot
        query_user = self._users.find(snapshot, user, history)
        catalog = snapshot.catalog
        row = catalog.items.row(item)
        item_id, title = catalog.external_id(row), catalog.title(row)
        queries = query_user.to_queries(len(catalog))
        if not queries.history.nnz and not has_other_evidence(snapshot, queries):
            return ItemExplanation(
                item_id, title, self._maker.give_fallback_reasons(is_whole_list=True), fallback=self.fallback_name
            )
        if snapshot.explainer is None:
            explanation = explain_by_single_items(snapshot, queries, row, self._users.build_history)
        else:
            with single_query():
                (explanation,) = explain_without_hidden(
                    snapshot, snapshot.explainer, queries, np.array([row], np.int32), _MAX_CONTRIBUTIONS
                )
        contributions = [
            Contribution(catalog.external_id(int(past)), catalog.title(int(past)), float(weight))
            for past, weight in zip(explanation.items, explanation.weights, strict=True)
            if weight > 0
        ]
        reasons = render_explanation(explanation, catalog.title, self._users.find_main_verb(query_user.history))
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

    def record_user_events(self, user_events: Sequence[UserEvent]) -> RecordResult:
        """Record events as a server receives them: the result is that of ``record_events`` for the same events as columns.

        Columns pay off for many events. Most requests have one, which takes a fifth of the time here.
        """
        items, by_user = self._snapshot.catalog.items, dict[str, tuple[Id, list[tuple[int, int, int, float, float]]]]()
        low, high = self.rating_range or (-np.inf, np.inf)
        for each in user_events:
            row, code = items.find_row(each.item), self._histories.encode_event_type(each.event_type)
            is_usual = type(each.user) is str or (type(each.user) is int and abs(each.user) <= _MAX_USUAL_ID)
            is_usual &= (each.rating is None or low <= each.rating <= high) and 0 <= each.weight <= _MAX_USUAL_WEIGHT
            if row is None or code is None or not is_usual:
                return self.record_events(to_events(user_events))  # which says what is wrong
            rating, time_ = np.nan if each.rating is None else each.rating, to_milliseconds(each.time) // 1000
            by_user.setdefault(str(each.user), (each.user, []))[1].append((row, code, time_, each.weight, rating))
        applied = 0
        for user, own in by_user.values():
            applied += self._histories.add(user, UserHistory.from_rows(own))
        return RecordResult(applied)

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

    def share_lists(self, store: ListStore | None) -> None:
        """Keep lists also in a store that other servers use, and look there for those that are not in the cache; None = no longer.

        A list from there is the one that ``recommend`` would make, up to a minute old. Lists that explore and those of a model
        that learns are not shared, since each server makes its own. Cost: a round trip for each list that is made.

        Raises SettingError for a pipeline without a version, because it was not loaded.
        """
        if store is not None and not self.version:
            raise SettingError("A pipeline that shares its lists must be loaded from disk, so that it has a version.")
        self._shared = None
        if store is not None and not self._current.learns:
            n_items = self.fitted_scorers[0].n_items
            self._shared = SharedLists(store, self._histories, self.name, self.version, self.policy, n_items)

    @property
    def list_store(self) -> ListStore | None:
        """The store of `share_lists`, or None."""
        return None if self._shared is None else self._shared.store

    def drop_lists(self) -> None:
        """Drop the lists in the cache, a few at a time; see ``paced_work``. For a pipeline that answers no longer."""
        self._lists.clear()

    def forget_user(self, user: Id) -> bool:
        """Forget a user, and return whether there was one: the id, the history and the lists in the cache. O(lists).

        The id is then unknown, and if it comes again it is that of a new user. What ``save`` and ``to_dataset`` give has
        neither the id nor the events, the row of the user table or the links of the user. The fitted model stays as it is,
        so what the events of the user contributed to it remains until the next fit.
        """
        row = self._histories.find_row(user)
        for cache in (self._lists, self._shared):
            if cache is not None and row is not None:
                cache.close_user(row)
        return self._histories.forget(user) is not None

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
        return self._current.add_items(ids, table, persist)

    def hide_items(
        self, ids: Iterable[Id], *, persist: Callable[[], Iterable[Id] | None] | None = None, replayed: bool = False
    ) -> None:
        """Hide items from the next list on: of users, of similar items, of the fallback and of all users.

        No reason names a hidden item. Its events are recorded and kept, ``explain`` and the catalog still know it, and
        ``show_items`` brings it back. O(N), and lists in the cache are made again.

        Args:
            ids: external ids.
            persist: writes the change to disk; called before any request sees it. If it raises, nothing has changed. It may return
                those of the items that are to be changed; None = all.
            replayed: an unknown id is kept for an item that is added later. False: it raises UnknownIdError.
        """
        self._current.set_hidden(ids, persist, hidden=True, replayed=replayed)

    def show_items(
        self, ids: Iterable[Id], *, persist: Callable[[], Iterable[Id] | None] | None = None, replayed: bool = False
    ) -> None:
        """Let lists show items again that were hidden; see ``hide_items`` for the arguments."""
        self._current.set_hidden(ids, persist, hidden=False, replayed=replayed)

    def is_hidden(self, item: Id) -> bool:
        """Whether an item is hidden."""
        return self._current.is_hidden(self.external_item_id(item))

    def history(self, user: Id, limit: int | None = None) -> tuple[HistoryEvent, ...]:
        """The events of a user, newest first. Raises UnknownIdError."""
        past = self._histories.get(self._users.find_row(user))
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

    @property
    def _snapshot(self) -> Snapshot:
        """What a request takes, and keeps to its end."""
        snapshot = self._current.snapshot
        if snapshot.rule_stage is not None and snapshot.rule_stage.end <= time.time():
            self.use_rules(snapshot.rule_stage.rules)
            snapshot = self._current.snapshot
        return snapshot

    def _data_with_new_items(self) -> Dataset:
        """The data of the fit with the current items."""
        catalog = self._snapshot.catalog
        return dataclasses.replace(self._data, items=catalog.items, item_table=catalog.table)


def _check_n(n: int) -> None:
    if n < 1:
        raise SettingError(f"n must be 1 or more. Got {n}.")


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
