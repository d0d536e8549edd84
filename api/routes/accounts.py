"""Who is asking, projects, keys, and the trail of changes."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import Admin, Committing, NoQuery, Reading, RuntimeDep, StateDep, Triager, Viewer
from api.schemas.accounts import KeyIn, KeyList, KeyShown, Me, NewKey, ProjectList, ProjectShown, Status
from api.schemas.common import Done
from api.schemas.themes import AuditQuery, EventPage
from voice.accounts import create_key, list_keys, revoke_key
from voice.clock import rfc3339
from voice.db.tables import Project
from voice.db.ticks import recent_ticks
from voice.errors import Invalid, NotFound
from voice.events import event_view, get_event, read_events
from voice.feedback.claims import backlog
from voice.ids import known_form
from voice.search import decode_cursor, encode_cursor
from voice.undo import undo_event

router = APIRouter(prefix="/v1", tags=["accounts"])


@router.get("/me", operation_id="getMe", dependencies=[NoQuery])
def get_me(principal: Viewer, session: Reading) -> Me:
    """The key that asks, its role and its project."""
    project = session.get_one(Project, principal.project_id)
    return Me(key=principal.key_id, role=principal.role, project=project.slug, project_name=project.name)


@router.get("/projects", operation_id="listProjects", dependencies=[NoQuery])
def get_projects(principal: Viewer, session: Reading) -> ProjectList:
    """The projects this key can see: its own."""
    project = session.get_one(Project, principal.project_id)
    shown = ProjectShown(
        slug=project.slug,
        name=project.name,
        created_at=rfc3339(project.created_at),
        evaluated_at=rfc3339(project.evaluated_at) if project.evaluated_at is not None else None,
    )
    return ProjectList(items=[shown])


@router.get("/keys", operation_id="listKeys", dependencies=[NoQuery])
def get_keys(principal: Admin, session: Reading) -> KeyList:
    """Every key of the project, without its secret."""
    return KeyList.model_validate(
        {"items": [key.shown() for key in list_keys(session, principal.project_id)]}
    )


@router.post("/keys", status_code=201, operation_id="createKey", dependencies=[NoQuery])
def post_key(given: KeyIn, principal: Admin, session: Committing, runtime: RuntimeDep) -> NewKey:
    """A new key; its text is in this answer and nowhere else."""
    view, plain = create_key(
        session,
        project_id=principal.project_id,
        role=given.role,
        name=given.name,
        origins=given.origins,
        actor=principal.actor,
        now=runtime.clock(),
    )
    return NewKey.model_validate({**view.shown(), "key": plain})


@router.delete("/keys/{key_id}", operation_id="revokeKey", dependencies=[NoQuery])
def delete_key(key_id: str, principal: Admin, session: Committing, runtime: RuntimeDep) -> KeyShown:
    """Refuse a key from now on."""
    view = revoke_key(
        session,
        principal.project_id,
        known_form(key_id, what="key"),
        actor=principal.actor,
        now=runtime.clock(),
    )
    return KeyShown.model_validate(view.shown())


@router.get("/audit", operation_id="listAudit")
def get_audit(query: Annotated[AuditQuery, Query()], principal: Viewer, session: Reading) -> EventPage:
    """Every change, newest first: who, what, before, after."""
    before = None
    if query.cursor is not None:
        [before] = decode_cursor(query.cursor, length=1)
        if not isinstance(before, int) or not 0 < before < 2**63:
            raise Invalid.field("cursor", "is not one that this list gave out")
    found = read_events(
        session,
        principal.project_id,
        before=before,
        subject_id=query.subject,
        kinds=query.kind,
        limit=query.limit + 1,
    )
    page = found[: query.limit]
    following = encode_cursor([page[-1].id]) if len(found) > query.limit else None
    return EventPage.model_validate({"items": [event_view(e) for e in page], "next": following})


@router.post("/events/{event_id}/undo", operation_id="undoEvent", dependencies=[NoQuery])
def post_undo(event_id: str, principal: Triager, session: Committing, runtime: RuntimeDep) -> Done:
    """Take a change back: theme edits, merges, splits, moves, and corrections."""
    if not (event_id.isascii() and event_id.isdecimal() and len(event_id) < 19):
        raise NotFound("no such event")
    event = get_event(session, principal.project_id, int(event_id), lock=True)
    return Done(event=undo_event(session, event, actor=principal.actor, now=runtime.clock()))


@router.get("/status", operation_id="getStatus", dependencies=[NoQuery])
def get_status(principal: Viewer, session: Reading, held: StateDep) -> Status:
    """How much waits, and when themes were last evaluated."""
    now = held.runtime.clock()
    waiting = backlog(session, now=now, project_id=principal.project_id)
    project = session.get_one(Project, principal.project_id)
    runs = recent_ticks(session, f"evaluate:{principal.project_id}", limit=40)
    return Status.model_validate(
        {
            "pending": waiting.pending,
            "dead": waiting.dead,
            "oldest_pending_seconds": waiting.oldest_seconds,
            "writer_waiting": held.writer.waiting,
            "evaluated_at": project.evaluated_at and rfc3339(project.evaluated_at),
            "evaluations": [
                {
                    "as_of": run.tick,
                    "started_at": rfc3339(run.started_at),
                    "finished_at": run.finished_at and rfc3339(run.finished_at),
                    "error": run.error,
                }
                for run in runs
            ],
        }
    )
