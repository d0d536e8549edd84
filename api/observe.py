"""What happens to every request and answer: counted, timed, dressed in the security headers; too many are refused."""

import time
from functools import cache

from prometheus_client import Counter, Histogram
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.metrics import REQUESTS, SECONDS
from voice.errors import Overloaded
from voice.metrics import INTAKE

PROBED = ("/healthz", "/readyz", "/metrics")
"""Answered however many others are: whoever looks after the process must see it."""
INTAKE_ROUTES = ("/v1/feedback", "/v1/hooks/{source_id}")

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; "
        b"frame-ancestors 'none'; base-uri 'none'",
    ),
)


class Observe:
    """The outermost middleware of ours: refusals of the others are seen too. What nobody foresaw becomes a 500.

    While `most` requests are being answered, others get 503.
    """

    def __init__(self, app: ASGIApp, *, most: int) -> None:
        self._app = app
        self._most = most
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        counted = scope["path"] not in PROBED

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"]
                given = {name for name, _ in headers}
                message["headers"] = [*headers, *(one for one in _HEADERS if one[0] not in given)]
            await send(message)

        app = _overloaded if counted and self._in_flight >= self._most else self._app
        self._in_flight += counted
        try:
            await app(scope, receive, dressed)
        except Exception as error:
            if status:  # half an answer has left: there is no room for another
                raise
            answer = await errors.unexpected(Request(scope), error)
            await answer(scope, receive, dressed)
        finally:
            self._in_flight -= counted
            route = getattr(scope.get("route"), "path", "unmatched")
            requests, seconds = _measures(scope["method"], route, status)
            requests.inc()
            if status == 422 and route in INTAKE_ROUTES and scope["method"] == "POST":
                INTAKE.labels("rejected").inc()
            seconds.observe(time.perf_counter() - started)


async def _overloaded(scope: Scope, receive: Receive, send: Send) -> None:
    answer = errors.problem_of(Overloaded("too many requests are being answered; try again"))
    answer.headers["Connection"] = "close"  # the body is unread, and connections are scarce
    await answer(scope, receive, send)


@cache
def _measures(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Looked up once: `labels` takes a lock and makes strings each time."""
    return REQUESTS.labels(method, route, status), SECONDS.labels(method, route)
