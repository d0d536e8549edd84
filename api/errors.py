"""Every error as problem+json (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from voice.db.dialects import explain_failure, is_database_trouble
from voice.errors import Busy, Changed, FieldError, Moved, Unavailable, VoiceError
from voice.metrics import REFUSED

log = structlog.get_logger()


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    errors: tuple[FieldError, ...] = (),
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    """A problem document; `errors` name the fields by their dotted path."""
    body = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "errors": [{"field": error.field, "message": error.message} for error in errors],
        **extra,
    }
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def problem_of(error: VoiceError) -> JSONResponse:
    """The problem document of one of our own errors."""
    headers: dict[str, str] = {}
    extra: dict[str, Any] = {}
    if isinstance(error, Busy | Unavailable):
        headers["Retry-After"] = str(error.retry_after)
        REFUSED.labels(str(error.status), error.reason).inc()
    if isinstance(error, Changed):
        extra["current"] = error.current
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(error.status, error.title, error.detail, errors=error.errors, headers=headers, **extra)


def install(app: FastAPI) -> None:
    """Register the handlers. They are coroutines: plain functions would wait for a thread of a pool that may be full."""
    app.add_exception_handler(VoiceError, _voice_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(SQLAlchemyError, unexpected)


async def _voice_error(request: Request, error: Exception) -> Response:
    if isinstance(error, Moved):
        here = request.url
        path = here.path.replace(request.path_params["theme_id"], error.survivor, 1)
        return RedirectResponse(path + (f"?{here.query}" if here.query else ""), 308)
    assert isinstance(error, VoiceError)
    return problem_of(error)


async def _validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = []
    for fault in error.errors():
        where = [str(part) for part in fault["loc"]]
        named = where[1:] if where[0] in ("body", "query", "path", "header") else where
        if fault["type"] == "json_invalid" or not named:
            named = ["body"]
        found.append(FieldError(".".join(named), str(fault["msg"]).removeprefix("Value error, ")))
    detail = "; ".join(f"{one.field}: {one.message}" for one in found[:3])
    return problem(422, "Invalid input", detail, errors=tuple(found))


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    return problem(
        error.status_code, HTTPStatus(error.status_code).phrase, str(error.detail), headers=headers
    )


async def unexpected(request: Request, error: Exception) -> Response:
    """The answer to an error that no route foresaw, wherever it came up: 503 when the database is the cause, else 500.

    Of the latter the cause is in the log and not in the answer.
    """
    if isinstance(error, PoolTimeout) or is_database_trouble(error):
        log.warning("database_unavailable", path=request.url.path, error=explain_failure(error))
        return problem_of(Unavailable("the database cannot answer now; try again"))
    log.error("request_failed", path=request.url.path, exc_info=(type(error), error, error.__traceback__))
    return problem(500, "Internal error", "the request failed; the log has the cause")
