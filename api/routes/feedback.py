"""Feedback going out: lists, search, one item, corrections, dead rows."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Response
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from api.deps import Admin, Committing, NoQuery, Reading, RuntimeDep, Triager, Viewer
from api.routes.views import items, record_reading_of, resolved_filter
from api.schemas.feedback import (
    CorrectionIn,
    DeadQuery,
    FeedbackItem,
    FeedbackPage,
    FeedbackQuery,
    Replayed,
    ReplayIn,
)
from voice.corrections import correct
from voice.errors import Invalid
from voice.feedback.claims import replay
from voice.ids import known_form
from voice.people import authors_of, record_reading
from voice.runtime import Runtime
from voice.search import FeedbackFilter, decode_cursor, encode_cursor, find_ids, most_similar, one_item
from voice.search.semantic import stored_vector

router = APIRouter(prefix="/v1", tags=["feedback"])

MOST_SIMILAR = 500


@router.get("/feedback", operation_id="listFeedback")
def list_feedback(
    query: Annotated[FeedbackQuery, Query()], principal: Viewer, runtime: RuntimeDep
) -> FeedbackPage:
    """Feedback that passes the filters, newest first; with `like`, nearest in meaning first."""
    project_id = principal.project_id
    if query.like is not None and query.q is not None:
        raise Invalid.field("q", "cannot be combined with like")
    vector = _meant(runtime, project_id, query.like) if query.like is not None else None
    with runtime.database.read() as session:
        wanted = resolved_filter(session, project_id, query, status=tuple(query.status))
        if vector is not None:
            ids, following = _similar(session, runtime, project_id, query, wanted, vector)
        else:
            ids, following = find_ids(
                session, project_id, wanted, query=query.q, cursor=query.cursor, limit=query.limit
            )
        people = authors_of(session, project_id, ids)
        found = items(session, runtime, project_id, ids)
    record_reading_of(runtime, principal, people)
    return FeedbackPage.model_validate({"items": found, "next": following})


def _meant(runtime: Runtime, project_id: str, like: str) -> NDArray[np.float32]:
    """The vector of a stored feedback, or of free text; the model runs outside any transaction."""
    with runtime.database.read() as session:
        stored = stored_vector(session, project_id, like, encoder=runtime.analyser.encoder_name)
    return runtime.analyser.embed([like])[0] if stored is None else stored


def _similar(
    session: Session,
    runtime: Runtime,
    project_id: str,
    query: FeedbackQuery,
    wanted: FeedbackFilter,
    vector: NDArray[np.float32],
) -> tuple[list[str], str | None]:
    offset = _offset(query.cursor)
    encoder = runtime.analyser.encoder_name
    exclude = [query.like or ""]
    found = most_similar(
        session, project_id, vector, encoder=encoder, wanted=wanted, limit=MOST_SIMILAR, exclude=exclude
    )
    end = offset + query.limit
    page = [feedback_id for feedback_id, _ in found[offset:end]]
    return page, encode_cursor([end]) if end < len(found) else None


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    [offset] = decode_cursor(cursor, length=1)
    if not isinstance(offset, int) or not 0 <= offset <= MOST_SIMILAR:
        raise Invalid.field("cursor", "is not one that this list gave out")
    return offset


@router.get("/feedback/{feedback_id}", operation_id="getFeedback", dependencies=[NoQuery])
def get_feedback(feedback_id: str, principal: Viewer, session: Reading, runtime: RuntimeDep) -> FeedbackItem:
    """One feedback."""
    people = authors_of(session, principal.project_id, [known_form(feedback_id, what="feedback")])
    found = _one(session, runtime, principal.project_id, feedback_id)
    record_reading_of(runtime, principal, people)
    return FeedbackItem.model_validate(found)


def _one(session: Session, runtime: Runtime, project_id: str, feedback_id: str) -> dict[str, Any]:
    return one_item(items(session, runtime, project_id, [known_form(feedback_id, what="feedback")]))


@router.patch("/feedback/{feedback_id}/analysis", operation_id="correctAnalysis", dependencies=[NoQuery])
def correct_analysis(
    feedback_id: str,
    correction: CorrectionIn,
    principal: Triager,
    session: Committing,
    runtime: RuntimeDep,
    response: Response,
) -> FeedbackItem:
    """Say what the model got wrong. It reaches theme, topics and trends at once and outranks any later model.

    The header `Voice-Event` names the event to undo.
    """
    known_form(feedback_id, what="feedback")
    said = correction.said()
    if not said:
        raise Invalid.field("sentiment", "give at least one of sentiment, intent, urgency, topics, theme")
    if said.get("theme") is not None:
        known_form(said["theme"], what="theme")
    event = correct(
        session, principal.project_id, feedback_id, said, actor=principal.actor, now=runtime.clock()
    )
    if event is not None:
        response.headers["Voice-Event"] = str(event)
    people = authors_of(session, principal.project_id, [feedback_id])
    record_reading(session, principal.project_id, people, actor=principal.actor, now=runtime.clock())
    found = _one(session, runtime, principal.project_id, feedback_id)
    return FeedbackItem.model_validate(found)


@router.get("/dead", operation_id="listDead")
def list_dead(
    query: Annotated[DeadQuery, Query()], principal: Viewer, session: Reading, runtime: RuntimeDep
) -> FeedbackPage:
    """Feedback whose analysis failed too often: kept, visible, replayable."""
    wanted = resolved_filter(session, principal.project_id, query, status=("dead",))
    ids, following = find_ids(
        session, principal.project_id, wanted, query=query.q, cursor=query.cursor, limit=query.limit
    )
    people = authors_of(session, principal.project_id, ids)
    found = items(session, runtime, principal.project_id, ids)
    record_reading_of(runtime, principal, people)
    return FeedbackPage.model_validate({"items": found, "next": following})


@router.post("/dead/replay", operation_id="replayDead", dependencies=[NoQuery])
def replay_dead(asked: ReplayIn, principal: Admin, runtime: RuntimeDep) -> Replayed:
    """Try dead rows again."""
    ids = [known_form(feedback_id, what="feedback") for feedback_id in asked.feedback]
    with runtime.database.write() as session:
        count = replay(session, principal.project_id, ids, actor=principal.actor, now=runtime.clock())
    runtime.doorbell.ring("analyse")
    return Replayed(replayed=count)
