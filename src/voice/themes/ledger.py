"""The ledger: every change of a theme is an event with its lineage, and can be taken back.

Feedback rows keep the id of the theme they were assigned to; a merge only makes one id an alias of another, and
readers resolve it. So a merge costs the same whatever the history, and undoing it is exact.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert, or_, select, update
from sqlalchemy.orm import Session

from voice.db.dialects import CHUNK
from voice.db.tables import Analysis, Event, Feedback, Lineage, Theme
from voice.errors import Changed, Conflict, Invalid, Moved, NotFound
from voice.events import Change, append, mark_undone
from voice.ids import new_id
from voice.trends import recount

EDITABLE = ("name", "status", "severity", "owner")


def find_theme(session: Session, project_id: str, theme_id: str, *, lock: bool = False) -> Theme:
    """A live theme of the project; `lock` keeps others from changing it. Raises NotFound, or Moved for an alias."""
    theme = session.get(Theme, theme_id, populate_existing=True, with_for_update=lock or None)
    if theme is None or theme.project_id != project_id:
        raise NotFound("no such theme")
    if theme.merged_into is not None:
        raise Moved(theme.merged_into)
    return theme


def find_survivor(session: Session, project_id: str, theme_id: str, *, lock: bool = False) -> Theme:
    """The theme with this id, or the one it lives on in. Raises NotFound."""
    try:
        return find_theme(session, project_id, theme_id, lock=lock)
    except Moved as moved:
        return find_theme(session, project_id, moved.survivor, lock=lock)


def survivors(session: Session, project_id: str) -> dict[str, str]:
    """Every alias of a project → the theme it lives on in."""
    rows = session.execute(
        select(Theme.id, Theme.merged_into).where(
            Theme.project_id == project_id, Theme.merged_into.is_not(None)
        )
    )
    return {alias: survivor for alias, survivor in rows if survivor is not None}


def family(session: Session, project_id: str, theme_ids: Iterable[str]) -> tuple[str, ...]:
    """These themes (aliases resolved) and all their aliases."""
    resolved = survivors(session, project_id)
    heads = {resolved.get(theme_id, theme_id) for theme_id in theme_ids}
    return tuple(sorted(heads | {alias for alias, survivor in resolved.items() if survivor in heads}))


def expect_version(theme: Theme, version: int | None, view: Callable[[Theme], dict[str, Any]]) -> None:
    """Raise Changed when the caller's version is not the current one."""
    if version is not None and version != theme.revision:
        raise Changed("the theme was changed by somebody else", current=view(theme))


def expect_another(theme: Theme, into: Theme) -> None:
    """Raise Invalid when both are the same theme."""
    if theme.id == into.id:
        raise Invalid.field("into", "is the theme itself")


def edit(session: Session, theme: Theme, changes: dict[str, Any], *, actor: str, now: datetime) -> int | None:
    """Set name, status, severity or owner; returns the event's id, None when nothing changes.

    From then on the theme is pinned: no machine makes it live on in another.
    """
    before = {field: getattr(theme, field) for field in changes}
    if before == changes:
        return None
    if "name" in changes:
        before["name_source"] = theme.name_source
        changes = changes | {"name_source": "person"}
    _set(session, theme.id, changes | {"pinned": True})
    return _record(session, theme, "theme.edited", actor, now, before=before, after=changes)


def merge(
    session: Session, theme: Theme, into: Theme, *, actor: str, now: datetime, by_machine: bool = False
) -> int:
    """Make `theme` and its aliases live on in `into`. Raises Invalid for a theme and itself."""
    expect_another(theme, into)
    aliases = [a for a, survivor in survivors(session, theme.project_id).items() if survivor == theme.id]
    for alias in [theme.id, *aliases]:
        _set(session, alias, {"merged_into": into.id})
    if not by_machine:
        _set(session, into.id, {"pinned": True})
    kind = "theme.absorbed" if by_machine else "theme.merged"
    event_id = _record(
        session, theme, kind, actor, now, before={}, after={"into": into.id, "aliases": sorted(aliases)}
    )
    session.execute(
        insert(Lineage).values(
            event_id=event_id, parent_id=theme.id, child_id=into.id, kind="absorb" if by_machine else "merge"
        )
    )
    return event_id


def create(
    session: Session, values: dict[str, Any], *, kind: str, actor: str, now: datetime, as_of: datetime
) -> Theme:
    """A new theme, with the event of its birth."""
    theme = Theme(**({"id": new_id(), "created_at": as_of, "keywords": [], "quotes": []} | values))
    session.add(theme)
    session.flush()
    after = {"name": theme.name, "algorithm": theme.algorithm}
    append(session, Change(theme.project_id, kind, theme.id, actor, now, after=after, as_of=as_of))
    return theme


def split(
    session: Session, theme: Theme, ids: Sequence[str], values: dict[str, Any], *, actor: str, now: datetime
) -> tuple[Theme, int]:
    """Make a new theme of some members. Returns it and the event's id. Raises Invalid when an id is no member."""
    places = members(session, theme, ids)
    child = create(session, values, kind="theme.created", actor=actor, now=now, as_of=now)
    place(session, list(places), child.id, by="person")
    _set(session, theme.id, {"pinned": True})
    before, after = {"places": places}, {"child": child.id}
    event_id = _record(session, theme, "theme.split", actor, now, before=before, after=after)
    session.execute(
        insert(Lineage).values(event_id=event_id, parent_id=theme.id, child_id=child.id, kind="split")
    )
    return child, event_id


def move(
    session: Session, theme: Theme, ids: Sequence[str], into: Theme | None, *, actor: str, now: datetime
) -> int:
    """Move members to another theme, or to none. Raises Invalid when an id is no member."""
    places = members(session, theme, ids)
    target = into.id if into is not None else None
    place(session, list(places), target, by="person")
    return _record(
        session, theme, "theme.moved", actor, now, before={"places": places}, after={"into": target}
    )


def place(session: Session, ids: Collection[str], theme_id: str | None, *, by: str) -> None:
    """Put feedback into a theme (or none) and bring the trends along."""
    ordered = sorted(ids)
    for start in range(0, len(ordered), CHUNK):
        part = ordered[start : start + CHUNK]
        session.execute(
            update(Analysis)
            .where(Analysis.feedback_id.in_(part))
            .values(theme_id=theme_id, theme_by=by, theme_score=None)
        )
        recount(session, part)


def undo(session: Session, event: Event, *, actor: str, now: datetime) -> int:
    """Take a theme event back; returns the new event's id. Raises Conflict when it was, or cannot be, undone."""
    theme = session.get(Theme, event.subject_id, populate_existing=True)
    if event.undone_by is not None:
        raise Conflict("this change was already undone")
    if theme is None or event.kind not in _UNDOERS:
        raise Conflict(f"a change of kind {event.kind!r} cannot be undone")
    _UNDOERS[event.kind](session, theme, event)
    undone = _record(session, theme, "theme.undone", actor, now, before={}, after={"event": event.id})
    mark_undone(session, event.id, by=undone)
    return undone


def _undo_edit(session: Session, theme: Theme, event: Event) -> None:
    changed_since = [field for field, value in event.after.items() if getattr(theme, field) != value]
    if changed_since:
        raise Conflict(f"changed again since: {', '.join(changed_since)}")
    _set(session, theme.id, event.before)
    _settle(session, theme.project_id, without=event)


def _undo_merge(session: Session, theme: Theme, event: Event) -> None:
    _settle(session, theme.project_id, without=event)


def _undo_split(session: Session, theme: Theme, event: Event) -> None:
    child_id = event.after["child"]
    child = session.get_one(Theme, child_id, populate_existing=True)
    if child.merged_into is not None:
        raise Conflict("the split-off theme was merged since; undo that first")
    if theme.merged_into == child_id:
        raise Conflict("the theme lives on in the split-off one; undo that merge first")
    restore(session, event.before["places"], still_in=child_id)
    _settle(session, theme.project_id, without=event)


def _undo_move(session: Session, theme: Theme, event: Event) -> None:
    del theme
    restore(session, event.before["places"], still_in=event.after["into"])


_UNDOERS: dict[str, Callable[[Session, Theme, Event], None]] = {
    "theme.edited": _undo_edit,
    "theme.merged": _undo_merge,
    "theme.absorbed": _undo_merge,
    "theme.split": _undo_split,
    "theme.moved": _undo_move,
}


def _settle(session: Session, project_id: str, *, without: Event) -> None:
    """Bring aliases and pins to what the standing events say, in whatever order others were undone.

    A theme lives on in the one it was merged into, a split-off one in its parent once the split is undone. People's
    edits, merges and splits pin the theme, so that no machine takes it apart.
    """
    edited = (Event.project_id == project_id, Event.kind == "theme.edited", Event.undone_by.is_(None))
    pinned = set(session.scalars(select(Event.subject_id).where(*edited, Event.id != without.id)))
    rows = session.execute(
        select(Lineage, or_(Event.undone_by.is_not(None), Event.id == without.id))
        .join(Event, Event.id == Lineage.event_id)
        .where(Event.project_id == project_id)
    ).all()
    lives_in: dict[str, str] = {}
    pinned |= {line.child_id for line, _ in rows if line.kind == "split"}
    for line, undone in rows:
        if line.kind == "split" and undone:
            lives_in[line.child_id] = line.parent_id
        elif line.kind == "split":
            pinned.add(line.parent_id)
        elif not undone:
            lives_in[line.parent_id] = line.child_id
            pinned |= {line.child_id} if line.kind == "merge" else set()
    present = select(Theme.id, Theme.merged_into, Theme.pinned).where(Theme.project_id == project_id)
    for theme_id, merged_into, is_pinned in session.execute(present.order_by(Theme.id)).all():
        wanted = (_survivor(theme_id, lives_in), theme_id in pinned)
        if wanted != (merged_into, is_pinned):
            _set(session, theme_id, {"merged_into": wanted[0], "pinned": wanted[1]})


def _survivor(theme_id: str, lives_in: Mapping[str, str]) -> str | None:
    survivor = lives_in.get(theme_id)
    while survivor is not None and (following := lives_in.get(survivor)) is not None:
        survivor = following
    return survivor


def restore(session: Session, places: dict[str, list[Any]], *, still_in: str | None) -> None:
    """Put feedback back where it was (id → [theme, placed by]), as far as nobody moved it since."""
    ids = sorted(places)
    for start in range(0, len(ids), CHUNK):
        part = ids[start : start + CHUNK]
        there = set(
            session.scalars(
                select(Analysis.feedback_id).where(
                    Analysis.feedback_id.in_(part), Analysis.theme_id.is_not_distinct_from(still_in)
                )
            )
        )
        for feedback_id in sorted(there):
            theme_id, by = places[feedback_id]
            session.execute(
                update(Analysis)
                .where(Analysis.feedback_id == feedback_id)
                .values(theme_id=theme_id, theme_by=by, theme_score=None)
            )
        recount(session, there)


def members(session: Session, theme: Theme, ids: Sequence[str]) -> dict[str, list[Any]]:
    """Where each of these members is now: id → [theme, placed by]. Raises Invalid when an id is no member."""
    wanted = set(ids)
    inside = family(session, theme.project_id, [theme.id])
    found: dict[str, list[Any]] = {}
    ordered = sorted(wanted)
    for start in range(0, len(ordered), CHUNK):
        rows = session.execute(
            select(Analysis.feedback_id, Analysis.theme_id, Analysis.theme_by)
            .join(Feedback, Feedback.id == Analysis.feedback_id)
            .where(Analysis.feedback_id.in_(ordered[start : start + CHUNK]), Analysis.theme_id.in_(inside))
        )
        found |= {feedback_id: [theme_id, by] for feedback_id, theme_id, by in rows}
    if not wanted or wanted - found.keys():
        missing = ", ".join(sorted(wanted - found.keys())[:5]) or "none given"
        raise Invalid.field("feedback", f"must name members of this theme; not members: {missing}")
    return found


def _set(session: Session, theme_id: str, values: dict[str, Any]) -> None:
    session.execute(update(Theme).where(Theme.id == theme_id).values(**values, revision=Theme.revision + 1))


def _record(
    session: Session,
    theme: Theme,
    kind: str,
    actor: str,
    now: datetime,
    *,
    before: dict[str, Any],
    after: dict[str, Any],
) -> int:
    session.expire(theme)
    change = Change(theme.project_id, kind, theme.id, actor, now, before=before, after=after)
    return append(session, change)
