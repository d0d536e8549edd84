"""Where root secrets come from: the settings, or `secret.key` in the data folder. The newest comes first."""

import secrets
from pathlib import Path
from typing import Protocol

from filelock import FileLock

from voice.config import Settings
from voice.errors import ConfigurationError
from voice.files import write_private

SHORTEST = 32
"""Characters that a root secret needs at least."""


class Roots(Protocol):
    """Root secrets as they are now, newest first; `remedy` says what to do when they do not open what is sealed."""

    @property
    def remedy(self) -> str: ...

    def __call__(self) -> tuple[bytes, ...]: ...


class GivenRoots:
    """Root secrets that the settings hold: they change with a restart only."""

    remedy = (
        "VOICE_SECRET_KEY: is not the root secret that this database was sealed under; set it to that one, "
        "or name that one in VOICE_SECRET_KEY_OLD"
    )

    def __init__(self, roots: tuple[bytes, ...]) -> None:
        self._roots = roots

    def __call__(self) -> tuple[bytes, ...]:
        return self._roots


class KeyFile:
    """`secret.key`: one root secret a line, newest first, mode 600; more than one while a rotation is unfinished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.remedy = (
            f"{path}: is not the root secret that this database was sealed under; put your copy of it back"
        )
        self.lock = FileLock(path.with_name("secret.lock"), timeout=30)
        self._seen: tuple[int, ...] = ()
        self._roots: tuple[bytes, ...] = ()

    def __call__(self) -> tuple[bytes, ...]:
        """The roots; the file is read again only when it was replaced. Raises ConfigurationError when damaged."""
        try:
            found = self.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._roots, self._seen = self._parse(self.path.read_text()), seen
        except OSError:
            if not self._roots:  # a process that knows its roots goes on without the file
                raise ConfigurationError(f"{self.path}: cannot be read; put your copy of it back") from None
        return self._roots

    def _parse(self, text: str) -> tuple[bytes, ...]:
        roots = tuple(line.strip().encode() for line in text.splitlines() if line.strip())
        if not roots or any(len(root) < SHORTEST for root in roots):
            raise ConfigurationError(f"{self.path}: damaged; put your copy of it back")
        return roots

    def write(self, roots: tuple[bytes, ...]) -> None:
        """Replace the file, durably and at once: whoever reads sees the old one or the new one, whole."""
        write_private(self.path, b"\n".join(roots).decode() + "\n")


def roots_of(settings: Settings) -> GivenRoots | KeyFile:
    """Where this installation's root secrets are.

    Raises ConfigurationError when PostgreSQL is configured without `VOICE_SECRET_KEY`, or a root secret is short.
    """
    newest = settings.secret_key.get_secret_value()
    older = _listed(settings.secret_key_old.get_secret_value())
    if not newest:
        if older:
            raise ConfigurationError("VOICE_SECRET_KEY_OLD: needs VOICE_SECRET_KEY beside it")
        if not settings.is_embedded_database:
            raise ConfigurationError("VOICE_SECRET_KEY: required with PostgreSQL; try: openssl rand -hex 32")
        return KeyFile(settings.data_dir / "secret.key")
    for name, root in (("VOICE_SECRET_KEY", newest), *(("VOICE_SECRET_KEY_OLD", root) for root in older)):
        if len(root) < SHORTEST:
            raise ConfigurationError(f"{name}: needs {SHORTEST} characters or more")
    return GivenRoots(tuple(dict.fromkeys(root.encode() for root in (newest, *older))))


def _listed(value: str) -> list[str]:
    """Root secrets between commas. Where that leaves too short a part, the commas belong to one root secret."""
    parts = [part.strip() for part in value.split(",") if part.strip()]
    return parts if all(len(part) >= SHORTEST for part in parts) else [value]


def new_root() -> bytes:
    """256 random bits, as 64 hex digits."""
    return secrets.token_hex(32).encode()
