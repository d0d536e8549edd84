"""How much one caller may ask: body size while it streams in, requests per key and per address."""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address, ip_network

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from voice.accounts import Principal
from voice.config import Settings
from voice.errors import Busy

BATCH_PATH = "/v1/feedback/batch"
BODY_SECONDS = 60.0


class BodyLimit:
    """Reads each body up to its cap before the application sees it; beyond it answers 413, when too slow 408."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._caps = {BATCH_PATH: settings.batch_bytes}
        self._cap = settings.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        cap = self._caps.get(scope["path"], self._cap)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(scope, receive, cap)
        except TimeoutError:
            await problem(408, "Too slow", "the body did not arrive in time")(scope, receive, send)
            return
        if body is None:
            detail = f"the body is larger than {cap} bytes"
            refusal = problem(413, "Too large", detail, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)


async def _read(scope: Scope, receive: Receive, cap: int) -> bytes | None:
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > cap:
        return None
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > cap:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    sent = False

    async def once() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once


class RateLimits:
    """Moving windows of one minute, counted in this process."""

    def __init__(self, settings: Settings) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._widget = RateLimitItemPerMinute(settings.widget_per_minute)
        self._ingest = RateLimitItemPerMinute(settings.ingest_per_minute)
        self._other = RateLimitItemPerMinute(settings.other_per_minute)
        self._refused = RateLimitItemPerMinute(settings.refused_per_minute)
        self._proxies = [ip_network(proxy, strict=False) for proxy in settings.trusted_proxies]

    def count(self, principal: Principal, address: str) -> None:
        """Count one request. Raises Busy over the limit of the key (widget: of the address with that key)."""
        if principal.role == "widget":
            self._hit(self._widget, principal.key_id, address)
        elif principal.role == "ingest":
            self._hit(self._ingest, principal.key_id)
        else:
            self._hit(self._other, principal.key_id)

    def count_refused(self, address: str) -> None:
        """Count one request without a valid key. Raises Busy for an address that keeps guessing."""
        self._hit(self._refused, "refused", address)

    def _hit(self, limit: RateLimitItemPerMinute, *who: str) -> None:
        if not self._limiter.hit(limit, *who):
            raise Busy(
                f"more than {limit.amount} requests a minute", retry_after=60 // max(1, limit.amount) + 1
            )

    def address(self, peer: str | None, forwarded: str | None) -> str:
        """The caller's address; X-Forwarded-For is believed only from a trusted proxy, right to left."""
        address = peer or "unknown"
        for hop in reversed((forwarded or "").split(",")) if forwarded else ():
            if not self._trusted(address):
                break
            address = hop.strip()
        return address

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._proxies)
