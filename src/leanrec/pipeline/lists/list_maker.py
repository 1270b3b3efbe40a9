"""Makes recommendation lists from a snapshot: ranks, fills, explores and explains."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from leanrec.events.user_history import UserHistory
from leanrec.kernels.threads import single_query
from leanrec.pipeline.catalog import Catalog, ItemRules, Where
from leanrec.pipeline.contributions import explain_without_hidden
from leanrec.pipeline.explanations import MAX_TITLES, render_explanation
from leanrec.pipeline.lists.blending import OWN_LIST, PIN, assign_places, blend_items
from leanrec.pipeline.lists.degradation import (
    ListOptions,
    OldList,
    StageTimes,
    fill_with_popular,
    trace_without_model,
)
from leanrec.pipeline.lists.sources import FittedSource
from leanrec.pipeline.lists.stage_trace import StageTimer, trace_stages
from leanrec.pipeline.lists.unique_ids import make_id
from leanrec.pipeline.query_users import QueryUser, QueryUsers
from leanrec.pipeline.responses import DroppedStage, Recommendations, RecommendedItem
from leanrec.pipeline.scorers import ConstantScores
from leanrec.pipeline.snapshot import Snapshot
from leanrec.protocols import Context, Explainable
from leanrec.retrieval.exploration import N_CANDIDATES, draw_places
from leanrec.retrieval.stages import RankedItems, build_stages, rank_and_fill
from leanrec.types import Candidates, Queries

__all__ = ["ListMaker"]


class _FoundItems(NamedTuple):
    """A list, and what the sources did.

    Attributes:
        items: the list.
        n_candidates: number of candidates of each source that was asked.
        late: sources for which there was no time.
        source_seconds: seconds of all sources.
    """

    items: RankedItems
    n_candidates: Mapping[str, int] = MappingProxyType({})
    late: tuple[DroppedStage, ...] = ()
    source_seconds: float = 0.0


class ListMaker:
    """Makes the lists of one version of a model. Thread-safe.

    Attributes:
        name: name of the model.
        fallback_name: name of the fallback.
        version: id of the version.
        policy: what the lists are made by; see ``Recommendations.policy``.
        times: estimates of the seconds of the stages.
    """

    def __init__(
        self, name: str, fallback_name: str, version: str, users: QueryUsers, sources: Sequence[FittedSource] = ()
    ) -> None:
        self.name, self.fallback_name, self.version = name, fallback_name, version
        self.policy = "+".join([f"{name}/{version}", *(each.name for each in sources)])
        self.times = StageTimes()
        self._users = users

    def make(
        self,
        snapshot: Snapshot,
        query_user: QueryUser,
        rules: ItemRules,
        options: ListOptions,
        old: OldList | None = None,
        *,
        timer: StageTimer | None = None,
    ) -> Recommendations:
        """A list, as good as rung and deadline allow.

        Args:
            snapshot: model and catalog.
            query_user: the user with the history.
            rules: items that may be in the list.
            options: length, rung and deadline.
            old: an earlier list of the user.
            timer: times the stages, for a list with a trace.
        """
        n_items = len(snapshot.catalog)
        context = Context(options.exclude_seen, rules.allow, rules.deny, snapshot.shown)
        if timer is not None:
            timer.end_stage("rules")
            context = dataclasses.replace(context, end_stage=timer.end_stage)
        queries = query_user.to_queries(n_items)
        request, propensities = make_id(), None
        late: tuple[DroppedStage, ...] = ()
        dropped = options.find_dropped("rank", self.times, has_old_list=old is not None)
        if dropped is not None:
            parts = self._list_popular(snapshot, queries, context, options, old)
            trace = None if timer is None else trace_without_model(timer, parts["rung"], n_items, len(parts["items"]))
        else:
            with single_query():
                (found, n_candidates, late, _), propensities = self._rank(snapshot, queries, context, options, request)
                texts, dropped = self._explain(snapshot, query_user.history, queries, found, context, options)
            parts = {
                "items": _build_items(snapshot.catalog, found, texts),
                "fallback": self.fallback_name if found.from_fallback else None,
                "note": self._write_note(found, options.n),
                "rung": "full" if dropped is None else "no_reasons",
            }
            trace = (
                None if timer is None else trace_stages(timer, found, queries, n_items, rules, context, n_candidates)
            )
        return Recommendations(
            request=request,
            user=query_user.user,
            ignored=(*query_user.ignored, *rules.unknown),
            model=self.name,
            version=self.version,
            policy=self.describe_policy(snapshot, late, options.explore),
            propensities=propensities,
            dropped=(*late, *(() if dropped is None else (dropped,))),
            trace=trace,
            **parts,
        )

    def make_similar(self, snapshot: Snapshot, row: int, n: int, where: Where | None) -> Recommendations:
        """The n items most similar to the one of a row; see ``Pipeline.similar_items``."""
        catalog, stages = snapshot.catalog, snapshot.stages
        rules = catalog.resolve_rules(None, [catalog.external_id(row)], where)
        queries = self._users.build_history(np.array([row], np.int32)).to_queries(-1, len(catalog))
        cosine = snapshot.compare_items(row)
        if cosine is not None:
            stages = build_stages(ConstantScores(cosine[None, :]), snapshot.padded_fallback, None)
        context = Context(allow=rules.allow, deny=rules.deny, shown=snapshot.shown)
        found = rank_and_fill(stages, queries, min(n, len(catalog)), context)
        shared = [catalog.shared_labels(row, other)[:3] for other in found.rows]
        return Recommendations(
            request=make_id(),
            items=_build_items(catalog, found, [(f"shares: {', '.join(each)}",) if each else () for each in shared]),
            fallback=self.fallback_name if found.from_fallback else None,
            note=self._write_note(found, n),
            model=self.name,
            version=self.version,
            policy=self.policy,
        )

    def describe_policy(self, snapshot: Snapshot, late: Sequence[DroppedStage] = (), explore: float = 0.0) -> str:
        """What makes a list: the policy with the rules of the snapshot, without the sources that were late."""
        policy = self.policy
        if late:
            left_out = {each.stage.removeprefix("source ") for each in late}
            policy = "+".join([part for part in policy.split("+") if part not in left_out])
        if snapshot.rule_stage is not None:
            policy = f"{policy}+rules={snapshot.rule_stage.rules.digest}"
        return f"{policy}+explore={explore:g}" if explore else policy

    def _find_items(
        self, snapshot: Snapshot, queries: Queries, context: Context, options: ListOptions
    ) -> "_FoundItems":
        """The list of the model with pinned items and those of sources, and more of its items for a draw."""
        n_items, rules = len(snapshot.catalog), snapshot.rule_stage
        n_wanted = options.n + (N_CANDIDATES if options.explore else 0)
        if rules is None and not snapshot.source_stages:
            found = rank_and_fill(snapshot.stages, queries, min(n_wanted, n_items), context)
            if context.end_stage is not None:
                context.end_stage("fill")
            return _FoundItems(found)
        pins = np.full((1, n_wanted), -1, np.int32)
        if rules is not None:
            pins[:, : options.n] = rules.choose_pins(queries.users, queries, options.n, context)
        length = n_wanted if rules is None else rules.find_length(n_wanted)
        source_seconds = 0.0
        while True:
            lists, late, seconds = self._ask_sources(snapshot, queries, context, options, length)
            source_seconds += seconds
            own = rank_and_fill(snapshot.stages, queries, min(length, n_items), context)
            owners = np.full(n_wanted, OWN_LIST, np.int32)
            owners[: options.n] = assign_places([source for source, _ in lists], options.n)
            found, is_cut = blend_items(own, lists, owners, pins, rules, is_whole=len(own.rows) < min(length, n_items))
            if context.end_stage is not None:
                context.end_stage("fill")
            if not is_cut or length >= n_items:
                break
            length *= 4
        n_candidates = {source.name: int((each.items >= 0).sum()) for source, each in lists}
        return _FoundItems(found, n_candidates, late, source_seconds)

    def _ask_sources(
        self, snapshot: Snapshot, queries: Queries, context: Context, options: ListOptions, length: int
    ) -> tuple[list[tuple[FittedSource, Candidates]], tuple[DroppedStage, ...], float]:
        """The candidates of the sources for which there is time, the other sources, and the seconds. Times each."""
        lists: list[tuple[FittedSource, Candidates]] = []
        late: list[DroppedStage] = []
        began = time.perf_counter()
        for each in snapshot.source_stages:
            stage = f"source {each.source.name}"
            dropped = options.find_late(stage, self.times)
            if dropped is not None:
                late.append(dropped)
                continue
            start = time.perf_counter()
            lists.append((each.source, each.retrieve(queries, length, context)))
            self.times.add(stage, time.perf_counter() - start, is_long=options.is_long)
            if context.end_stage is not None:
                context.end_stage(stage)
        return lists, tuple(late), time.perf_counter() - began

    def _rank(
        self, snapshot: Snapshot, queries: Queries, context: Context, options: ListOptions, request: str
    ) -> tuple["_FoundItems", tuple[float | None, ...] | None]:
        """The list, and the propensities of its items where they were drawn. Times all but the sources."""
        start = time.perf_counter()
        result = self._find_items(snapshot, queries, context, options)
        propensities = None
        if options.explore:
            own, placed = result.items.split(options.n)
            n_places = options.n - len(placed)
            n_same = len(own.rows) if own.from_fallback else own.n_from_model
            drawn = draw_places(n_same, min(n_places, len(own.rows)), options.explore, request)
            found = own.take(range(n_places) if drawn is None else drawn.ranks).insert(placed)
            if drawn is not None:
                own_ones = iter(drawn.propensities)
                names = found.sources or ("",) * len(found.rows)
                propensities = tuple([None if name else next(own_ones) for name in names])
            result = result._replace(items=found)
            if context.end_stage is not None:
                context.end_stage("explore")
        self.times.add("rank", time.perf_counter() - start - result.source_seconds, is_long=options.is_long)
        return result, propensities

    def _explain(
        self,
        snapshot: Snapshot,
        history: UserHistory,
        queries: Queries,
        found: RankedItems,
        context: Context,
        options: ListOptions,
    ) -> tuple[list[tuple[str, ...]] | None, DroppedStage | None]:
        """The reasons of a list, and whether they were left out. Times them."""
        dropped = options.find_dropped("explain", self.times) if options.reasons else None
        if not options.reasons or dropped is not None:
            return None, dropped
        start = time.perf_counter()
        n_explained, own = 0 if found.from_fallback else found.n_from_model, found.own_ranks
        others = self.give_fallback_reasons(is_whole_list=found.from_fallback)
        rows = [found.rows[rank] for rank in own[:n_explained]]
        texts = self._explain_items(snapshot, history, queries, rows, "") + [others] * (len(own) - n_explained)
        if found.sources:
            own_texts, texts = texts, [others] * len(found.rows)
            for name in set(found.sources):
                ranks = found.find_ranks(name)
                rows = [found.rows[rank] for rank in ranks]
                explained = self._explain_items(snapshot, history, queries, rows, name) if name else own_texts
                for rank, text in zip(ranks, explained, strict=True):
                    texts[rank] = text
        if not found.from_fallback:  # which needs no time for its reasons
            self.times.add("explain", time.perf_counter() - start, is_long=options.is_long)
        if context.end_stage is not None:
            context.end_stage("explain")
        return texts, None

    def _explain_items(
        self, snapshot: Snapshot, history: UserHistory, queries: Queries, rows: Sequence[int], source: str
    ) -> list[tuple[str, ...]]:
        """The reasons of items of the model, or of the source of this name."""
        explainer = snapshot.explainer
        told: tuple[str, ...] = ()
        if source == PIN:
            return [("pinned",)] * len(rows)
        if source:
            stage = next(each for each in snapshot.source_stages if each.source.name == source)
            scorer = stage.stages.retriever.scorer
            explainer, told = scorer if isinstance(scorer, Explainable) else None, (f"from {source}",)
        if explainer is None or not rows:
            return [told] * len(rows)
        verb = self._users.find_main_verb(history)
        explanations = explain_without_hidden(snapshot, explainer, queries, np.array(rows, np.int32), MAX_TITLES)
        return [(*render_explanation(each, snapshot.catalog.title, verb), *told) for each in explanations]

    def _list_popular(
        self, snapshot: Snapshot, queries: Queries, context: Context, options: ListOptions, old: OldList | None
    ) -> dict[str, Any]:
        """The parts of a list without the model that depend on where its items come from."""
        kept, found = fill_with_popular(snapshot, queries, context, options.n, old)
        reasons = self.give_fallback_reasons(is_whole_list=not kept)
        items = (
            *kept,
            *_build_items(snapshot.catalog, found, [reasons] * len(found.rows) if options.reasons else None),
        )
        n_filled = len(found.rows) if kept else 0
        return {
            "items": items,
            "fallback": old.recommendations.fallback if old is not None and kept else self.fallback_name,
            "note": _write_note(len(items), n_filled, options.n, f"{self.fallback_name}."),
            "rung": "cached" if kept else "popular",
        }

    def give_fallback_reasons(self, *, is_whole_list: bool) -> tuple[str, ...]:
        """The reasons of an item of the fallback: among those of the model, or where the whole list comes from it."""
        if self.fallback_name == "popularity":
            return ("popular with all users",)
        return (f"no history yet: from {self.fallback_name}" if is_whole_list else f"from {self.fallback_name}",)

    def _write_note(self, found: RankedItems, n: int) -> str | None:
        n_filled = len(found.own_ranks) - found.n_from_model
        return _write_note(len(found.rows), n_filled, n, f"{self.fallback_name}: the model scored them zero.")


def _write_note(n_listed: int, n_filled: int, n: int, filled_from: str) -> str | None:
    """How many items were filled from the fallback, and why the list is short; None if neither applies."""
    if n_filled <= 0 and n_listed >= n:
        return None
    filled = f"{n_filled} of {n_listed} items, at the end of the list, are filled from {filled_from}"
    short = f"{n_listed} of {n} items: no other item may be recommended."
    return " ".join([filled] * (n_filled > 0) + [short] * (n_listed < n))


def _build_items(
    catalog: Catalog, found: RankedItems, reasons: Sequence[tuple[str, ...]] | None
) -> tuple[RecommendedItem, ...]:
    """A list with titles, images and the reasons of each item."""
    texts = ((),) * len(found.rows) if reasons is None else reasons
    parts = zip(catalog.label_all(found.rows), found.scores, texts, found.name_sources(), strict=True)
    return tuple(
        [RecommendedItem(item, title, score, text, url, source) for (item, title, url), score, text, source in parts]
    )
