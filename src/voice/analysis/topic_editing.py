"""The taxonomy of a project: seeded from the shipped one, edited by people."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.analysis.topics import TopicDefinition
from voice.db.tables import Topic
from voice.db.ticks import owe
from voice.errors import Changed, Conflict, Invalid, NotFound
from voice.events import Change, append

RETOPIC = "retopic:"
"""Begins the name of the job that scores a project's stored feedback against its edited taxonomy."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def list_topics(session: Session, project_id: str, *, archived: bool = False) -> list[Topic]:
    """The topics of a project by name; archived ones only when asked."""
    statement = select(Topic).where(Topic.project_id == project_id).order_by(Topic.name, Topic.id)
    if not archived:
        statement = statement.where(~Topic.archived)
    return list(session.scalars(statement))


def topic_names(session: Session, project_id: str) -> dict[str, str]:
    """Topic id → name, archived ones included."""
    rows = session.execute(select(Topic.id, Topic.name).where(Topic.project_id == project_id))
    return dict(rows.all())


def definitions(topics: Sequence[Topic]) -> tuple[TopicDefinition, ...]:
    """Topics as the analyser wants them."""
    return tuple(TopicDefinition(t.id, t.name, t.description, tuple(t.examples)) for t in topics)


def seed_topics(
    session: Session, project_id: str, taxonomy: Sequence[TopicDefinition], *, now: datetime
) -> None:
    """Give a project without topics the shipped taxonomy."""
    if session.scalar(select(Topic.id).where(Topic.project_id == project_id).limit(1)):
        return
    for topic in taxonomy:
        session.add(
            Topic(
                project_id=project_id,
                id=topic.id,
                name=topic.name,
                description=topic.description,
                examples=list(topic.examples),
                updated_at=now,
            )
        )
    session.flush()


def find_topic(session: Session, project_id: str, topic_id: str) -> Topic:
    """A topic of the project. Raises NotFound."""
    topic = session.get(Topic, (project_id, topic_id), populate_existing=True)
    if topic is None:
        raise NotFound("no such topic")
    return topic


def create_topic(
    session: Session, project_id: str, given: dict[str, Any], *, actor: str, now: datetime
) -> Topic:
    """A new topic from id, name, description and examples. Raises Conflict for a taken id, Invalid for a bad one."""
    if not _SLUG.fullmatch(given["id"]):
        raise Invalid.field("id", "must be 1–64 of a–z 0–9 _ - and start with a letter or digit")
    if session.get(Topic, (project_id, given["id"])) is not None:
        raise Conflict(f"there is already a topic {given['id']!r}")
    topic = Topic(project_id=project_id, updated_at=now, **given)
    session.add(topic)
    session.flush()
    append(session, Change(project_id, "topic.created", topic.id, actor, now, after=given))
    owe(session, RETOPIC + project_id, now=now)
    return topic


def edit_topic(
    session: Session, topic: Topic, changes: dict[str, Any], *, version: int | None, actor: str, now: datetime
) -> None:
    """Change name, description, examples or archived. Raises Changed when `version` is not the current one."""
    if version is not None and version != topic.revision:
        raise Changed("the topic was changed by somebody else", current=topic_view(topic))
    before = {field: getattr(topic, field) for field in changes}
    if before == changes:
        return
    for field, value in changes.items():
        setattr(topic, field, value)
    topic.revision += 1
    topic.updated_at = now
    session.flush()
    append(
        session, Change(topic.project_id, "topic.edited", topic.id, actor, now, before=before, after=changes)
    )
    owe(session, RETOPIC + topic.project_id, now=now)


def topic_view(topic: Topic) -> dict[str, Any]:
    """A topic as the API shows it."""
    return {
        "id": topic.id,
        "name": topic.name,
        "description": topic.description,
        "examples": topic.examples,
        "archived": topic.archived,
        "version": topic.revision,
    }
