"""Client of a server: questions with a time limit, and retries that lose and double no event."""

import dataclasses
import email.utils
import json
import random
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from leanrec.client.connection import Answer, ConnectionPool
from leanrec.errors import RequestError, SettingError

__all__ = ["Client", "RetryPolicy"]

_EVENTS_OF_A_REQUEST = 500
_ITEMS_OF_A_REQUEST = 10_000
_LAG_SECONDS = 0.01  # of one worker behind another, usually
_MAX_LAG_SECONDS = 0.2
_TRY_AGAIN = frozenset([408, 429, 502, 503, 504])


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """How long a client tries. Each time counts from the call, with all retries and waits.

    Attributes:
        attempt_seconds: longest time of one attempt, from the connection to the last byte of the answer.
        list_seconds: longest time of a call for a list.
        event_seconds: longest time of a call that records events: longer than a restart of the server.
        first_wait: mean seconds of the wait before the second attempt; each later wait is twice as long.
        max_wait: largest mean wait. A longer one that the server asks for is kept.
    """

    attempt_seconds: float = 5.0
    list_seconds: float = 10.0
    event_seconds: float = 60.0
    first_wait: float = 0.05
    max_wait: float = 2.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not (isinstance(value, int | float) and 0 < value < float("inf")):  # leanrec.settings would load numpy
                raise SettingError(f"{field.name} must be a positive number. Got {value!r}.")


class Client:
    """A client of one server. Thread-safe; connections are kept and used again.

    A request is sent again after a connection that failed, after no answer in time, and after status 408, 429, 502, 503 or
    504, as long as the policy allows. The wait is the larger of what ``Retry-After`` says and a random one that grows. An event
    without an id gets one before it is sent for the first time, and the server counts an id once, so that no retry doubles it.

    Answers are the JSON of the server as dictionaries; ``GET /openapi.json`` describes them. There is no asynchronous
    version: use ``await asyncio.to_thread(client.recommend, user)``.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        policy: RetryPolicy = RetryPolicy(),
        certificates: str | None = None,
    ) -> None:
        """Prepare a client. Nothing is sent.

        Args:
            url: of the server, such as ``http://127.0.0.1:8000`` or ``https://shop.example/recommender``.
            key: the key, where the server asks for one.
            policy: how long to try.
            certificates: file of the certificates to trust (PEM), for HTTPS; None: those of the system.

        Raises SettingError for what is no URL.
        """
        parts = urllib.parse.urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1 or parts.query or parts.fragment:
            raise SettingError(f"url must be like http://127.0.0.1:8000. Got {url!r}.")
        self.policy = policy
        self._path = parts.path.rstrip("/")
        self._headers = {"Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._pool = ConnectionPool(parts.hostname, port, is_tls=parts.scheme == "https", certificates=certificates)
        self._random = random.Random()  # noqa: S311 - of waits
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, and end the waits of other threads, whose calls then fail."""
        self._stopping.set()
        self._pool.close()

    def recommend(
        self,
        user: int | str | None = None,
        *,
        history: Iterable[int | str] | None = None,
        n: int = 10,
        after: int = 0,
        **others: Any,
    ) -> dict[str, Any]:
        """The list for a user, or for a history, as ``POST /recommend`` answers it.

        Args:
            user: external id.
            history: external ids of items, oldest first, instead of the stored history of the user.
            n: length of the list.
            after: ``as_of`` of an answer to events that the list must reflect. A server with several workers may need some
                milliseconds for it; the request is sent again meanwhile. Over one connection it needs none.
            others: further fields of the request: ``exclude_seen``, ``where``, ``allow``, ``deny``, ``reasons``, ….

        Raises RequestError, with the status 404 for an unknown user, and without one if no list reflects ``after`` in time.
        """
        body = {"user": user, "history": None if history is None else list(history), "n": n, **others}
        given = {name: value for name, value in body.items() if value is not None}
        end, lag = time.monotonic() + self.policy.list_seconds, _LAG_SECONDS
        while True:
            failure = RequestError(f"A list must reflect the events up to {after}. None did in time.")
            try:
                answer = self._ask("POST", "/recommend", given, end - time.monotonic())
                if answer["as_of"] >= after:
                    return answer
            except RequestError as error:
                if error.status != 404 or not after:
                    raise
                failure = error  # a new user, whom this worker does not know yet
            if time.monotonic() + lag >= end or self._stopping.wait(lag):
                raise failure
            lag = min(2 * lag, _MAX_LAG_SECONDS)

    def similar_items(self, item: int | str, n: int = 10) -> dict[str, Any]:
        """The items most similar to one, as ``GET /similar`` answers. Raises RequestError."""
        return self._get(f"/similar/{_quote(item)}", n=n)

    def find_items(self, search: str = "", limit: int = 20) -> dict[str, Any]:
        """Items whose title contains a text, as ``GET /items`` answers. Raises RequestError."""
        return self._get("/items", search=search, limit=limit)

    def read_history(self, user: int | str, limit: int = 50) -> dict[str, Any]:
        """The last events of a user, as ``GET /users`` answers; the key must be that of an admin. Raises RequestError."""
        return self._get(f"/users/{_quote(user)}", limit=limit)

    def read_health(self) -> dict[str, Any]:
        """The model that is served, as ``GET /health`` answers. Raises RequestError."""
        return self._get("/health")

    def record_events(self, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Record events: at the return all that are right are on disk.

        Args:
            events: ``user`` and ``item``, and where wanted ``event_type``, ``time``, ``rating``, ``weight``, ``request``, ``rank``,
                ``id``. Without a ``time`` it is the time at which the server stores the event.

        Returns the answer of ``POST /events``: ``stored``, ``duplicates``, ``applied``, ``as_of``, and ``rejected`` with the
        positions in ``events``.

        Raises RequestError if that could not be done in time: the events may be stored or not, and sending them again, with
        the ids in ``error.events``, counts none twice. The status is 422 if no event of a part of 500 is right.
        """
        named = [{"id": uuid.uuid4().hex, **event} for event in events]
        total: dict[str, Any] = {"stored": 0, "duplicates": 0, "applied": 0, "rejected": [], "as_of": 0}
        end = time.monotonic() + self.policy.event_seconds
        for start in range(0, len(named), _EVENTS_OF_A_REQUEST):
            part = named[start : start + _EVENTS_OF_A_REQUEST]
            try:
                answer = self._ask("POST", "/events", {"events": part}, end - time.monotonic())
            except RequestError as error:
                error.events = named[start:]
                raise
            for name in ("stored", "duplicates", "applied"):
                total[name] += answer[name]
            total["rejected"] += [{**each, "position": start + each["position"]} for each in answer["rejected"]]
            total["as_of"] = max(total["as_of"], answer["as_of"])
        return total

    def change_items(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Change the stock of items, or hide them, as ``PATCH /items`` does; the key must be that of an admin.

        Args:
            items: ``id``, and ``in_stock`` or ``hidden``, or both.

        Returns the number of items that were ``changed``, and the ``unknown`` ids.

        Raises RequestError if that could not be done in time: some may be changed, and sending all again does no harm. The status
        is 404 if no item of a part of 10,000 is known.
        """
        total: dict[str, Any] = {"changed": 0, "unknown": []}
        end = time.monotonic() + self.policy.event_seconds
        for start in range(0, len(items), _ITEMS_OF_A_REQUEST):
            part = [dict(each) for each in items[start : start + _ITEMS_OF_A_REQUEST]]
            answer = self._ask("PATCH", "/items", {"items": part}, end - time.monotonic())
            total["changed"] += answer["changed"]
            total["unknown"] += answer["unknown"]
        return total

    def read_list_rules(self) -> dict[str, Any]:
        """The rules of lists, as ``GET /list-rules`` answers; the key must be that of an admin. Raises RequestError."""
        return self._get("/list-rules")

    def replace_list_rules(
        self, pins: Sequence[Mapping[str, Any]], limits: Sequence[Mapping[str, Any]], *, revision: int
    ) -> dict[str, Any]:
        """Replace all rules of lists, as ``PUT /list-rules`` does; the key must be that of an admin.

        Args:
            pins: ``item`` and ``position``, and where wanted ``users`` and ``until``.
            limits: ``column`` and ``n``.
            revision: the ``revision`` of the answer of ``read_list_rules`` from which these were made.

        Raises RequestError, with the status 409 and nothing changed, if another client has changed them since.
        """
        body = {"pins": list(pins), "limits": list(limits), "revision": revision}
        return self._ask("PUT", "/list-rules", body, self.policy.event_seconds)

    def forget_user(self, user: int | str) -> dict[str, Any]:
        """Forget a user, as ``DELETE /users`` does; the key must be that of an admin. Raises RequestError."""
        return self._ask("DELETE", f"/users/{_quote(user)}", None, self.policy.event_seconds)

    def _get(self, path: str, **parameters: int | str) -> dict[str, Any]:
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        return self._ask("GET", f"{path}{query}", None, self.policy.list_seconds)

    def _ask(self, method: str, path: str, body: object, seconds: float) -> dict[str, Any]:
        """The answer to a request, sent again until it is answered, the time is over, or the server refuses it for good."""
        try:
            data = None if body is None else json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise SettingError(f"A request must be values of JSON. It is not: {error}.") from error
        end = time.monotonic() + seconds
        wait = self.policy.first_wait
        while True:
            left = min(self.policy.attempt_seconds, end - time.monotonic())
            if left <= 0:
                raise RequestError(f"{method} {path} must be answered within {seconds:g} s. It was not.")
            failure: RequestError
            asked = 0.0
            try:
                answer = self._pool.send(method, f"{self._path}{path}", data, self._headers, left)
            except OSError as error:
                failure = RequestError(
                    f"The server must answer {method} {path}. It did not: {error or type(error).__name__}."
                )
                failure.__cause__ = error
            else:
                if answer.status == 200 and isinstance(answer.body, dict):
                    return answer.body
                failure = _make_error(method, path, answer)
                if answer.status not in _TRY_AGAIN:
                    raise failure
                asked = _read_wait(answer.retry_after)
            pause = max(asked, wait * self._random.uniform(0.5, 1.5))
            if time.monotonic() + pause >= end or self._stopping.wait(pause):
                raise failure
            wait = min(2 * wait, self.policy.max_wait)


def _quote(external_id: int | str) -> str:
    """An id as a part of a path."""
    return urllib.parse.quote(str(external_id), safe="")


def _make_error(method: str, path: str, answer: Answer) -> RequestError:
    """The error for an answer that is none to the request."""
    found = answer.body.get("error") if isinstance(answer.body, dict) else None
    if isinstance(found, dict):
        message = f"{found.get('message', '')} {found.get('hint', '')}".strip()
    else:
        message = "It is no leanrec server, or a proxy answered for it."
    return RequestError(f"{method} {path} was answered with status {answer.status}. {message}", answer.status)


def _read_wait(text: str | None) -> float:
    """Seconds of a header Retry-After: a number, or a date of HTTP; 0 for anything else."""
    if text is None:
        return 0.0
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp() - time.time())
