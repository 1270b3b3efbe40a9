"""The HTTP app, and the server around it."""

import contextlib
import dataclasses
import functools
import json
import signal
import socket
import sys
import time
import uuid
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Query, Response

import leanrec
from leanrec.errors import SettingError
from leanrec.events.event_log import EventLog, Keep
from leanrec.events.reader import ServedList, table_of
from leanrec.events.user_events import Reaction, to_events
from leanrec.pipeline.pipeline import Pipeline
from leanrec.pipeline.replay import attach, log_beside
from leanrec.pipeline.responses import Recorded, Served, SetAside
from leanrec.serving.error_handlers import install
from leanrec.serving.prometheus import Measured, Metrics
from leanrec.serving.schemas import (
    Added,
    Ask,
    Count,
    EventIn,
    EventsIn,
    EventsOut,
    Health,
    HistoryOut,
    ItemOut,
    ItemsIn,
    ItemsOut,
    ListOut,
    Problem,
    SetAsideOut,
    UserOut,
    UsersOut,
    WhyOut,
)
from leanrec.settings import check_between

__all__ = ["Serving", "create_app", "serve"]

_MOST_BYTES = 4 * 2**20
_DAY = 86_400
_MOST_KINDS = 50
_PAGE = {"page.css": "text/css", "page.js": "text/javascript"}
# Kinds of events that a server takes besides those of the data.
_KINDS = ("view", "click", "like", "cart", "purchase", "rating", "skip")
Text = Annotated[str, Query(max_length=200)]
Texts = Annotated[list[str] | None, Query(max_length=1000)]


@dataclasses.dataclass(frozen=True)
class Serving:
    """How a pipeline is served.

    Attributes:
        kinds: kinds of events that are taken besides those that the data has; any other is answered with 422.
        adopt_log: take a log over that was kept for other data, whose ids mean the same people and items.
        keep: how long served lists are kept.
    """

    kinds: tuple[str, ...] = _KINDS
    adopt_log: bool = False
    keep: Keep = Keep()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if len(self.kinds) > _MOST_KINDS:
            raise SettingError(f"kinds must be at most {_MOST_KINDS}. Got {len(self.kinds)}.")


def create_app(pipeline: Pipeline, log: EventLog, serving: Serving = Serving()) -> FastAPI:
    """The HTTP app over a pipeline and an event log, both of which the caller opens and closes.

    What the log holds is replayed first, so that a restarted server knows every event it has accepted. Raises
    SourceError if the log was kept for other data.
    """
    for note in attach(pipeline, log, adopt=serving.adopt_log).notes():
        print(note, file=sys.stderr, flush=True)  # noqa: T201 - whoever starts the server
    metrics = Metrics()
    app = FastAPI(
        title="leanrec",
        version=leanrec.__version__,
        summary="Recommendations whose quality and computing cost are both known.",
        docs_url=None,  # the usual documentation pages load their scripts from another host
        redoc_url=None,
        responses={code: {"model": Problem} for code in (404, 422)},
    )
    app.add_middleware(Measured, metrics=metrics, most_bytes=_MOST_BYTES)
    install(app)
    _add_routes(app, _Service(pipeline, log, metrics, serving.kinds))
    return app


def serve(
    model_path: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    log_path: str | Path | None = None,
    serving: Serving = Serving(),
    ready: Callable[[str, Path], None] | None = None,
) -> None:
    """Serve a saved pipeline until SIGINT or SIGTERM; requests in flight are answered first.

    Args:
        model_path: what ``Pipeline.save`` wrote.
        host: address to listen at; the default is this machine only.
        port: 0 = any free one. The address is printed once requests are answered.
        log_path: the event log; default: beside the model, with the ending ``.events.db``.
        serving: how it is served.
        ready: called once requests are answered, with the address and the event log; None prints a line for people.

    Raises ArtifactError, SourceError (event log) or SettingError (address) before anything is served.
    """
    pipeline = Pipeline.load(model_path)
    listener = _listen(host, port)
    path = Path(log_path) if log_path else log_beside(model_path)
    with contextlib.closing(listener), EventLog(path, serving.keep) as log, contextlib.suppress(KeyboardInterrupt):
        app = create_app(pipeline, log, serving)
        pipeline.warm()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=10)
        greet = _greeting(pipeline.name) if ready is None else ready
        _Server(config, lambda url: greet(url, path)).run(sockets=[listener])


def _greeting(name: str) -> Callable[[str, Path], None]:
    return lambda url, _: print(f"leanrec serves {name} at {url} (Ctrl-C stops)", flush=True)  # noqa: T201


class _Server(uvicorn.Server):
    """Says where it listens once it does."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            self._ready(f"http://{shown}:{port}")


def _listen(host: str, port: int) -> socket.socket:
    check_between("port", port, 0, 65_535)  # the system would take a larger one modulo 65,536
    listener = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # The protocol must be named: asyncio switches Nagle's delay (40 ms an answer) off only where it is.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        advice = "Choose another address, or port 0 for any that is free."
        raise SettingError(f"Cannot listen at {host}:{port}: {error}. {advice}") from error
    return listener


class _Service:
    """The routes, as plain functions: each runs in a thread, so that a slow disk holds up nobody else."""

    def __init__(self, pipeline: Pipeline, log: EventLog, metrics: Metrics, kinds: tuple[str, ...]) -> None:
        self.pipeline, self.log, self.metrics, self.kinds = pipeline, log, metrics, kinds

    def ask(self, ask: Ask) -> ListOut:
        """The best items for a user, or for a history that is given here."""
        return self._served(self.pipeline.recommend(**dict(ask)))

    def recommend(
        self,
        user: Annotated[str | None, Query(max_length=200, examples=["1"])] = None,
        history: Texts = None,
        n: Count = 10,
        exclude_seen: bool = True,
        where: Annotated[str | None, Query(max_length=5000, examples=['{"genres": "Comedy"}'])] = None,
        reasons: bool = True,
    ) -> ListOut:
        """The same with the usual settings in the address; ``where`` is JSON."""
        served = self.pipeline.recommend(
            user, history=history, n=n, exclude_seen=exclude_seen, where=_conditions(where), reasons=reasons
        )
        return self._served(served)

    def similar(self, item: str, n: Count = 10) -> ListOut:
        """The items most like one."""
        return self._out(self.pipeline.similar(item, n))

    def explain(self, item: Text, user: Text | None = None, history: Texts = None) -> WhyOut:
        """Why an item suits a user, or somebody with this history."""
        return WhyOut.model_validate(self.pipeline.explain(user, item, history=history).to_dict())

    def events(self, batch: EventsIn) -> EventsOut:
        """Take in events. Once this answers, they are on disk and the next list reflects them."""
        now = int(time.time())
        reactions = [self._reaction(event, at, now) for at, event in enumerate(batch.events)]
        accepted = self.log.append(reactions)
        recorded = self.pipeline.record(to_events(accepted.new)) if accepted.new else Recorded(0)
        aside = _positions(reactions, accepted.new, recorded.set_aside)
        for outcome, count in (
            ("accepted", len(accepted.new)),
            ("duplicate", accepted.duplicates),
            ("set aside", len(aside)),
        ):
            self.metrics.events.labels(outcome).inc(count)
        return EventsOut(
            accepted=len(accepted.new),
            duplicates=accepted.duplicates,
            reflected=recorded.reflected,
            set_aside=aside,
        )

    def add_items(self, batch: ItemsIn) -> Added:
        """Take in new items by their content, where the model reads content."""
        contents = {item.id: item.content for item in batch.items}
        table = table_of(list(contents.values()))
        keep = functools.partial(self.log.add_items, contents)
        return Added(added=self.pipeline.add_items(list(contents), table, keep=keep))

    def items(self, search: Text = "", limit: Count = 20) -> ItemsOut:
        """Items whose title holds a text."""
        catalogue = self.pipeline.catalogue
        rows = catalogue.search(search, limit).tolist()
        found = [
            ItemOut(id=catalogue.own_id(row), title=catalogue.title(row), content=catalogue.content(row))
            for row in rows
        ]
        return ItemsOut(items=found)

    def users(self, search: Text = "", limit: Count = 20) -> UsersOut:
        """Users whose id begins with a text."""
        found = [UserOut(id=own, events=events) for own, events in self.pipeline.users(search, limit)]
        return UsersOut(users=found)

    def history(self, user: str, limit: Count = 50) -> HistoryOut:
        """What a user did, newest first."""
        return HistoryOut(user=self.pipeline.own_user(user), events=list(self.pipeline.history(user, limit)))

    def health(self) -> Health:
        """What is served."""
        pipeline, made = self.pipeline, self.pipeline.provenance
        table = pipeline.catalogue.table
        return Health(
            status="ok",
            model=pipeline.name,
            settings=made.get("settings"),
            made=made.get("made"),
            fallback=pipeline.fallback_name,
            version=leanrec.__version__,
            users=pipeline.n_users,
            items=len(pipeline.catalogue),
            kinds=list(self._known_kinds()),
            columns=[] if table is None else list(table.columns),
            rating_range=pipeline.rating_range,
        )

    def show_metrics(self) -> Response:
        """Metrics in the text format of Prometheus."""
        self.metrics.lost.set(self.log.lost)
        self.metrics.users.set(self.pipeline.n_users)
        self.metrics.items.set(len(self.pipeline.catalogue))
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def _served(self, served: Served) -> ListOut:
        self.metrics.fallbacks.inc(served.fallback is not None)
        ids, scores = tuple(item.id for item in served.items), tuple(item.score for item in served.items)
        self.log.served(ServedList(served.request, int(time.time()), served.user, ids, scores, served.fallback))
        return self._out(served)

    def _out(self, served: Served) -> ListOut:
        return ListOut(
            request=served.request,
            user=served.user,
            items=list(served.items),
            model=self.pipeline.name,
            fallback=served.fallback,
            ignored=list(served.ignored),
            note=served.note,
        )

    def _known_kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.pipeline.kinds, *self.kinds)))

    def _reaction(self, event: EventIn, at: int, now: int) -> Reaction:
        _check_kind(event.kind, at, self._known_kinds())
        _check_time(event.time, at, now)
        _check_rating(event.value, self.pipeline.rating_range, at)
        weight = self.pipeline.strength.weight(event.kind, event.value) if event.weight is None else event.weight
        return Reaction(
            id=event.id or uuid.uuid4().hex,
            user=self.pipeline.own_user(event.user),
            item=self.pipeline.own_item(event.item),
            kind=event.kind,
            time=now if event.time is None else event.time,
            weight=weight,
            value=event.value,
            request=event.request,
            rank=event.rank,
        )


def _add_routes(app: FastAPI, service: _Service) -> None:
    def add(path: str, endpoint: Callable[..., Any], method: str = "GET", **more: Any) -> None:
        app.add_api_route(path, endpoint, methods=[method], **more)

    add("/recommend", service.ask, "POST", summary="Recommend")
    add("/recommend", service.recommend, summary="Recommend, by address")
    add("/similar/{item:path}", service.similar)
    add("/explain", service.explain)
    add("/events", service.events, "POST")
    add("/items", service.items)
    add("/items", service.add_items, "POST")
    add("/users", service.users)
    add("/users/{user:path}", service.history)
    add("/health", service.health)
    add("/metrics", service.show_metrics, response_class=Response)
    headers = _page_headers(pictures=service.pipeline.catalogue.pictures is not None)
    add("/", _page("index.html", "text/html", headers), include_in_schema=False)
    for name, kind in _PAGE.items():
        add(f"/page/{name}", _page(name, kind, headers), include_in_schema=False)


def _page_headers(*, pictures: bool) -> dict[str, str]:
    """The page loads nothing from elsewhere, but the pictures that the item table names; nobody may frame it."""
    images = f"img-src 'self' data:{' https:' * pictures}"
    return {
        "Content-Security-Policy": f"default-src 'self'; {images}; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }


def _page(name: str, kind: str, headers: dict[str, str]) -> Callable[[], Response]:
    content = files("leanrec.serving").joinpath("dashboard", name).read_bytes()

    def page() -> Response:
        return Response(content, media_type=kind, headers=headers)

    return page


def _conditions(where: str | None) -> dict[str, Any] | None:
    if where is None:
        return None
    try:
        conditions = json.loads(where)
    except (ValueError, RecursionError) as error:
        raise SettingError(f'where must be JSON such as {{"genres": "Comedy"}}. Got {where[:80]!r}.') from error
    if not isinstance(conditions, dict):
        raise SettingError(f"where must be a JSON object. Got {where[:80]!r}.")
    return conditions


def _check_kind(kind: str, at: int, known: tuple[str, ...]) -> None:
    if kind not in known:
        raise SettingError(f"events.{at}.kind must be one of {', '.join(known)}. Got {kind!r}.")


def _check_time(moment: int | None, at: int, now: int) -> None:
    if moment is not None and moment > now + _DAY:
        unit = " It looks like milliseconds." if moment > 100 * now else ""
        raise SettingError(f"events.{at}.time must be seconds since 1970 and not in the future. Got {moment}.{unit}")


def _check_rating(value: float | None, allowed: tuple[float, float] | None, at: int) -> None:
    if value is not None and allowed is not None and not allowed[0] <= value <= allowed[1]:
        raise SettingError(f"events.{at}.value must be from {allowed[0]:g} to {allowed[1]:g}. Got {value:g}.")


def _positions(sent: list[Reaction], new: tuple[Reaction, ...], aside: tuple[SetAside, ...]) -> list[SetAsideOut]:
    """What was set aside, by its position in the request."""
    place = {id(reaction): at for at, reaction in enumerate(sent)}
    return [SetAsideOut(position=place[id(new[each.position])], why=each.why) for each in aside]
