"""The fast path of intake: a plain POST /v1/feedback without what FastAPI does for every route.

It serves the request that has nothing special about it: one known key, one JSON object that keeps the contract, no
query, no Idempotency-Key. Everything else it hands, unread and uncounted, to the ordinary route, which knows every
refusal; so there is one place that says no. What it saves: benchmarks/post.py.
"""

from pydantic import ValidationError
from starlette.routing import BaseRoute, Match, Router
from starlette.types import Receive, Scope, Send

from api.deps import State
from api.limits import BODY
from api.schemas.feedback import Accepted
from voice.accounts import may
from voice.feedback.requests import IntakeRequest
from voice.feedback.submission import Submission, faults

PATH = "/v1/feedback"
INLINE_BYTES = 1_024
"""Enough for an ordinary post. Redaction of a longer body, if it is made to be slow, would hold up the event loop, and
with it every other request, for tens of milliseconds."""

_ORDINARY = "voice.ordinary"
_JSON = (b"application/json", b"application/json; charset=utf-8")


class FastPath(BaseRoute):
    """A route that stands before all others of `router` and passes on what it does not serve."""

    path = PATH

    def __init__(self, router: Router) -> None:
        self._router = router

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        mine = scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "POST"
        if mine and not scope["query_string"] and _ORDINARY not in scope:
            return Match.FULL, {"route": self}
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: State = scope["app"].state.voice
        request = _understood(scope, held)
        if request is None:
            scope[_ORDINARY] = True
            await self._router.app(scope, receive, send)
            return
        [stored] = await held.answers.of(held.writer.submit(request))
        body = Accepted(id=stored.id, outcome=stored.outcome).model_dump_json().encode()
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 202, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _understood(scope: Scope, held: State) -> IntakeRequest | None:
    """What is to be stored; None when the ordinary route has to look. Raises Busy over the limit of the key."""
    headers = dict(scope["headers"])
    body: bytes = scope[BODY]
    plain = headers.get(b"authorization", b"")
    if (
        len(headers) != len(scope["headers"])  # a header that came twice
        or headers.get(b"content-type") not in _JSON
        or b"idempotency-key" in headers
        or len(body) > INLINE_BYTES
        or not plain.startswith(b"Bearer ")
    ):
        return None
    principal = held.keys.known(plain[7:].decode("latin-1"))
    if principal is None or principal.origins or not may(principal.role, "write"):
        return None
    try:
        submission = Submission.model_validate_json(body)
    except ValidationError:
        return None
    runtime = held.runtime
    now = runtime.clock()
    if faults(submission, now=now):
        return None
    client = scope.get("client")
    forwarded = headers.get(b"x-forwarded-for")
    address = held.limits.address(
        client[0] if client else None, forwarded.decode("latin-1") if forwarded else None
    )
    held.limits.count(principal, address)
    return IntakeRequest(
        (runtime.intake.prepare(principal.project_id, submission, now=now, sent_by=principal.actor),)
    )
