"""How much one caller may ask: body size while it streams in, requests per key and per address."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from math import ceil

from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem, problem_of
from voice.accounts import Principal, may
from voice.config import Settings
from voice.errors import Busy, VoiceError

BATCH_PATH = "/v1/feedback/batch"
BODY = "voice.body"
"""Where in the scope the whole body lies once BodyLimit has read it."""
BODY_SECONDS = 60.0
WINDOW_SECONDS = 60.0


class BodyLimit:
    """Reads each body up to its cap before the application sees it; beyond it answers 413, when too slow 408."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._batch_cap = settings.batch_bytes
        self._cap = settings.body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self._app(scope, receive, send)
            return
        try:
            batches = scope["path"] == BATCH_PATH and await _may_send_batches(scope)
        except VoiceError as error:
            unread = problem_of(error)
            unread.headers["Connection"] = "close"
            await unread(scope, receive, send)
            return
        cap = self._batch_cap if batches else self._cap
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(scope, receive, cap)
        except TimeoutError:
            late = problem(
                408, "Too slow", "the body did not arrive in time", headers={"Connection": "close"}
            )
            await late(scope, receive, send)
            return
        if body is None:
            detail = f"the body is larger than {cap} bytes"
            if scope["path"] == BATCH_PATH and not batches:
                detail += ", and the key may not send batches"
            refusal = problem(413, "Too large", detail, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        scope[BODY] = body
        await self._app(scope, _replay(body, receive), send)


async def _may_send_batches(scope: Scope) -> bool:
    """Bodies are kept in memory before their route looks at the role: others' are held to the smaller cap.

    Raises Unauthenticated or Busy, with the body unread, when no valid key came with it.
    """
    held = scope["app"].state.voice
    request = Request(scope)
    scheme, plain = get_authorization_scheme_param(request.headers.get("authorization"))
    sent = plain if scheme.lower() == "bearer" else None
    principal = await held.recognise(sent, held.limits.address_of(request))
    return may(principal.role, "write_batch")


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


class MovingWindow:
    """Counts the hits of each caller in the last minute; a refused hit is not counted. O(1) a hit, over time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hits: dict[tuple[str, ...], deque[float]] = {}
        self._sweep_at = clock() + WINDOW_SECONDS

    def hit(self, limit: int, *who: str) -> bool:
        """Count one, or answer False when `limit` were counted in the last minute."""
        now = self._clock()
        if now >= self._sweep_at:
            self._sweep(now)
        hits = self._hits.get(who)
        if hits is None:
            hits = self._hits[who] = deque()
        while hits and hits[0] <= now - WINDOW_SECONDS:
            hits.popleft()
        if len(hits) >= limit:
            return False
        hits.append(now)
        return True

    def wait(self, limit: int, *who: str) -> float:
        """Seconds until a hit would be counted, 0 when it would be now. Counts nothing."""
        hits = self._hits.get(who, ())
        return max(0.0, hits[-limit] + WINDOW_SECONDS - self._clock()) if len(hits) >= limit else 0.0

    def _sweep(self, now: float) -> None:
        """Forget whoever has been silent for a minute."""
        self._hits = {who: hits for who, hits in self._hits.items() if hits[-1] > now - WINDOW_SECONDS}
        self._sweep_at = now + WINDOW_SECONDS


class RateLimits:
    """Moving windows of one minute, counted in this process."""

    def __init__(self, settings: Settings) -> None:
        self._window = MovingWindow()
        self._widget = settings.widget_per_minute
        self._ingest = settings.ingest_per_minute
        self._other = settings.other_per_minute
        self._refused = settings.refused_per_minute
        self._proxies = [ip_network(proxy, strict=False) for proxy in settings.trusted_proxies]

    def count(self, principal: Principal, address: str) -> None:
        """Count one request. Raises Busy over the limit of the key (widget: of the address with that key)."""
        if principal.role == "widget":
            self._hit(self._widget, principal.key_id, _counted(address))
        elif principal.role == "ingest":
            self._hit(self._ingest, principal.key_id)
        else:
            self._hit(self._other, principal.key_id)

    def count_source(self, source_id: str) -> None:
        """Count one signed delivery of a webhook source, held to the limit of an ingest key. Raises Busy."""
        self._hit(self._ingest, "source", source_id)

    def count_refused(self, address: str) -> None:
        """Count one request without a valid key. Raises Busy for an address that keeps guessing."""
        self._hit(self._refused, "refused", _counted(address))

    def refuse_guessing(self, address: str) -> None:
        """Raises Busy for an address that has had its refusals of this minute. Counts nothing."""
        who = "refused", _counted(address)
        if self._window.wait(self._refused, *who):
            raise self._busy(self._refused, *who)

    def _hit(self, limit: int, *who: str) -> None:
        if not self._window.hit(limit, *who):
            raise self._busy(limit, *who)

    def _busy(self, limit: int, *who: str) -> Busy:
        wait = max(1, ceil(self._window.wait(limit, *who)))
        return Busy(f"more than {limit} requests a minute", retry_after=wait)

    def address_of(self, request: Request) -> str:
        """The address of a request's caller. Several X-Forwarded-For lines are one list (RFC 9110, 5.3)."""
        forwarded = ", ".join(request.headers.getlist("x-forwarded-for"))
        return self.address(request.client.host if request.client else None, forwarded)

    def address(self, peer: str | None, forwarded: str | None) -> str:
        """The caller's address; X-Forwarded-For is believed only from a trusted proxy, right to left."""
        address = peer or "unknown"
        for hop in reversed((forwarded or "").split(",")) if forwarded else ():
            if not self._trusted(address):
                break
            address = hop.strip()
        return address

    def _trusted(self, address: str) -> bool:
        parsed = _parsed(address)
        return parsed is not None and any(parsed in network for network in self._proxies)


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """None for what is no address; IPv4 written as IPv6 (::ffff:a.b.c.d) is IPv4."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _counted(address: str) -> str:
    """What a caller is counted by: of IPv6 the /64, all of which one line commonly has."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return address if parsed is None else str(parsed)
