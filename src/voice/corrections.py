"""A correction: "the model said, I say". It reaches theme, topics and trends at once and outranks later models."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from voice.analysis.results import put_topics, topics_of, write_said
from voice.analysis.topic_editing import topic_names
from voice.db.tables import Analysis, Correction, Event, Feedback
from voice.errors import Conflict, FieldError, Invalid, NotFound
from voice.events import Change, append, mark_undone
from voice.feedback.claims import REOPENED
from voice.ids import new_id
from voice.themes.ledger import find_survivor
from voice.trends import recount

_COLUMNS = {
    "sentiment": ("sentiment", "score", "confidence", "unsure", "mixed"),
    "intent": ("intent",),
    "urgency": ("urgency",),
    "theme": ("theme_id", "theme_by", "theme_score"),
}


def correct(
    session: Session,
    project_id: str,
    feedback_id: str,
    changes: Mapping[str, Any],
    *,
    actor: str,
    now: datetime,
) -> int | None:
    """Correct sentiment, intent, urgency, topics (ids) or theme (id or None) of one analysed feedback.

    Returns the event's id, None when nothing changes. Raises NotFound, Invalid for an unknown topic or a judgement of
    a rating without words, Conflict when the feedback is not analysed yet.
    """
    analysis = _analysis(session, project_id, feedback_id)
    changes = _checked(session, analysis, changes)
    present = _said(session, analysis)
    said = {field: value for field, value in changes.items() if present[field] != value}
    if not said:
        return None
    made = [
        Correction(
            id=new_id(),
            project_id=project_id,
            feedback_id=feedback_id,
            field=field,
            model_said={"value": present[field], "model": analysis.model},
            person_says={"value": value},
            actor=actor,
            at=now,
            withdrawn=False,
        )
        for field, value in sorted(said.items())
    ]
    session.add_all(made)
    session.flush()
    before = _state(session, analysis, said)
    write_said(session, feedback_id, said)
    recount(session, [feedback_id])
    after = {"said": said, "corrections": [correction.id for correction in made]}
    change = Change(project_id, "feedback.corrected", feedback_id, actor, now, before=before, after=after)
    return append(session, change)


def undo(session: Session, event: Event, *, actor: str, now: datetime) -> int:
    """Take a correction back: what stood before stands again. Returns the new event's id.

    Raises Conflict when it was already undone, or the same fields were changed since.
    """
    if event.undone_by is not None:
        raise Conflict("this change was already undone")
    analysis = _analysis(session, event.project_id, event.subject_id)
    present = _said(session, analysis)
    if changed := [field for field, value in event.after["said"].items() if present[field] != value]:
        raise Conflict(f"changed again since: {', '.join(sorted(changed))}")
    made = Correction.id.in_(event.after["corrections"])
    session.execute(update(Correction).where(made).values(withdrawn=True))
    if analysis.analysed_at > event.at:
        # Read again since, perhaps in other words: what the model said before no longer counts, so it is asked anew.
        _put_back(session, event.subject_id, _place_of(event.before))
        session.execute(update(Feedback).where(Feedback.id == event.subject_id).values(**REOPENED))
    else:
        _put_back(session, event.subject_id, event.before)
    recount(session, [event.subject_id])
    change = Change(
        event.project_id, "feedback.undone", event.subject_id, actor, now, after={"event": event.id}
    )
    undone = append(session, change)
    mark_undone(session, event.id, by=undone)
    return undone


def _analysis(session: Session, project_id: str, feedback_id: str) -> Analysis:
    # Locked first, as a worker does that analyses it again, so that neither overwrites what the other reads.
    feedback = session.get(Feedback, feedback_id, with_for_update=True)
    if feedback is None or feedback.project_id != project_id:
        raise NotFound("no such feedback")
    analysis = session.get(Analysis, feedback_id, populate_existing=True)
    if analysis is None:
        raise Conflict("this feedback is not analysed yet; try again in a moment")
    return analysis


def _checked(session: Session, analysis: Analysis, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with the theme's own id in place of an alias."""
    checked = dict(changes)
    if checked.get("theme") is not None:
        checked["theme"] = find_survivor(session, analysis.project_id, checked["theme"]).id
    if unknown := set(checked.get("topics", ())) - topic_names(session, analysis.project_id).keys():
        raise Invalid.field("topics", f"unknown: {', '.join(sorted(unknown))}; see /v1/topics")
    judged = sorted(checked.keys() & {"sentiment", "intent", "urgency"})
    if judged and analysis.sentiment is None:
        raise Invalid(
            "a rating without words can be given topics and a theme only",
            errors=[FieldError(field, "there are no words to judge") for field in judged],
        )
    return checked


def _said(session: Session, analysis: Analysis) -> dict[str, Any]:
    return {
        "sentiment": analysis.sentiment,
        "intent": analysis.intent,
        "urgency": analysis.urgency,
        "topics": sorted(topics_of(session, analysis.feedback_id)),
        "theme": analysis.theme_id,
    }


def _state(session: Session, analysis: Analysis, fields: Collection[str]) -> dict[str, Any]:
    """Everything that correcting these fields will overwrite."""
    columns = {name: getattr(analysis, name) for field in fields for name in _COLUMNS.get(field, ())}
    topics = topics_of(session, analysis.feedback_id) if "topics" in fields else None
    return {"columns": columns, "topics": topics}


def _place_of(state: Mapping[str, Any]) -> dict[str, Any]:
    columns = {name: value for name, value in state["columns"].items() if name in _COLUMNS["theme"]}
    return {"columns": columns, "topics": None}


def _put_back(session: Session, feedback_id: str, state: Mapping[str, Any]) -> None:
    if state["columns"]:
        mine = update(Analysis).where(Analysis.feedback_id == feedback_id)
        session.execute(mine.values(**state["columns"]))
    if state["topics"] is not None:
        put_topics(session, feedback_id, state["topics"])
