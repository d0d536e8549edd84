"""Themes: lists, one theme, and what people do to them."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from sqlalchemy.orm import Session

from api.deps import Committing, IfMatch, NoQuery, Reading, RuntimeDep, Triager, Viewer
from api.routes.views import resolved_filter
from api.schemas.common import Effect, PreviewQuery
from api.schemas.themes import (
    MergeIn,
    MoveIn,
    SplitIn,
    ThemeChange,
    ThemeEdit,
    ThemePage,
    ThemeQuery,
    ThemeShown,
)
from voice.db.tables import Theme
from voice.errors import Invalid
from voice.ids import known_form
from voice.runtime import Runtime
from voice.search import decode_cursor, encode_cursor
from voice.themes import ledger, splitting
from voice.themes.queries import ThemeFilter, list_themes, view_theme

router = APIRouter(prefix="/v1/themes", tags=["themes"])

Preview = Annotated[PreviewQuery, Query()]

_MOVED: dict[int | str, dict[str, Any]] = {308: {"description": "Merged: ask the theme it lives on in."}}


def _find(session: Session, project_id: str, theme_id: str, *, lock: bool = False) -> Theme:
    return ledger.find_theme(session, project_id, known_form(theme_id, what="theme"), lock=lock)


def _find_into(session: Session, project_id: str, theme_id: str) -> Theme:
    """The theme a body names; a 308 could only correct the path, so an alias stands for its survivor here."""
    return ledger.find_survivor(session, project_id, known_form(theme_id, what="theme"), lock=True)


@router.get("", operation_id="listThemes")
def get_themes(
    query: Annotated[ThemeQuery, Query()], principal: Viewer, session: Reading, runtime: RuntimeDep
) -> ThemePage:
    """Themes with at least one feedback that passes the filters; closed and muted ones only when asked for."""
    wanted = ThemeFilter(
        feedback=resolved_filter(session, principal.project_id, query),
        status=tuple(query.status),
        severity=tuple(query.severity),
        owner=tuple(query.owner),
        emerging=query.emerging,
    )
    as_of = min(query.end, runtime.clock()) if query.end is not None else runtime.clock()
    found = list_themes(session, principal.project_id, wanted, sort=query.sort, as_of=as_of)
    start = _offset(query.cursor)
    end = start + query.limit
    following = encode_cursor([end]) if end < len(found) else None
    return ThemePage.model_validate({"items": found[start:end], "next": following})


def _offset(cursor: str | None) -> int:
    if cursor is None:
        return 0
    [offset] = decode_cursor(cursor, length=1)
    if not isinstance(offset, int) or offset < 0:
        raise Invalid.field("cursor", "is not one that this list gave out")
    return offset


@router.get(
    "/{theme_id}",
    operation_id="getTheme",
    dependencies=[NoQuery],
    responses=_MOVED,
)
def get_theme(
    theme_id: str, principal: Viewer, session: Reading, runtime: RuntimeDep, response: Response
) -> ThemeShown:
    """One theme; the id of a merged theme answers 308 to its survivor."""
    theme = _find(session, principal.project_id, theme_id)
    response.headers["ETag"] = f'"{theme.revision}"'
    return ThemeShown.model_validate(view_theme(session, theme, as_of=runtime.clock()))


@router.patch("/{theme_id}", operation_id="editTheme", responses=_MOVED)
def edit_theme(
    theme_id: str,
    edit: ThemeEdit,
    query: Preview,
    principal: Triager,
    session: Committing,
    runtime: RuntimeDep,
    version: IfMatch,
) -> ThemeChange | Effect:
    """Rename a theme, set its status, severity or owner. A name that a person gave stays."""
    theme = _find(session, principal.project_id, theme_id, lock=True)
    changes = edit.changes()
    if not changes:
        raise Invalid.field("name", "give at least one of name, status, severity, owner")
    ledger.expect_version(theme, version, lambda t: view_theme(session, t, as_of=runtime.clock()))
    if query.preview:
        before = {field: getattr(theme, field) for field in changes}
        return Effect(feedback=0, details={"before": before, "after": changes})
    event = ledger.edit(session, theme, changes, actor=principal.actor, now=runtime.clock())
    return _changed(session, runtime, theme, event)


@router.post("/{theme_id}/merge", operation_id="mergeTheme", responses=_MOVED)
def merge_theme(
    theme_id: str,
    asked: MergeIn,
    query: Preview,
    principal: Triager,
    session: Committing,
    runtime: RuntimeDep,
    version: IfMatch,
) -> ThemeChange | Effect:
    """Make this theme live on in another. Its id keeps answering; undo separates them again."""
    theme = _find(session, principal.project_id, theme_id, lock=True)
    into = _find_into(session, principal.project_id, asked.into)
    ledger.expect_another(theme, into)
    ledger.expect_version(theme, version, lambda t: view_theme(session, t, as_of=runtime.clock()))
    if query.preview:
        shown = view_theme(session, theme, as_of=runtime.clock())
        return Effect(feedback=shown["size"], details={"from": theme.name, "into": into.name})
    event = ledger.merge(session, theme, into, actor=principal.actor, now=runtime.clock())
    return _changed(session, runtime, into, event)


@router.post("/{theme_id}/split", operation_id="splitTheme", responses=_MOVED)
def split_theme(
    theme_id: str,
    asked: SplitIn,
    query: Preview,
    principal: Triager,
    runtime: RuntimeDep,
    version: IfMatch,
) -> ThemeChange | Effect:
    """Make a new theme of some members: those named, or those of a proposal that the preview shows."""
    project_id, now = principal.project_id, runtime.clock()
    with runtime.database.read() as session:  # clustering the members must not hold the write lock
        theme = _find(session, project_id, theme_id)
        ledger.expect_version(theme, version, lambda t: view_theme(session, t, as_of=now))
        if query.preview and asked.feedback is None and asked.proposal is None:
            return _proposals(session, theme)
        ids = splitting.chosen(session, theme, feedback=asked.feedback, proposal=asked.proposal)
        moving = ledger.members(session, theme, ids)
        values = splitting.new_theme(session, theme, ids, name=asked.name)
    if query.preview:
        return Effect(feedback=len(moving), details={"name": values["name"]})
    with runtime.database.write() as session:
        theme = _find(session, project_id, theme_id, lock=True)
        ledger.expect_version(theme, version, lambda t: view_theme(session, t, as_of=now))
        child, event = ledger.split(session, theme, ids, values, actor=principal.actor, now=now)
        changed = _changed(session, runtime, theme, event)
        changed.created = ThemeShown.model_validate(view_theme(session, child, as_of=now))
    return changed


def _proposals(session: Session, theme: Theme) -> Effect:
    proposals = splitting.propose(session, theme)
    details: dict[str, Any] = {"proposals": [proposal.shown() for proposal in proposals]}
    return Effect(feedback=sum(len(proposal.feedback) for proposal in proposals), details=details)


@router.post("/{theme_id}/move", operation_id="moveFeedback", responses=_MOVED)
def move_feedback(
    theme_id: str,
    asked: MoveIn,
    query: Preview,
    principal: Triager,
    session: Committing,
    runtime: RuntimeDep,
    version: IfMatch,
) -> ThemeChange | Effect:
    """Move members of this theme to another one, or out of every theme."""
    theme = _find(session, principal.project_id, theme_id, lock=True)
    into = _find_into(session, principal.project_id, asked.into) if asked.into is not None else None
    ids = [known_form(feedback_id, what="feedback") for feedback_id in asked.feedback]
    ledger.expect_version(theme, version, lambda t: view_theme(session, t, as_of=runtime.clock()))
    if query.preview:
        moving = ledger.members(session, theme, ids)
        return Effect(feedback=len(moving), details={"into": into.name if into is not None else None})
    event = ledger.move(session, theme, ids, into, actor=principal.actor, now=runtime.clock())
    return _changed(session, runtime, theme, event)


def _changed(session: Session, runtime: Runtime, theme: Theme, event: int | None) -> ThemeChange:
    session.refresh(theme)
    shown = view_theme(session, theme, as_of=runtime.clock())
    return ThemeChange.model_validate({"event": event, "theme": shown})
