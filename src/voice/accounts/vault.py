"""The vault: keys that must not change when the root secret does, kept in the database, sealed."""

from cryptography.fernet import InvalidToken
from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from voice.accounts.roots import KeyFile, new_root, roots_of
from voice.accounts.rotation import is_anything_sealed
from voice.accounts.seal import SealRing
from voice.accounts.secrets import STABLE, Secrets, derived
from voice.config import Settings
from voice.db.dialects import insert_ignoring, run, table_of
from voice.db.session import Database
from voice.db.tables import Person, Vault
from voice.errors import ConfigurationError


def installed_secrets(settings: Settings, database: Database) -> Secrets:
    """The secrets of this installation; an empty embedded one gets its `secret.key` here.

    The vault is read on first use of a stable key, and then never again: an API that starts while its database is
    away has its secrets as soon as that is back. Raises ConfigurationError when there is no root secret to be had, and
    on first use when the vault opens under none.
    """
    roots = roots_of(settings)
    if isinstance(roots, KeyFile):
        _ensure_key_file(roots, database)
    ring = SealRing(roots)

    def read_vault() -> dict[str, bytes]:
        with database.read() as session:
            return stable_keys(session, ring)

    return Secrets(ring, read_vault)


def _ensure_key_file(file: KeyFile, database: Database) -> None:
    if file.path.exists():
        return
    file.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.lock:
        if file.path.exists():  # another process was first
            return
        with database.read() as session:
            if is_anything_sealed(session):
                raise ConfigurationError(
                    f"{file.path}: is missing, and the database was sealed under it; put your copy of it back"
                )
        file.write((new_root(),))


def fill(session: Session, ring: SealRing) -> None:
    """Put the stable keys into the vault unless they are there; raises as `stable_keys`."""
    keys = stable_keys(session, ring)
    kept = _kept(session)
    rows = [{"name": name, "sealed": ring.seal(key)} for name, key in keys.items() if name not in kept]
    run(session, insert_ignoring(session, table_of(Vault)), rows)


def stable_keys(session: Session, ring: SealRing) -> dict[str, bytes]:
    """The stable keys: from the vault, or as the root secret gives them while they are not there yet.

    Raises ConfigurationError when no known root secret opens the vault or, without a vault, what is sealed.
    """
    kept = _kept(session)
    try:
        keys = {name: ring.open(kept[name]) for name in STABLE if name in kept}
        return keys if len(keys) == len(STABLE) else derived(_root_in_force(session, ring)) | keys
    except InvalidToken:
        raise ConfigurationError(ring.source.remedy) from None


def _kept(session: Session) -> dict[str, bytes]:
    if not inspect(session.connection()).has_table(Vault.__tablename__):
        return {}
    return {row.name: row.sealed for row in session.scalars(select(Vault))}


def _root_in_force(session: Session, ring: SealRing) -> bytes:
    """The root that has sealed what is there; with nothing sealed the oldest, which was there before a newer one."""
    some = None
    if inspect(session.connection()).has_table(Person.__tablename__):
        some = session.scalar(select(Person.sealed).limit(1))
    if some is None:
        return ring.roots()[-1].secret
    root = ring.opener(some)
    if root is None:
        raise InvalidToken
    return root.secret
