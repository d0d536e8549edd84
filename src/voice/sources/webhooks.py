"""Webhook sources: places that bring feedback themselves, signed, to an address of their own."""

import base64
import hashlib
import secrets as random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from voice.accounts import Secrets
from voice.clock import parse_rfc3339, rfc3339
from voice.db.dialects import lock_rows
from voice.db.tables import Source
from voice.errors import Conflict, NotFound
from voice.events import Change, append
from voice.ids import unguessable_id
from voice.sources.signatures import STANDARD

WEBHOOK = "webhook"
SECRET_BYTES = 32
MOST_OLD = 4
GRACE = timedelta(hours=24)
"""How long a secret stays valid after it was replaced, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook source as a delivery finds it: whose it is, how its feedback is marked, what signs for it now."""

    id: str
    project_id: str
    slug: str
    channel: str
    secrets: tuple[str, ...]


def create_webhook(
    session: Session,
    secrets: Secrets,
    *,
    project_id: str,
    slug: str,
    channel: str,
    actor: str,
    now: datetime,
) -> tuple[Source, str]:
    """A new webhook source and its signing secret, which cannot be had again. Raises Conflict for a taken slug."""
    mine = (Source.project_id == project_id, Source.slug == slug)
    if session.scalar(select(Source.id).where(*mine)) is not None:
        raise Conflict(f"there is already a source {slug!r}")
    secret = _new_secret()
    source = Source(
        id=unguessable_id(),
        project_id=project_id,
        slug=slug,
        channel=channel,
        created_at=now,
        kind=WEBHOOK,
        secret=_seal(secrets, [(secret, None)]),
    )
    session.add(source)
    session.flush()
    after = {"slug": slug, "kind": WEBHOOK}
    append(session, Change(project_id, "source.created", source.id, actor, now, after=after))
    return source, secret


def rotate_secret(
    session: Session,
    secrets: Secrets,
    *,
    project_id: str,
    source_id: str,
    grace: timedelta,
    actor: str,
    now: datetime,
) -> tuple[Source, str]:
    """A new signing secret; those before it stay valid for `grace`, and none longer than it already was.

    Raises NotFound when this is not a webhook source of the project.
    """
    wanted = select(Source).where(
        Source.id == source_id, Source.project_id == project_id, Source.kind == WEBHOOK
    )
    source = session.scalar(lock_rows(session, wanted))
    if source is None or source.secret is None:
        raise NotFound("no such source of the kind webhook")
    secret, end = _new_secret(), now + grace
    held = [(one, min(until or end, end)) for one, until in _unseal(secrets, source.secret)]
    old = [(one, until) for one, until in held if until > now][:MOST_OLD]
    source.secret = _seal(secrets, [(secret, None), *old])
    session.flush()
    after = {"grace_hours": grace / timedelta(hours=1)}
    append(session, Change(project_id, "source.rotated", source.id, actor, now, after=after))
    return source, secret


def list_sources(session: Session, project_id: str) -> Sequence[Source]:
    """Every source of a project, by slug."""
    return session.scalars(select(Source).where(Source.project_id == project_id).order_by(Source.slug)).all()


def find_hook(session: Session, secrets: Secrets, source_id: str, *, now: datetime) -> Hook | None:
    """The webhook source with this id and the secrets that are valid now; None when there is none."""
    source = session.get(Source, source_id)
    if source is None or source.kind != WEBHOOK or source.secret is None:
        return None
    valid = [one for one, until in _unseal(secrets, source.secret) if until is None or until > now]
    return Hook(source.id, source.project_id, source.slug, source.channel, tuple(valid))


def delivery_key(delivery_id: str) -> str:
    """64 hex digits that stand for the id a sender gave a delivery."""
    return hashlib.sha256(delivery_id.encode()).hexdigest()


def _new_secret() -> str:
    return STANDARD.secret_prefix + base64.b64encode(random.token_bytes(SECRET_BYTES)).decode()


def _seal(secrets: Secrets, held: Sequence[tuple[str, datetime | None]]) -> bytes:
    rows = [{"secret": secret, "until": until and rfc3339(until)} for secret, until in held]
    return secrets.seal({"secrets": rows})


def _unseal(secrets: Secrets, sealed: bytes) -> list[tuple[str, datetime | None]]:
    rows: list[dict[str, Any]] = secrets.unseal(sealed)["secrets"]
    return [(row["secret"], row["until"] and parse_rfc3339(row["until"])) for row in rows]
