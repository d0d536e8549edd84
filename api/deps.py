"""What routes ask for: the runtime, who is asking, a transaction."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter
from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from api.limits import RateLimits
from api.probes import Probes
from voice.accounts import Principal, authenticate, may, note_use
from voice.accounts.keys import Act
from voice.db.writer import Writer
from voice.errors import FieldError, Forbidden, Invalid, Unauthenticated
from voice.feedback.outcomes import Stored
from voice.feedback.requests import IntakeRequest
from voice.runtime import Runtime

T = TypeVar("T")

KEY_CACHE_SECONDS = 5.0
USE_FLUSH_SECONDS = 60.0


class KeyRing:
    """Recognises keys with a short memory, and remembers which were used."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[str, tuple[float, Principal]] = {}
        self._used: set[str] = set()

    async def principal(self, plain: str) -> Principal | None:
        """Who holds the key. A revoked key is refused within KEY_CACHE_SECONDS."""
        if (known := self.known(plain)) is not None:
            return known
        found = await run_in_threadpool(self._look_up, plain)
        if len(self._known) > 10_000:
            self._known.clear()
        if found is None:
            self._known.pop(plain, None)
            return None
        self._known[plain] = (time.monotonic() + KEY_CACHE_SECONDS, found)
        self._used.add(found.key_id)
        return found

    def known(self, plain: str) -> Principal | None:
        """Who holds the key, if that was looked up within KEY_CACHE_SECONDS."""
        known = self._known.get(plain)
        return known[1] if known is not None and known[0] > time.monotonic() else None

    def met(self, plain: str) -> bool:
        """Whether the key was good when last looked up, however long ago."""
        return plain in self._known

    def _look_up(self, plain: str) -> Principal | None:
        with self._runtime.database.read() as session:
            return authenticate(session, plain)

    async def flush_uses(self) -> None:
        """Write `last_used` once a minute, for ever; a database that is away costs only the note."""
        while True:
            await asyncio.sleep(USE_FLUSH_SECONDS)
            used, self._used = self._used, set()
            with suppress(SQLAlchemyError):
                await run_in_threadpool(self._write_uses, used)

    def _write_uses(self, used: set[str]) -> None:
        with self._runtime.database.write() as session:
            for key_id in sorted(used):
                note_use(session, key_id, now=self._runtime.clock())


class Answers:
    """Brings what the writer answers back to the event loop: one wake-up for a whole group of requests."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._done: deque[asyncio.Future[None]] = deque()
        self._woken = False

    async def of(self, future: Future[T]) -> T:
        """What the future holds, once it is done; whoever stops waiting cancels it."""
        waiting = self._loop.create_future()
        future.add_done_callback(lambda _: self._note(waiting))
        try:
            await waiting
        except asyncio.CancelledError:
            future.cancel()
            raise
        return future.result()

    def _note(self, waiting: asyncio.Future[None]) -> None:
        """Called on the writer's thread."""
        self._done.append(waiting)
        if not self._woken:
            self._woken = True
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._woken = False  # before looking: what comes from here on wakes us again
        while self._done:
            waiting = self._done.popleft()
            if not waiting.done():
                waiting.set_result(None)


class State:
    """What the application holds while it serves."""

    def __init__(self, runtime: Runtime, writer: Writer[IntakeRequest, list[Stored]]) -> None:
        self.runtime = runtime
        self.writer = writer
        self.keys = KeyRing(runtime)
        self.limits = RateLimits(runtime.settings)
        self.answers = Answers()
        self.probes = Probes()
        self.scraping = CapacityLimiter(1)

    async def recognise(self, plain: str | None, address: str) -> Principal:
        """Who holds the key. Raises Unauthenticated and counts it; Busy for an address that keeps guessing.

        Of such an address only keys that were good before are looked up, so guesses cost the database nothing more.
        """
        if plain is not None:
            if not self.keys.met(plain):
                self.limits.refuse_guessing(address)
            if (principal := await self.keys.principal(plain)) is not None:
                return principal
        self.limits.count_refused(address)
        raise Unauthenticated("send a valid key: Authorization: Bearer voice_…")


# Plain values are handed over by coroutines: FastAPI calls a plain function on a thread of a pool that may be full.
async def state(request: Request) -> State:
    held: State = request.app.state.voice
    return held


StateDep = Annotated[State, Depends(state)]


async def _runtime(held: StateDep) -> Runtime:
    return held.runtime


RuntimeDep = Annotated[Runtime, Depends(_runtime)]


async def _no_query(request: Request) -> None:
    """Refuse query parameters on routes that take none."""
    if unknown := sorted(set(request.query_params)):
        raise Invalid(
            "unknown query parameter", errors=[FieldError(name, "is not known here") for name in unknown]
        )


NoQuery = Depends(_no_query)


_bearer = HTTPBearer(auto_error=False, scheme_name="key", description="A key of Voice: voice_…")


def require(act: Act) -> Callable[..., Any]:
    """A dependency that yields the principal when its role allows the act: 401, 429 or 403 otherwise."""

    async def check(
        request: Request,
        held: StateDep,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> Principal:
        address = held.limits.address_of(request)
        principal = await held.recognise(credentials.credentials if credentials else None, address)
        held.limits.count(principal, address)
        if not may(principal.role, act):
            raise Forbidden(f"a key with the role {principal.role} may not do this")
        if principal.origins and request.headers.get("origin") not in principal.origins:
            raise Forbidden("this key is not for this origin")
        return principal

    return check


Writing = Annotated[Principal, Depends(require("write"))]
WritingBatch = Annotated[Principal, Depends(require("write_batch"))]
Viewer = Annotated[Principal, Depends(require("view"))]
Triager = Annotated[Principal, Depends(require("triage"))]
Admin = Annotated[Principal, Depends(require("administer"))]


def _read(runtime: RuntimeDep) -> Iterator[Session]:
    with runtime.database.read() as session:
        yield session


def _write(runtime: RuntimeDep) -> Iterator[Session]:
    with runtime.database.write() as session:
        yield session


# scope="function": the transaction ends, and may fail, before the answer leaves.
Reading = Annotated[Session, Depends(_read, scope="function")]
Committing = Annotated[Session, Depends(_write, scope="function")]


def _if_match(if_match: Annotated[str | None, Header(description="Version from ETag.")] = None) -> int | None:
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not text.isdecimal() or not text.isascii() or len(text) > 9:
        raise Invalid.field("If-Match", 'must be a version from an ETag, such as "3"')
    return int(text)


IfMatch = Annotated[int | None, Depends(_if_match)]
