"""What webhook sources deliver: trusted for their signature, not for a key."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool

from api.deps import NoQuery, State, StateDep
from api.schemas.feedback import Accepted
from api.schemas.sources import DELIVERY_BODY, MOST_ITEMS, Delivered
from voice.errors import FieldError, Invalid, NotFound
from voice.feedback.intake import Arrival
from voice.feedback.requests import Delivery, IntakeRequest
from voice.feedback.submission import Submission, parse_record
from voice.ids import known_form
from voice.sources.signatures import STANDARD, BadSignatureError, verify
from voice.sources.webhooks import Hook, delivery_key, find_hook

router = APIRouter(prefix="/v1/hooks", tags=["sources"])


@router.post(
    "/{source_id}",
    status_code=202,
    operation_id="deliver",
    dependencies=[NoQuery],
    openapi_extra={"requestBody": DELIVERY_BODY},
    responses={200: {"model": Delivered, "description": "The delivery was here before."}},
)
async def deliver(source_id: str, request: Request, held: StateDep, response: Response) -> Delivered:
    """Store what a webhook brings, signed by the rules of Standard Webhooks. Answered after it is durable.

    All of a delivery is stored or nothing. The same `webhook-id` again stores nothing and answers 200.
    """
    body = await request.body()
    hook, delivery_id = await _verified(source_id, request, held, body)
    held.limits.count_source(hook.id)
    arrivals = await run_in_threadpool(_prepare, held, hook, body)
    asked = IntakeRequest(arrivals, delivery=Delivery(hook.id, delivery_key(delivery_id)))
    stored = await held.answers.of(held.writer.submit(asked))
    if not stored:
        response.status_code = 200
        return Delivered(outcome="duplicate delivery", feedback=[])
    shown = [Accepted(id=one.id, outcome=one.outcome) for one in stored]
    return Delivered(outcome="accepted", feedback=shown)


async def _verified(source_id: str, request: Request, held: State, body: bytes) -> tuple[Hook, str]:
    """The source and the delivery's id. An unknown source and a wrong signature are refused alike, and counted."""
    try:
        hook = await run_in_threadpool(_find, held, source_id)
        if hook is None:
            raise BadSignatureError
        now = held.runtime.clock()
        return hook, verify(STANDARD, request.headers, body, hook.secrets, now=now)
    except BadSignatureError:
        held.limits.count_refused(held.limits.address_of(request))
        raise


def _find(held: State, source_id: str) -> Hook | None:
    try:
        known_form(source_id, what="source")
    except NotFound:
        return None
    runtime = held.runtime
    with runtime.database.read() as session:
        return find_hook(session, runtime.secrets, source_id, now=runtime.clock())


def _prepare(held: State, hook: Hook, body: bytes) -> tuple[Arrival, ...]:
    runtime = held.runtime
    now = runtime.clock()
    faults: list[FieldError] = []
    arrivals = []
    for where, record in _records(body):
        parsed = _submission(record, hook, now=now)
        if isinstance(parsed, Submission):
            arrivals.append(
                runtime.intake.prepare(hook.project_id, parsed, now=now, sent_by=f"source:{hook.id}")
            )
        else:
            faults += [FieldError(where + fault.field, fault.message) for fault in parsed]
    if faults:
        raise Invalid("the delivery breaks the contract; nothing of it was stored", errors=faults)
    return tuple(arrivals)


def _records(body: bytes) -> list[tuple[str, Any]]:
    """The submissions of a delivery, each with the dotted path where it stands."""
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Invalid.field("body", "is not JSON") from None
    if not isinstance(given, dict):
        raise Invalid.field("body", 'must be one feedback or {"items": […]}')
    if "items" not in given:
        return [("", given)]
    items = given["items"]
    if not isinstance(items, list) or not 1 <= len(items) <= MOST_ITEMS:
        raise Invalid.field("items", f"must be a list of 1 to {MOST_ITEMS}")
    if unknown := sorted(set(given) - {"items"}):
        raise Invalid("unknown field", errors=[FieldError(name, "is not known here") for name in unknown])
    return [(f"items.{n}.", item) for n, item in enumerate(items)]


def _submission(record: Any, hook: Hook, *, now: datetime) -> Submission | list[FieldError]:
    """A record as this source's: its slug, and its channel where none is named."""
    if not isinstance(record, dict):
        return [FieldError("", "must be an object")]
    if record.get("source") not in (None, hook.slug):
        return [FieldError("source", "a webhook brings feedback of its own source alone; leave it out")]
    return parse_record({"channel": hook.channel, **record, "source": hook.slug}, now=now)
