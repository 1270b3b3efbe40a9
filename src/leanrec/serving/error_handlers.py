"""Error handlers of the HTTP app: every error becomes JSON with a message, a location and a hint."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from leanrec.errors import BusyError, ConflictError, DataError, LeanrecError, SettingError, SourceError, UnknownIdError
from leanrec.serving.schemas import ErrorResponse

__all__ = ["RETRY_HEADER", "describe_errors", "error_response", "install_error_handlers", "refuse_request"]

_DESCRIPTIONS = {
    400: "The Host header is no host, or the body cannot be read: it is no text, or it is nested too deeply.",
    401: "No key, or one that is unknown.",
    403: "The key is that of a client, and the request needs that of an admin.",
    404: "The id of a user or an item is unknown.",
    409: "Another client has changed the state since it was read, or it cannot be changed. Nothing was done.",
    413: "The body is too large.",
    421: "The Host header names another server.",
    422: "The request is invalid.",
    429: "Too many writes wait for the event log, or the key has sent too many requests. Nothing was stored.",
    500: "A defect in leanrec.",
    503: "The event log cannot be written, or as many requests for lists as may be are in flight.",
}

_HINTS = {
    401: "Send the header Authorization: Bearer KEY. The operator of the server has the keys.",
    403: "Ask the operator of the server for a key with the role admin.",
    404: "GET /items?search=… and GET /users?search=… find ids; for a new user, send a history.",
    405: "GET /openapi.json lists the routes and their methods.",
    409: "Read the state again, and repeat the change if it is still wanted.",
    413: "Send the events in several requests.",
    429: "Send it again with the same ids after a second.",
    503: "Send it again with the same ids after the seconds in Retry-After: what is stored already is not stored twice.",
}
_RETRY_AFTER = {429: "1", 503: "5"}  # seconds
RETRY_HEADER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}}}
_DEFAULT_HINT = "Correct the request; GET /openapi.json describes it."


def describe_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors of a route, as FastAPI's ``responses``; any route can refuse a Host header or have a defect."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in sorted({400, 421, 500, *statuses}):
        described[status] = {"model": ErrorResponse, "description": _DESCRIPTIONS[status]}
        if status in _RETRY_AFTER:
            described[status]["headers"] = RETRY_HEADER
    return described


def error_response(status: int, message: str, location: str, hint: str | None = None) -> JSONResponse:
    """An error as JSON. Text that is not valid Unicode is escaped, so that every message can be sent."""
    detail = {"message": message, "location": location, "hint": hint or _HINTS.get(status, _DEFAULT_HINT)}
    printable = {name: text.encode("utf-8", "backslashreplace").decode() for name, text in detail.items()}
    headers = {"Retry-After": _RETRY_AFTER[status]} if status in _RETRY_AFTER else None
    return JSONResponse({"error": printable}, status_code=status, headers=headers)


def refuse_request(error: LeanrecError, path: str) -> JSONResponse:
    """The answer to a request that raised an error of leanrec."""
    statuses = (
        (UnknownIdError, 404),
        (ConflictError, 409),
        (SourceError, 503),
        (BusyError, 429),
        (SettingError, 422),
        (DataError, 422),
    )
    status = next((status for error_class, status in statuses if isinstance(error, error_class)), 500)
    return error_response(status, str(error), path)


def install_error_handlers(app: FastAPI) -> None:
    """Use the form of ``error_response`` for every error of the app."""
    for error_class in (RequestValidationError, LeanrecError, HTTPException, Exception):
        app.add_exception_handler(error_class, _handle_error)
    app.add_exception_handler(405, _answer_methods)


async def _answer_methods(request: Request, _: Exception) -> Response:
    """The methods of a path, to a request with another one. OPTIONS asks for them."""
    matching = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    methods = {"OPTIONS"}.union(*(route.methods for route in matching))
    headers = {"Allow": ", ".join(sorted(methods))}
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    message = f"The method must be one of {headers['Allow']}. Got {request.method}."
    response = error_response(405, message, f"{request.method} {request.url.path}")
    response.headers.update(headers)
    return response


async def _handle_error(request: Request, error: Exception) -> JSONResponse:
    path = request.url.path
    if isinstance(error, RequestValidationError):
        return _refuse_parameters(error)
    if isinstance(error, LeanrecError):
        return refuse_request(error, path)
    if isinstance(error, HTTPException):
        hint = _HINTS[405] if error.status_code == 404 else None
        return error_response(error.status_code, str(error.detail), f"{request.method} {path}", hint)
    request_id = request.scope.get("request_id")
    message = f"{type(error).__name__} inside leanrec: this is a defect."
    hint = "Report it with the request; the server keeps running."
    if request_id is not None:
        hint = f"Report it with what the log of the server has of request {request_id}; the server keeps running."
    response = error_response(500, message, path, hint)
    if request_id is not None:
        response.headers["X-Request-ID"] = request_id
    # The server closes the connection after a defect. Without this header the client would reuse it.
    response.headers["Connection"] = "close"
    return response


def _refuse_parameters(error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    location = ".".join(str(part) for part in first["loc"])
    n_more = len(error.errors()) - 1
    rest = f" ({n_more} more in this request.)" if n_more else ""
    try:
        text = repr(first.get("input"))
    except (ValueError, RecursionError):  # a number too long to print, or nesting too deep
        text = "something too large to show"
    got = text if len(text) <= 80 else f"{text[:77]}…"
    return error_response(422, f"{location}: {first['msg']}. Got {got}.{rest}", location)
