"""The scheduled rhythm: discover themes in the window, keep their identities, name them, test emergence.

Clustering proposes, the ledger decides: what people placed, named, merged or split is never undone here. The
proposal is computed outside any transaction and written in short ones; a row that changed meanwhile is left alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from voice.analysis.analyser import Analyser
from voice.analysis.vectors import pack, unpack
from voice.db.dialects import CHUNK
from voice.db.session import Database
from voice.db.tables import Analysis, Project, Theme
from voice.events import Change, append
from voice.themes import assign, discover, emerge, match, name
from voice.themes.assignment import known_themes
from voice.themes.emergence import Living, detect
from voice.themes.forgetting import forget
from voice.themes.ledger import create, merge
from voice.themes.naming import Named, name_clusters
from voice.themes.quotes import pick_quotes
from voice.themes.window import Item, Window, read_window
from voice.trends import recount

ALGORITHM = "+".join([discover.VERSION, assign.VERSION, match.VERSION, name.VERSION, emerge.VERSION])
ACTOR = "themes"
AT_LEAST_EVERY = timedelta(hours=1)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Proposal:
    """What discovery wants: clusters as item positions, what each continues, and names for the new ones."""

    clusters: tuple[NDArray[np.int64], ...]
    centroids: NDArray[np.float32]
    plan: match.Plan
    names: dict[int, Named]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one evaluation did."""

    items: int
    born: int
    absorbed: int
    moved: int
    emerging: int


def is_due(session: Session, project_id: str, *, now: datetime) -> bool:
    """True when something was analysed since the last evaluation, or an hour has passed."""
    last = session.scalar(select(Project.evaluated_at).where(Project.id == project_id))
    if last is None or abs(now - last) >= AT_LEAST_EVERY:  # far in the future: the clock was set back since
        return True
    newest = session.scalar(select(func.max(Analysis.analysed_at)).where(Analysis.project_id == project_id))
    return newest is not None and newest > last


def evaluate(
    database: Database,
    analyser: Analyser,
    project_id: str,
    *,
    as_of: datetime,
    now: datetime,
    window_days: int,
    window_items: int,
) -> Evaluation:
    """Discover, match, name, place and test emergence, as of a moment.

    Two at once: the later one's proposal is dropped. So is one that read feedback which was removed meanwhile.
    """
    with database.read() as session:
        seen = session.execute(
            select(Project.evaluated_at, Project.removals).where(Project.id == project_id)
        ).one()
        window = read_window(
            session,
            project_id,
            as_of=as_of,
            days=window_days,
            most=window_items,
            encoder=analyser.encoder_name,
        )
        themes = _live(session, project_id, analyser.encoder_name)
    proposal = _propose(window, themes, analyser)
    with database.write() as session:
        won = session.execute(
            update(Project)
            .where(Project.id == project_id, Project.removals == seen.removals)
            .where(Project.evaluated_at.is_not_distinct_from(seen.evaluated_at))
            .values(evaluated_at=as_of)
            .returning(Project.id)
        ).first()
        if won is None:
            return Evaluation(len(window.items), 0, 0, 0, 0)
        ids = _keep_identities(
            session, project_id, window, proposal, analyser.encoder_name, as_of=as_of, now=now
        )
    moved = _place_items(database, project_id, window, proposal, ids, analyser.encoder_name)
    _forget_if_removed(database, project_id, ids.values(), since=seen.removals, now=now)
    count = _test_emergence(
        database, project_id, analyser, as_of=as_of, now=now, days=window_days, most=window_items
    )
    done = Evaluation(len(window.items), len(proposal.plan.born), len(proposal.plan.absorbed), moved, count)
    log.info("evaluated", project=project_id, items=done.items, born=done.born, moved=moved, emerging=count)
    return done


def _live(session: Session, project_id: str, encoder: str) -> list[Theme]:
    live = select(Theme).where(
        Theme.project_id == project_id, Theme.merged_into.is_(None), Theme.encoder == encoder
    )
    return list(session.scalars(live.order_by(Theme.id)))


def _discover(window: Window, languages: frozenset[str] | None) -> list[NDArray[np.int64]]:
    """Clusters as item positions. What the encoder cannot read would cluster by language, so it is left out."""
    readable = np.flatnonzero([item.is_in(languages) for item in window.items])
    if not len(readable):
        return []
    texts = [window.items[i].text for i in readable]
    labels = discover.discover(window.vectors[readable], texts=texts).labels
    return [readable[labels == k] for k in range(labels.max(initial=-1) + 1)]


def _propose(window: Window, themes: Sequence[Theme], analyser: Analyser) -> Proposal:
    clusters = _discover(window, analyser.languages)
    width = window.vectors.shape[1] if window.items else 0
    centroids = np.zeros((len(clusters), width), dtype=np.float32)
    for k, rows in enumerate(clusters):
        centroids[k] = _centroid(window.vectors[rows])
    members: dict[str, set[str]] = defaultdict(set)
    for item in window.items:
        if item.theme_id is not None:
            members[item.theme_id].add(item.id)
    old = [
        match.Old(t.id, frozenset(members[t.id]), unpack([t.centroid])[0], t.pinned)
        for t in themes
        if t.centroid is not None
    ]
    ids = [frozenset(window.items[i].id for i in rows) for rows in clusters]
    plan = match.match(old, ids, centroids)
    for k, mine in enumerate(match.claimable(old, ids, plan)):
        if len(mine) < len(clusters[k]):
            clusters[k] = np.array([i for i in clusters[k] if window.items[i].id in mine], dtype=np.int64)
            centroids[k] = _centroid(window.vectors[clusters[k]]) if mine else centroids[k]
    return Proposal(tuple(clusters), centroids, plan, _name(window, clusters, plan, themes, analyser))


def _centroid(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = vectors.mean(axis=0)
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def _name(
    window: Window,
    clusters: Sequence[NDArray[np.int64]],
    plan: match.Plan,
    themes: Sequence[Theme],
    analyser: Analyser,
) -> dict[int, Named]:
    by_id = {theme.id: theme for theme in themes}
    continued = {k: by_id[theme_id] for k, theme_id in plan.kept.items()}
    going_on = {theme.id for theme in continued.values()}
    members = {k: rows for k, rows in enumerate(clusters) if len(rows)}
    return name_clusters(
        {k: [window.items[i].text for i in rows] for k, rows in members.items()},
        {k: window.vectors[rows] for k, rows in members.items()},
        continued,
        others=[theme.name for theme in themes if theme.id not in going_on],
        embed=analyser.embed,
    )


def _keep_identities(
    session: Session,
    project_id: str,
    window: Window,
    proposal: Proposal,
    encoder: str,
    *,
    as_of: datetime,
    now: datetime,
) -> dict[int, str]:
    """Births, continuations and absorptions as events; returns cluster → theme id."""
    ids: dict[int, str] = {}
    for k, found in sorted(proposal.names.items()):
        rows = proposal.clusters[k]
        values = _learned(window, rows, proposal.centroids[k]) | {
            "algorithm": ALGORITHM,
            "name": found.title,
            "keywords": list(found.keywords),
            "name_doubts": found.doubts,
            "named_size": found.size,
        }
        if k in proposal.plan.kept:
            ids[k] = proposal.plan.kept[k]
            _continue(session, ids[k], values, as_of=as_of, now=now)
        elif k in proposal.plan.born or k in proposal.plan.split:
            values |= {"project_id": project_id, "encoder": encoder}
            theme = create(session, values, kind="theme.discovered", actor=ACTOR, now=now, as_of=as_of)
            ids[k] = theme.id
    for old_id, where in sorted(proposal.plan.absorbed.items()):
        into_id = ids.get(where) if isinstance(where, int) else where
        old, into = session.get(Theme, old_id), session.get(Theme, into_id) if into_id else None
        if old is not None and into is not None and old.merged_into is None and into.merged_into is None:
            merge(session, old, into, actor=ACTOR, now=now, by_machine=True)
    return ids


def _continue(
    session: Session, theme_id: str, values: dict[str, Any], *, as_of: datetime, now: datetime
) -> None:
    """Refresh what is learned of a theme, as far as nobody renamed or merged it meanwhile."""
    theme = session.get(Theme, theme_id, populate_existing=True)
    if theme is None or theme.merged_into is not None:
        return
    if theme.name_source == "person":
        values = {field: value for field, value in values.items() if field != "name"}
    elif theme.name != values["name"]:
        before, after = {"name": theme.name}, {"name": values["name"]}
        append(
            session,
            Change(theme.project_id, "theme.renamed", theme_id, ACTOR, now, before, after, as_of),
        )
    session.execute(update(Theme).where(Theme.id == theme_id).values(**values))


def _learned(window: Window, rows: NDArray[np.int64], centroid: NDArray[np.float32]) -> dict[str, Any]:
    vectors = window.vectors[rows]
    items = [window.items[i] for i in rows]
    quotes = pick_quotes(
        vectors,
        [item.text for item in items],
        np.array([item.score for item in items]),
        np.array([item.created_at.timestamp() for item in items]),
    )
    return {
        "centroid": pack(centroid),
        "threshold": assign.theme_threshold(vectors @ centroid),
        "quotes": [items[i].id for i in quotes],
    }


def _place_items(
    database: Database,
    project_id: str,
    window: Window,
    proposal: Proposal,
    ids: dict[int, str],
    encoder: str,
) -> int:
    """Give window items the theme of their cluster; others go to the nearest theme that takes them, or to none.

    What people merged or split is theirs: no member leaves such a theme because its cluster went elsewhere.
    """
    wanted: dict[int, str | None] = {}
    for k, rows in enumerate(proposal.clusters):
        if k in ids:
            wanted |= {int(i): ids[k] for i in rows}
    with database.read() as session:
        known = known_themes(session, project_id, encoder=encoder)
        pinned = {theme.id for theme in _live(session, project_id, encoder) if theme.pinned}
    rest = [i for i, item in enumerate(window.items) if i not in wanted and item.theme_id not in pinned]
    if rest:
        taken = known.take(window.vectors[rest])
        wanted |= {i: theme for i, (theme, _) in zip(rest, taken, strict=True)}
    moves = [
        (window.items[i], theme)
        for i, theme in sorted(wanted.items())
        if not window.items[i].by_person and theme != window.items[i].theme_id
    ]
    moved = 0
    for start in range(0, len(moves), CHUNK):
        with database.write() as session:
            moved += _move(session, moves[start : start + CHUNK])
    return moved


def _forget_if_removed(
    database: Database, project_id: str, theme_ids: Iterable[str], *, since: int, now: datetime
) -> None:
    """Forget what themes have just learned from feedback that was removed before it was placed in them."""
    with database.read() as session:
        removals = session.scalar(select(Project.removals).where(Project.id == project_id))
    if removals != since:
        for theme_id in sorted(set(theme_ids)):
            with database.write() as session:
                forget(session, theme_id, now=now)


def _move(session: Session, moves: Sequence[tuple[Item, str | None]]) -> int:
    by_theme: dict[tuple[str | None, str | None], list[str]] = defaultdict(list)
    for item, theme in moves:
        by_theme[item.assigned_id, theme].append(item.id)
    changed: list[str] = []
    for (assigned, theme), ids in by_theme.items():
        unchanged = (
            Analysis.feedback_id.in_(ids),
            Analysis.theme_id.is_not_distinct_from(assigned),
            Analysis.theme_by == "model",
        )
        placed = update(Analysis).where(*unchanged).values(theme_id=theme, theme_score=None)
        changed += session.scalars(placed.returning(Analysis.feedback_id)).all()
    recount(session, changed)
    return len(changed)


def _test_emergence(
    database: Database,
    project_id: str,
    analyser: Analyser,
    *,
    as_of: datetime,
    now: datetime,
    days: int,
    most: int,
) -> int:
    """Test every live theme on the placed window; returns how many are emerging."""
    encoder = analyser.encoder_name
    with database.read() as session:
        window = read_window(session, project_id, as_of=as_of, days=days, most=most, encoder=encoder)
        themes = _live(session, project_id, encoder)
    found = detect(window, [Living(theme.id, theme.emerging) for theme in themes])
    with database.write() as session:
        for theme in themes:
            if found[theme.id] == theme.emerging:
                continue
            session.execute(update(Theme).where(Theme.id == theme.id).values(emerging=found[theme.id]))
            if (found[theme.id] is None) != (theme.emerging is None):
                kind = "theme.calmed" if found[theme.id] is None else "theme.emerged"
                before, after = theme.emerging or {}, found[theme.id] or {}
                change = Change(
                    project_id, kind, theme.id, ACTOR, now, before=before, after=after, as_of=as_of
                )
                append(session, change)
    return sum(1 for evidence in found.values() if evidence is not None)
