"""Errors as answers: what must hold and what came, where, and what to do."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from leanrec.errors import DataError, LeanrecError, SettingError, SourceError, UnknownIdError

__all__ = ["answer", "install"]

_DO = {
    404: "GET /items?search=… and GET /users?search=… find ids; a new user is asked for with a history.",
    405: "GET /openapi.json lists the routes and their methods.",
    413: "Send the events in several requests.",
    503: "Nothing was accepted. Send it again with the same ids when the disk can be written.",
}
_CORRECT = "Correct the request; GET /openapi.json describes it."


def answer(status: int, what: str, where: str, do: str | None = None) -> JSONResponse:
    """An error response. Text that is no valid Unicode is escaped, so that every message can be sent."""
    trouble = {"what": what, "where": where, "do": do or _DO.get(status, _CORRECT)}
    readable = {name: text.encode("utf-8", "backslashreplace").decode() for name, text in trouble.items()}
    return JSONResponse({"error": readable}, status_code=status)


def install(app: FastAPI) -> None:
    """Answer every error in the one form."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(LeanrecError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _defect)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is installed for it
    first = error.errors()[0]
    place = _place(first["loc"])
    more = len(error.errors()) - 1
    rest = f" ({more} more in this request.)" if more else ""
    return answer(422, f"{place}: {first['msg']}. Got {_short(first.get('input'))}.{rest}", place)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    statuses = ((UnknownIdError, 404), (SourceError, 503), (SettingError, 422), (DataError, 422))
    status = next((status for kind, status in statuses if isinstance(error, kind)), 500)
    return answer(status, str(error), request.url.path)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is installed for it
    do = _DO[405] if error.status_code == 404 else None
    return answer(error.status_code, str(error.detail), f"{request.method} {request.url.path}", do)


async def _defect(request: Request, error: Exception) -> JSONResponse:
    what = f"{type(error).__name__} inside leanrec: this is a defect."
    response = answer(500, what, request.url.path, "Report it with the request; the server goes on.")
    # The server drops the connection after a defect; a client that is not told so sends its next request into it.
    response.headers["Connection"] = "close"
    return response


def _place(parts: Sequence[Any]) -> str:
    return ".".join(str(part) for part in parts)


def _short(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number too long to print, or nesting too deep
        return "something too large to show"
    return text if len(text) <= 80 else f"{text[:77]}…"
