"""The file of a backup: a zip of one member of lines per table, and a manifest that says what must be in them.

A file that has its name is whole: it is written beside it, synced, read back and only then renamed.
"""

import errno
import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

import msgspec

from voice.errors import Conflict, Invalid
from voice.files import private, sync_folder

FORMAT = 1
MANIFEST = "manifest.json"
_FASTEST = 1
"""Half of a backup are vectors, on which more effort than zlib's least gains nothing."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table: its lines, and the SHA-256 of all of them together."""

    table: str
    columns: list[str]
    rows: int
    sha256: str

    @property
    def member(self) -> str:
        return f"{self.table}.jsonl"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup is of: the version and schema that wrote it, its moment, and its tables in order.

    `roots` names the root secrets it was sealed under, newest first; `keys` is the fingerprint of the keys that hashed
    its people and contents. Neither says anything of the secrets themselves.
    """

    format: int
    voice: str
    revision: str
    as_of: datetime
    roots: list[str]
    keys: str
    tables: list[Part]

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.tables)


class ArchiveWriter:
    """Writes members; the manifest comes last."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_FASTEST)

    def write(self, table: str, columns: Iterable[str], lines: Iterable[bytes]) -> Part:
        """Write one table as its lines come."""
        digest, rows = hashlib.sha256(), 0
        part = Part(table, list(columns), 0, "")
        with self._zip.open(part.member, "w", force_zip64=True) as member:
            for line in lines:
                digest.update(line)
                member.write(line)
                rows += 1
        return msgspec.structs.replace(part, rows=rows, sha256=digest.hexdigest())

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest and the directory of the zip."""
        self._zip.writestr(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        self._zip.close()

    def abandon(self) -> None:
        """Let go of the file after a failure; a full disk may refuse even that."""
        with suppress(OSError, ValueError):
            self._zip.close()


class Archive:
    """An opened backup. What is read from it is checked against the manifest as it is read."""

    def __init__(self, path: Path) -> None:
        """Raises Invalid for a file that is not a backup, is damaged, or has a newer format; OSError."""
        self.path = path
        # A zip closes the file that it has opened only after every member; this one closes at once.
        self._file = path.open("rb")
        try:
            with _naming_damage(path):
                self._zip = zipfile.ZipFile(self._file)
                self.manifest = _read_manifest(path, self._zip)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._file.close()

    def part(self, table: str) -> Part | None:
        return next((part for part in self.manifest.tables if part.table == table), None)

    def lines(self, part: Part) -> Iterator[bytes]:
        """The lines of a table. Raises Invalid, at the latest after the last one, when they are not what was written."""
        digest, rows = hashlib.sha256(), 0
        with _naming_damage(self.path), self._zip.open(part.member) as member:
            for line in member:
                digest.update(line)
                rows += 1
                yield line
        if (rows, digest.hexdigest()) != (part.rows, part.sha256):
            raise _damaged(self.path, f"{part.table} is not what was written")

    def verify(self) -> None:
        """Read everything. Raises Invalid when anything is damaged or missing."""
        for part in self.manifest.tables:
            for _ in self.lines(part):
                pass
        expected = {MANIFEST, *(part.member for part in self.manifest.tables)}
        if set(self._zip.namelist()) != expected:
            raise _damaged(self.path, "it holds other members than its manifest says")


def _read_manifest(path: Path, file: zipfile.ZipFile) -> Manifest:
    if any(member.compress_type != zipfile.ZIP_DEFLATED for member in file.infolist()):
        raise _damaged(path, "it holds what is not compressed as a backup is")
    data = file.read(MANIFEST)
    found: int = msgspec.json.decode(data)["format"]
    if found > FORMAT:
        raise Invalid(
            f"{path}: format {found} is newer than this version of Voice reads; restore it with a newer one"
        )
    return msgspec.json.decode(data, type=Manifest)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """An archive, closed at the end."""
    archive = Archive(path)
    try:
        yield archive
    finally:
        archive.close()


@contextmanager
def written(path: Path) -> Iterator[ArchiveWriter]:
    """Write a backup of mode 600 that has its name only once it is whole and was read back.

    Raises Conflict when the name is taken; OSError. Nothing is left behind by a failure.
    """
    if path.exists():
        raise Conflict(f"{path} exists already; choose another name")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "xb", opener=private) as file:
            writer = ArchiveWriter(file)
            try:
                yield writer
            finally:
                writer.abandon()
            file.flush()
            os.fsync(file.fileno())
        with opened(part) as archive:
            archive.verify()
        part.rename(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    msgspec.MsgspecError,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)
"""What zipfile raises for bytes that are not those it wrote, depending on where they differ."""


@contextmanager
def _naming_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(path, type(error).__name__) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place outside of the file
            raise
        raise _damaged(path, "it ends too early") from None


def _damaged(path: Path, how: str) -> Invalid:
    return Invalid(f"{path}: not a backup, or damaged ({how}); nothing was changed")
