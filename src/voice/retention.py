"""Retention: feedback older than its channel's limit goes, as if it had been erased, but may be stored again."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import get_args

from sqlalchemy import select

from voice.accounts import list_projects
from voice.clock import Clock, rfc3339
from voice.db.dialects import CHUNK
from voice.db.session import Database
from voice.db.tables import Feedback
from voice.errors import ConfigurationError
from voice.events import Change, append
from voice.feedback.submission import Channel
from voice.feedback.suppression import hold_intake
from voice.removal import begin, finish, locked, note, remove_feedback
from voice.removal.jobs import forget_silent

ACTOR = "retention"
CHANNELS: tuple[str, ...] = get_args(Channel.__value__)
OTHERS = "*"

Limits = Mapping[str, timedelta]


def parse_limits(rules: Sequence[str]) -> Limits:
    """Channel → how old its feedback may become, of rules such as `review:730` (days) and `*:365` for the other channels.

    Channels without a rule are kept for ever. Raises ConfigurationError naming the rule.
    """
    given: dict[str, timedelta] = {}
    for rule in rules:
        channel, _, days = rule.partition(":")
        if channel not in (*CHANNELS, OTHERS) or channel in given:
            raise ConfigurationError(
                f"VOICE_RETENTION: {rule!r} must name one of {', '.join(CHANNELS)} or *, once"
            )
        if not (days.isascii() and days.isdecimal() and 1 <= int(days) <= 36_500):
            raise ConfigurationError(f"VOICE_RETENTION: {rule!r} must end in days, 1 to 36500: review:730")
        given[channel] = timedelta(days=int(days))
    rest = given.pop(OTHERS, None)
    return given if rest is None else dict.fromkeys(CHANNELS, rest) | given


def expire(database: Database, limits: Limits, *, clock: Clock) -> int:
    """Remove what was created longer ago than its channel's limit; returns how many feedback rows went."""
    if not limits:
        return 0
    with database.read() as session:
        projects = [project.id for project in list_projects(session)]
    return sum(_expire_in(database, project_id, limits, clock=clock) for project_id in projects)


def _expire_in(database: Database, project_id: str, limits: Limits, *, clock: Clock) -> int:
    total, removal = 0, ""
    for channel, limit in sorted(limits.items()):
        while found := _expire_chunk(database, project_id, channel, limit, removal, now=clock()):
            removed, removal = found
            total += removed
    if removal:
        finish(database, removal, clock=clock)
    return total


def _expire_chunk(
    database: Database, project_id: str, channel: str, limit: timedelta, removal: str, *, now: datetime
) -> tuple[int, str] | None:
    """Remove the oldest; how many, and the removal that `finish` must be called for: `removal`, or one begun here."""
    before = now - limit
    with database.write() as session:
        hold_intake(session)
        old = (
            select(Feedback.id)
            .where(Feedback.project_id == project_id, Feedback.channel == channel)
            .where(Feedback.created_at < before)
            .order_by(Feedback.created_at, Feedback.id)
            .limit(CHUNK)
        )
        ids = sorted(session.scalars(old))
        if not ids:
            return None
        removed = remove_feedback(session, project_id, ids)
        forget_silent(session, project_id, sorted(removed.people))
        # A run that takes long may be taken for one that was interrupted, and be finished by another process.
        if not removal or locked(session, removal).finished_at is not None:
            removal = begin(session, project_id, actor=ACTOR, now=now)
        note(session, locked(session, removal), removed, ids=False)
        if removed.ids:
            after = {"channel": channel, "n": len(removed.ids), "created_before": rfc3339(before)}
            append(session, Change(project_id, "feedback.expired", project_id, ACTOR, now, after=after))
        return len(removed.ids), removal
