"""API keys: made once, shown once, kept as a hash; what each role may do."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from voice.clock import rfc3339
from voice.db.tables import Key
from voice.errors import Invalid, NotFound
from voice.events import Change, append
from voice.ids import new_id

Role = Literal["widget", "ingest", "viewer", "triager", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
Act = Literal["write", "write_batch", "view", "triage", "administer"]

_ACTS: dict[Role, frozenset[Act]] = {
    "widget": frozenset({"write"}),
    "ingest": frozenset({"write", "write_batch"}),
    "viewer": frozenset({"view"}),
    "triager": frozenset({"view", "triage"}),
    "admin": frozenset({"write", "write_batch", "view", "triage", "administer"}),
}

_USE_NOTED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a key, its role and the one project it acts in."""

    key_id: str
    project_id: str
    role: Role
    origins: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        return f"key:{self.key_id}"


@dataclass(frozen=True, slots=True)
class KeyView:
    """A key without its secret."""

    id: str
    role: Role
    name: str
    prefix: str
    origins: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "role": self.role,
            "name": self.name,
            "prefix": self.prefix,
            "origins": list(self.origins),
            "created_at": rfc3339(self.created_at),
            "revoked_at": self.revoked_at and rfc3339(self.revoked_at),
            "last_used_at": self.last_used_at and rfc3339(self.last_used_at),
        }


def may(role: Role, act: Act) -> bool:
    """Whether a role allows an act."""
    return act in _ACTS[role]


def create_key(
    session: Session,
    *,
    project_id: str,
    role: str,
    name: str,
    actor: str,
    now: datetime,
    origins: Sequence[str] = (),
) -> tuple[KeyView, str]:
    """A new key and its plain text, which cannot be had again. Raises Invalid for an unknown role."""
    if role not in ROLES:
        raise Invalid.field("role", f"must be one of {', '.join(ROLES)}")
    plain = "voice_" + secrets.token_urlsafe(32)
    key = Key(
        id=new_id(),
        project_id=project_id,
        role=role,
        name=name,
        prefix=_prefix(plain),
        hash=_hash(plain),
        origins=list(origins),
        created_at=now,
        revoked_at=None,
        last_used_at=None,
    )
    session.add(key)
    session.flush()
    append(session, Change(project_id, "key.created", key.id, actor, now, after={"role": role, "name": name}))
    return _view(key), plain


def authenticate(session: Session, plain: str) -> Principal | None:
    """Who holds this key, or None when it is unknown or revoked."""
    if len(plain) > 200 or not plain.isascii() or not plain.startswith("voice_"):
        return None
    key = session.scalar(select(Key).where(Key.prefix == _prefix(plain)))
    if key is None or key.revoked_at is not None or not hmac.compare_digest(key.hash, _hash(plain)):
        return None
    return Principal(key.id, key.project_id, key.role, tuple(key.origins))  # type: ignore[arg-type]


def note_use(session: Session, key_id: str, *, now: datetime) -> None:
    """Remember when a key was last used, at most once a minute."""
    stale = (Key.last_used_at.is_(None)) | (Key.last_used_at < now - _USE_NOTED_EVERY)
    session.execute(update(Key).where(Key.id == key_id, stale).values(last_used_at=now))


def list_keys(session: Session, project_id: str) -> list[KeyView]:
    """Every key of a project, oldest first, revoked ones too."""
    keys = session.scalars(select(Key).where(Key.project_id == project_id).order_by(Key.id))
    return [_view(key) for key in keys]


def revoke_key(session: Session, project_id: str, key_id: str, *, actor: str, now: datetime) -> KeyView:
    """Refuse the key from now on; revoking twice changes nothing. Raises NotFound."""
    key = session.get(Key, key_id)
    if key is None or key.project_id != project_id:
        raise NotFound("no such key")
    if key.revoked_at is None:
        key.revoked_at = now
        session.flush()
        append(session, Change(project_id, "key.revoked", key.id, actor, now))
    return _view(key)


def _prefix(plain: str) -> str:
    return plain[:14]


def _hash(plain: str) -> str:
    return hashlib.sha256(plain.encode()).hexdigest()


def _view(key: Key) -> KeyView:
    return KeyView(
        id=key.id,
        role=key.role,  # type: ignore[arg-type]
        name=key.name,
        prefix=key.prefix,
        origins=tuple(key.origins),
        created_at=key.created_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )
