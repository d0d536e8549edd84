"""Feedback coming in: one object, or a batch of lines."""

import hashlib
from io import BytesIO
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from starlette.concurrency import run_in_threadpool

from api.deps import NoQuery, State, StateDep, Writing, WritingBatch
from api.schemas.feedback import Accepted, BatchAnswer
from voice.accounts import Principal
from voice.db.dialects import CHUNK
from voice.errors import FieldError, Invalid, TooLarge, VoiceError
from voice.feedback.intake import Arrival
from voice.feedback.outcomes import Stored
from voice.feedback.requests import Idempotent, IntakeRequest
from voice.feedback.submission import Submission, faults, parse_line
from voice.metrics import INTAKE

router = APIRouter(prefix="/v1/feedback", tags=["feedback"])


@router.post("", status_code=202, operation_id="postFeedback", dependencies=[NoQuery])
async def post_feedback(
    request: Request,
    submission: Submission,
    principal: Writing,
    held: StateDep,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=64, pattern=r"^[!-~]+$")] = None,
) -> Accepted:
    """Store one feedback. Answered after it is durable; analysed within seconds."""
    runtime = held.runtime
    if found := faults(submission, now=runtime.clock()):
        raise Invalid("the feedback breaks the contract", errors=found)
    arrival = await run_in_threadpool(
        runtime.intake.prepare,
        principal.project_id,
        submission,
        now=runtime.clock(),
        sent_by=principal.actor,
    )
    idempotent = None
    if idempotency_key is not None:
        body = await request.body()
        body_hash, older_hash = runtime.secrets.body_hash(body), hashlib.sha256(body).hexdigest()
        idempotent = Idempotent(principal.key_id, idempotency_key, body_hash, older_hash)
    [stored] = await held.answers.of(held.writer.submit(IntakeRequest((arrival,), idempotent)))
    return Accepted(id=stored.id, outcome=stored.outcome)


_NDJSON = {"required": True, "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}


@router.post(
    "/batch",
    operation_id="postFeedbackBatch",
    dependencies=[NoQuery],
    openapi_extra={"requestBody": _NDJSON},
)
async def post_batch(request: Request, principal: WritingBatch, held: StateDep) -> BatchAnswer:
    """Store many, one JSON object a line. A bad line never spoils its neighbours."""
    body = await request.body()
    lines = await run_in_threadpool(_lines, body, held.runtime.settings.batch_lines)
    parts = [lines[start : start + CHUNK] for start in range(0, len(lines), CHUNK)]
    results: list[dict[str, Any]] = []
    failures: list[VoiceError] = []
    for part in parts:
        shown, failure = await _store_part(held, principal, part)
        results += shown
        failures += [failure] if failure is not None else []
    if failures and len(failures) == len(parts):
        raise failures[0]
    counts = {name: sum(1 for r in results if r["outcome"] == name) for name in _OUTCOMES}
    INTAKE.labels("rejected").inc(counts["rejected"])
    return BatchAnswer.model_validate({**counts, "lines": results})


def _lines(body: bytes, most: int) -> list[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers. Raises TooLarge, and splits no further, beyond `most`."""
    lines: list[tuple[int, bytes]] = []
    for number, line in enumerate(BytesIO(body), 1):
        if not line.isspace():
            if len(lines) == most:
                raise TooLarge(f"more than {most} lines; send several batches")
            lines.append((number, line.removesuffix(b"\n")))
    return lines


_OUTCOMES = ("stored", "updated", "duplicate", "rejected", "erased")


async def _store_part(
    held: State, principal: Principal, part: list[tuple[int, bytes]]
) -> tuple[list[dict[str, Any]], VoiceError | None]:
    prepared = await run_in_threadpool(_prepare, held, principal, part)
    arrivals = tuple(a for _, a in prepared if isinstance(a, Arrival))
    stored: list[Stored] = []
    failure = None
    if arrivals:
        try:
            stored = await held.answers.of(held.writer.submit(IntakeRequest(arrivals)))
        except VoiceError as error:
            failure = error
    answers = iter(stored)
    shown = []
    for line, arrival in prepared:
        if not isinstance(arrival, Arrival):
            shown.append(_rejected(line, arrival))
        elif failure is not None:
            shown.append(_rejected(line, [FieldError("", f"not stored, send it again: {failure.detail}")]))
        else:
            one = next(answers)
            shown.append({"line": line, "id": one.id, "outcome": one.outcome, "errors": []})
    return shown, failure


def _prepare(
    held: State, principal: Principal, part: list[tuple[int, bytes]]
) -> list[tuple[int, Arrival | list[FieldError]]]:
    runtime = held.runtime
    now = runtime.clock()
    prepared: list[tuple[int, Arrival | list[FieldError]]] = []
    for line, raw in part:
        parsed = parse_line(raw, now=now)
        if isinstance(parsed, Submission):
            arrival = runtime.intake.prepare(principal.project_id, parsed, now=now, sent_by=principal.actor)
            prepared.append((line, arrival))
        else:
            prepared.append((line, parsed))
    return prepared


def _rejected(line: int, errors: list[FieldError]) -> dict[str, Any]:
    faults_shown = [{"field": e.field, "message": e.message} for e in errors]
    return {"line": line, "id": None, "outcome": "rejected", "errors": faults_shown}
