"""Routes of the HTTP app: paths, their handlers, and the check of their parameters."""

import asyncio
import functools
import inspect
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response, Security
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer

import leanrec
from leanrec.data.vocabulary import Id
from leanrec.errors import SettingError
from leanrec.events.event_reader import build_item_table
from leanrec.events.records import ServedList
from leanrec.pipeline.catalog import load_conditions
from leanrec.pipeline.lists.rules import ListRules
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.responses import Recommendations
from leanrec.serving.error_handlers import RETRY_HEADER, describe_errors
from leanrec.serving.event_requests import EventRecorder
from leanrec.serving.fast_routes import ListRequest
from leanrec.serving.load.control import LoadControl
from leanrec.serving.monitoring.server_log import log_event
from leanrec.serving.schemas import (
    AddItemsRequest,
    AddItemsResponse,
    ChangeItemRequest,
    ChangeItemsRequest,
    ChangeItemsResponse,
    EventsRequest,
    EventsResponse,
    ExplainResponse,
    ForgetResponse,
    HealthResponse,
    HistoryResponse,
    ItemDetail,
    ItemsResponse,
    ListLength,
    ListRulesRequest,
    ListRulesResponse,
    RecommendRequest,
    RecommendResponse,
    StatusResponse,
    TimeLimit,
    TrialDetail,
    UserDetail,
    UsersResponse,
    VersionsResponse,
)
from leanrec.serving.security.access import find_role

__all__ = ["RouteHandlers", "add_routes"]

_MAX_WRITING_SECONDS = 5  # of one transaction of the event log
_NOT_READY = {503: {"model": StatusResponse, "description": "They cannot be answered.", "headers": RETRY_HEADER}}
_ROUTES = (
    ("POST", "/recommend", "post_recommend", "Recommend", describe_errors(404, 413, 422, 503)),
    ("GET", "/recommend", "get_recommend", "Recommend, by query string", describe_errors(404, 422, 503)),
    ("GET", "/similar/{item:path}", "get_similar", "Similar items", describe_errors(404, 422, 503)),
    ("GET", "/explain", "get_explanation", "Explain", describe_errors(404, 422, 503)),
    ("POST", "/events", "post_events", "Record events", describe_errors(413, 422, 429, 503)),
    ("GET", "/items", "get_items", "Search items", describe_errors(422)),
    ("POST", "/items", "post_items", "Add items", describe_errors(413, 422, 429, 503)),
    (
        "PATCH",
        "/items",
        "patch_items",
        "Change the stock of items, or hide them",
        describe_errors(404, 413, 422, 429, 503),
    ),
    ("PATCH", "/items/{item:path}", "patch_item", "Hide an item", describe_errors(400, 404, 413, 422, 429, 503)),
    ("DELETE", "/items/{item:path}", "delete_item", "Hide an item, as PATCH does", describe_errors(404, 422, 429, 503)),
    ("GET", "/list-rules", "get_list_rules", "Rules of lists", describe_errors()),
    ("PUT", "/list-rules", "put_list_rules", "Replace the rules of lists", describe_errors(409, 413, 422, 429, 503)),
    ("GET", "/users", "get_users", "Search users", describe_errors(422)),
    ("GET", "/users/{user:path}", "get_history", "History of a user", describe_errors(404, 422)),
    ("DELETE", "/users/{user:path}", "delete_user", "Forget a user", describe_errors(422, 429, 503)),
    ("GET", "/health", "get_health", "Health", describe_errors()),
    ("GET", "/versions", "get_versions", "Versions that are served and on trial", describe_errors()),
    ("GET", "/livez", "get_liveness", "Whether the process answers", describe_errors()),
    ("GET", "/readyz", "get_readiness", "Whether requests can be answered", describe_errors() | _NOT_READY),
    ("GET", "/metrics", "get_metrics", "Metrics", describe_errors()),
)
# They may wait for the disk, which must not hold the threads in which lists are made.
_WRITES = frozenset(["post_items", "patch_items", "patch_item", "delete_item", "put_list_rules", "delete_user"])
_N_WRITING_THREADS = 8
# Describes the key; it is checked before a request comes here.
_KEY = Security(HTTPBearer(auto_error=False, scheme_name="key", description="The key of a client or an admin."))
TextParameter = Annotated[str, Query(max_length=200)]
IdsParameter = Annotated[list[str] | None, Query(max_length=1000)]


class RouteHandlers:
    """The handlers of the routes. Those that compute are not async, so each runs in a thread and blocks no other request."""

    def __init__(self, recorder: EventRecorder, load: LoadControl, explore: float) -> None:
        self.recorder, self.load, self.explore = recorder, load, explore
        self.writes = ThreadPoolExecutor(_N_WRITING_THREADS, "leanrec-write")
        self.live, self.log, self.metrics = recorder.live, recorder.log, recorder.metrics

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline of the current version. A handler that asks twice may get two."""
        return self.live.pipeline

    def post_recommend(self, request: RecommendRequest) -> RecommendResponse:
        """The best items for a user, or for a history in the request."""
        as_of = self.recorder.as_of  # before the list is made, which may reflect later events too
        limit = self.load.limit_time(request.time_limit_ms)
        arguments = dict(request) | {"time_limit_ms": limit, "explore": self.explore}
        return self._respond(self._log_list(self.live.recommend(**arguments, rung=self.load.rung)), as_of)

    def get_recommend(
        self,
        request: Request,
        user: Annotated[str | None, Query(max_length=200, examples=["1"])] = None,
        history: IdsParameter = None,
        n: ListLength = 10,
        exclude_seen: bool = True,
        where: Annotated[str | None, Query(max_length=5000, examples=['{"genres": "Comedy"}'])] = None,
        reasons: bool = True,
        trace: bool = False,
        time_limit_ms: TimeLimit | None = None,
    ) -> RecommendResponse:
        """The same with the main parameters in the query string; ``where`` is JSON."""
        as_of, conditions = self.recorder.as_of, None if where is None else load_conditions(where)
        recommended = self.live.recommend(
            user,
            history=history,
            n=n,
            exclude_seen=exclude_seen,
            where=conditions,
            reasons=reasons,
            trace=trace,
            time_limit_ms=self.load.limit_time(time_limit_ms),
            rung=self.load.rung,
            explore=self.explore,
        )
        # The list of a HEAD request is not sent.
        return self._respond(recommended if request.method == "HEAD" else self._log_list(recommended), as_of)

    def get_similar(self, item: str, n: ListLength = 10) -> RecommendResponse:
        """The items most similar to one."""
        return self._respond(self.pipeline.similar_items(item, n), self.recorder.as_of)

    def get_explanation(
        self, item: TextParameter, user: TextParameter | None = None, history: IdsParameter = None
    ) -> ExplainResponse:
        """Why an item is recommended to a user, or for this history."""
        pipeline = self.live.find_pipeline(user)  # which made the list that is explained
        return ExplainResponse.model_validate(pipeline.explain(user, item, history=history).to_dict())

    async def post_events(self, request: EventsRequest) -> EventsResponse:
        """Record events. When the response arrives they are on disk, and the next recommendation uses them.

        A wrong event harms no other: the answer lists it. Status 422 if no event is right.
        """
        return EventsResponse.model_validate(msgspec.to_builtins(await self.recorder.record(request.events)))

    def post_items(self, request: AddItemsRequest) -> AddItemsResponse:
        """Add new items by their content, if the model uses content, and correct that of items added before."""
        contents = {self.pipeline.external_item_id(item.id): item.content for item in request.items}
        table = build_item_table(list(contents.values()))
        persist = functools.partial(self.log.add_items, contents)
        result = self.live.add_items(list(contents), table, persist=persist)
        return AddItemsResponse(added=result.added, corrected=result.corrected, unchanged=result.unchanged)

    def get_items(self, search: TextParameter = "", limit: ListLength = 20) -> ItemsResponse:
        """Items whose title contains a text."""
        pipeline = self.pipeline
        found = pipeline.catalog.search(search, limit).tolist()
        return ItemsResponse(items=[_describe_item(pipeline, row) for row in found])

    def patch_items(self, request: ChangeItemsRequest) -> ChangeItemsResponse:
        """Change the stock of many items, or hide them, as PATCH of one item does. Status 404 if none of them is known."""
        pipeline = self.pipeline
        changes = {pipeline.external_item_id(each.id): each for each in request.items}
        rows = pipeline.catalog.items.rows(list(changes), missing=-1).tolist()
        unknown = [item for item, row in zip(changes, rows, strict=True) if row < 0]
        if len(unknown) < len(changes):  # else the first one is told as unknown
            changes = {item: change for (item, change), row in zip(changes.items(), rows, strict=True) if row >= 0}
        self._change_items(changes)
        return ChangeItemsResponse(changed=len(changes), unknown=unknown)

    def _change_items(self, changes: Mapping[Id, ChangeItemRequest]) -> None:
        """Write changes of items, those that hide some first. Raises UnknownIdError."""
        for hidden in (True, False):
            decided = [item for item, change in changes.items() if change.hidden is hidden]
            moved = [
                item
                for item, change in changes.items()
                if change.in_stock is not hidden and change.in_stock is not None
            ]
            for items, by_stock in ((decided, False), (moved, True)):
                if items:
                    self.live.set_hidden(items, hidden=hidden, by_stock=by_stock)

    def patch_item(self, item: str, request: ChangeItemRequest) -> ItemDetail:
        """Hide an item, or let lists show it again. When the response arrives it is on disk, and the next list obeys it.

        Lists, similar items, the fallback and the reasons leave out a hidden item. Its events are recorded as before. That an item
        is out of stock hides it too; an item that is hidden and out of stock is shown when neither holds.
        """
        self._change_items({self.pipeline.external_item_id(item): request})
        return _describe_item(self.pipeline, self.pipeline.catalog.items.row(item))

    def delete_item(self, item: str) -> ItemDetail:
        """Hide an item. Nothing of it is deleted: PATCH with ``hidden: false`` brings it back."""
        return self.patch_item(item, ChangeItemRequest(hidden=True))

    def get_list_rules(self) -> ListRulesResponse:
        """The rules by which all lists for users are made, with their revision."""
        return ListRulesResponse.of_live(self.live)

    def put_list_rules(self, rules: ListRulesRequest, request: Request) -> ListRulesResponse:
        """Replace all rules of lists. When the response arrives they are on disk, and the next list obeys them.

        Status 409, with nothing changed, if another client has changed them since the revision was read. A request that is sent
        again changes nothing more.
        """
        replaced = self.live.replace_rules(rules.to_rules(), rules.revision)
        made = ListRulesResponse.of_rules(ListRules.from_json(replaced.rules), replaced.revision)
        key, policy = request.scope.get("key_name"), made.policy or "none"
        message = f"The rules of lists are now revision {made.revision}: {len(made.pins)} pins, {len(made.limits)} limits ({policy})"
        by = "" if key is None else f", by the key {key}"
        log_event("rules", f"{message}{by}.", revision=made.revision, policy=made.policy, key=key)
        return made

    def get_users(self, search: TextParameter = "", limit: ListLength = 20) -> UsersResponse:
        """Users whose id starts with a text."""
        found = self.pipeline.find_users(search, limit)
        return UsersResponse(users=[UserDetail(id=user, events=n_events) for user, n_events in found])

    def get_history(self, user: str, limit: ListLength = 50) -> HistoryResponse:
        """The events of a user, newest first."""
        events = self.pipeline.history(user, limit)
        return HistoryResponse(user=self.pipeline.external_user_id(user), events=list(events))

    def delete_user(self, user: str) -> ForgetResponse:
        """Forget a user: when the response arrives the id is in no row of the event log, in no history and in no list.

        An event log in SQLite has it in none of its files. The answer is the same for an unknown id, so a request can be
        repeated. What the events contributed to the fitted model remains until the next fit with the log.
        """
        return ForgetResponse(events=self.live.forget_user(user).n_events)

    def get_health(self) -> HealthResponse:
        """The model that is served."""
        pipeline, provenance = self.pipeline, self.pipeline.provenance
        table = pipeline.catalog.table
        return HealthResponse(
            status="ok",
            model=pipeline.name,
            model_version=pipeline.version,
            settings=provenance.get("settings"),
            created=provenance.get("created"),
            fallback=pipeline.fallback_name,
            version=leanrec.__version__,
            users=pipeline.n_users,
            items=len(pipeline.catalog),
            event_types=list(self.recorder.event_types),
            columns=[] if table is None else list(table.columns),
            rating_range=None if pipeline.rating_range is None else list(pipeline.rating_range),
        )

    def get_versions(self) -> VersionsResponse:
        """The version that is served and the one on trial, as the process that answers has seen them."""
        pipeline, trial = self.pipeline, self.live.trial
        return VersionsResponse(
            model=pipeline.name,
            version=pipeline.version,
            trial=None if trial is None else TrialDetail.model_validate(trial.describe()),
        )

    # These two are async: they answer while all threads wait for a disk or a model.
    async def get_liveness(self) -> StatusResponse:
        """The process answers. A supervisor may restart a server that does not."""
        return StatusResponse(status="ok")

    async def get_readiness(self, response: Response) -> StatusResponse:
        """Lists and events can be answered now. With status 503 a load balancer sends requests elsewhere."""
        waiting, problem = self.log.waiting_seconds(), self.log.guard.find_problem()
        if waiting < _MAX_WRITING_SECONDS and problem is None:
            return StatusResponse(status="ok")
        response.status_code = 503
        if problem is not None:
            return StatusResponse(status=str(problem))
        response.headers["Retry-After"] = str(_MAX_WRITING_SECONDS)
        return StatusResponse(status=f"The event log has not answered for {waiting:.0f} s.")

    def get_metrics(self) -> Response:
        """Metrics in the text format of Prometheus."""
        self.update_gauges()
        return Response(self.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def update_gauges(self) -> None:
        """Measure what the metrics tell of the moment in which they are read."""
        self.metrics.count_lost(self.log.n_lost)
        self.metrics.tell_version(self.pipeline.name, self.pipeline.version)
        self.metrics.free_bytes.set(self.log.guard.free_bytes)
        self.metrics.wal_bytes.set(self.log.guard.wal_bytes)
        self.metrics.quality_loss.set(round(1 - self.load.quality.value, 3))
        self.metrics.users.set(self.pipeline.n_users)
        self.metrics.items.set(len(self.pipeline.catalog))

    def recommend(
        self, request: ListRequest, rung: str, time_limit_ms: float | None, *, trace: bool = False
    ) -> Recommendations:
        """The list of a request with only the usual parameters, logged; ``trace``: its stages are in the metrics."""
        recommended = self.live.recommend(
            request.user,
            history=request.history,
            n=request.n,
            exclude_seen=request.exclude_seen,
            reasons=request.reasons,
            trace=trace,
            time_limit_ms=time_limit_ms,
            rung=rung,
            explore=self.explore,
        )
        if recommended.trace is None:
            return self._log_list(recommended)
        for each in recommended.trace:
            self.metrics.stages.labels(each.stage).observe(each.milliseconds / 1e3)
        scores = [each.score for each in recommended.items if each.source == "model"]
        if scores and math.isfinite(scores[0]):
            self.metrics.top_score.observe(scores[0])
        start = time.perf_counter()
        self._log_list(recommended)
        self.metrics.stages.labels("log").observe(time.perf_counter() - start)
        return recommended

    def find_cached(self, request: ListRequest) -> Recommendations | None:
        """The same list if it is in the cache, logged."""
        if request.user is None or request.history is not None:
            return None
        cached = self.live.find_cached(
            request.user,
            n=request.n,
            exclude_seen=request.exclude_seen,
            reasons=request.reasons,
            explore=self.explore,
        )
        return None if cached is None else self._log_list(cached)

    def _log_list(self, recommended: Recommendations) -> Recommendations:
        if recommended.fallback is not None:
            self.metrics.fallbacks.inc()
        if recommended.rung != "full":
            self.metrics.degraded_lists.labels(recommended.rung).inc()
        served = ServedList(
            request=recommended.request,
            time=time.time(),
            user=recommended.user,
            items=tuple([item.id for item in recommended.items]),
            scores=tuple([item.score for item in recommended.items]),
            fallback=recommended.fallback,
            version=recommended.version,
            policy=recommended.policy,
            arm=recommended.arm,
            rung=recommended.rung,
            propensities=recommended.propensities,
        )
        self.log.append_served(served)
        return recommended

    def _respond(self, recommended: Recommendations, as_of: int) -> RecommendResponse:
        return RecommendResponse(
            request=recommended.request,
            user=recommended.user,
            items=list(recommended.items),
            model=recommended.model,
            version=recommended.version,
            policy=recommended.policy,
            arm=recommended.arm,
            rung=recommended.rung,
            propensities=None if recommended.propensities is None else list(recommended.propensities),
            dropped=list(recommended.dropped),
            as_of=as_of,
            fallback=recommended.fallback,
            ignored=list(recommended.ignored),
            note=recommended.note,
            trace=None if recommended.trace is None else list(recommended.trace),
        )


def _describe_item(pipeline: Pipeline, row: int) -> ItemDetail:
    catalog = pipeline.catalog
    item = catalog.external_id(row)
    return ItemDetail(id=item, title=catalog.title(row), content=catalog.content(row), hidden=pipeline.is_hidden(item))


def _run_in_threads(handler: Callable[..., Any], threads: ThreadPoolExecutor) -> Callable[..., Any]:
    """The handler, which then waits for threads of its own."""

    @functools.wraps(handler)
    async def run(*arguments: Any, **named: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(
            threads, functools.partial(handler, *arguments, **named)
        )

    return run


def add_routes(app: FastAPI, handlers: RouteHandlers, *, has_keys: bool) -> None:
    """Add the routes to an app; ``has_keys``: they are described with the key that each needs."""
    checks = [Depends(_check_query)]
    for method, path, name, summary, described in _ROUTES:
        role = find_role(method, path) if has_keys else None
        refusals = () if role is None else (401, 429) if role == "client" else (401, 403, 429)
        responses = described | describe_errors(*refusals)
        handler = getattr(handlers, name)
        if name in _WRITES:
            handler = _run_in_threads(handler, handlers.writes)
        response_class = PlainTextResponse if name == "get_metrics" else JSONResponse
        app.add_api_route(
            path,
            handler,
            methods=[method],
            summary=summary,
            responses=responses,
            response_class=response_class,
            dependencies=checks if role is None else [*checks, _KEY],
        )
        if method == "GET":
            app.add_api_route(path, handler, methods=["HEAD"], include_in_schema=False, dependencies=checks)


async def _check_query(request: Request) -> None:
    """Raise SettingError for an unknown or a repeated parameter, which the framework would ignore.

    Probes have no parameters and ignore all, since some add one against caches.
    """
    parameters = inspect.signature(request.scope["endpoint"]).parameters
    known = [name for name in parameters if name not in {"request", "response", *request.path_params}]
    for name in request.query_params if known or request.path_params else ():
        if name not in known:
            allowed = f"A parameter must be one of {', '.join(known)}" if known else "There must be no parameter"
            raise SettingError(f"{allowed}. Got {name!r}.")
        if name != "history" and len(request.query_params.getlist(name)) > 1:
            raise SettingError(f"{name} must be given once. Got it {len(request.query_params.getlist(name))} times.")
