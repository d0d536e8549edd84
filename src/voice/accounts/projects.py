"""Projects: one product that is listened to."""

import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.db.tables import Project
from voice.errors import Conflict, Invalid, NotFound
from voice.events import Change, append
from voice.ids import new_id

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def find_project(session: Session, slug: str) -> Project:
    """The project with this slug. Raises NotFound."""
    project = session.scalar(select(Project).where(Project.slug == slug))
    if project is None:
        raise NotFound(f"no project {slug!r}; make one with: voice project create {slug}")
    return project


def list_projects(session: Session) -> Sequence[Project]:
    """Every project, oldest first."""
    return session.scalars(select(Project).order_by(Project.id)).all()


def create_project(session: Session, *, slug: str, name: str, actor: str, now: datetime) -> Project:
    """A new, empty project. Raises Invalid for a bad slug, Conflict for a taken one."""
    if not _SLUG.fullmatch(slug):
        raise Invalid.field("slug", "must be 1–64 of a–z 0–9 . _ - and start with a letter or digit")
    if session.scalar(select(Project.id).where(Project.slug == slug)):
        raise Conflict(f"there is already a project {slug!r}")
    project = Project(id=new_id(), slug=slug, name=name, created_at=now, evaluated_at=None)
    session.add(project)
    session.flush()
    append(
        session,
        Change(project.id, "project.created", project.id, actor, now, after={"slug": slug, "name": name}),
    )
    return project


def ensure_project(session: Session, slug: str, *, actor: str, now: datetime) -> Project:
    """The project with this slug, made when it is missing."""
    found = session.scalar(select(Project).where(Project.slug == slug))
    return found or create_project(session, slug=slug, name=slug, actor=actor, now=now)
