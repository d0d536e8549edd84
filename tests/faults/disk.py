"""A small disk of a test's own, that fills up."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.services import unavailable

_BALLAST = "ballast"


class Disk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return shutil.disk_usage(self.path).free

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left, until the end of the block."""
        ballast = self.path / _BALLAST
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(4096)):
                pass
        try:
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """As the kernel leaves a disk that made errors. Nobody may have a file open for writing when it begins."""
        _mount("-o", "remount,ro", str(self.path))
        try:
            yield
        finally:
            _mount("-o", "remount,rw", str(self.path))


@contextmanager
def small_disk(megabytes: int, *, owner: str | None = None) -> Iterator[Disk]:
    """A tmpfs of this size, which `owner` may use. Where nothing may be mounted: fails in CI, skips elsewhere."""
    path = Path(tempfile.mkdtemp(prefix="voice-small-disk-"))
    try:
        try:
            _mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700,uid={os.geteuid()}", "tmpfs", str(path))
        except (OSError, subprocess.CalledProcessError) as error:
            told = getattr(error, "stderr", b"").decode().strip() or str(error)
            unavailable(f"no small disk: {sys.platform} lets this user mount none ({told})")
        try:
            if owner is not None:
                shutil.chown(path, owner)
            yield Disk(path)
        finally:
            _run("umount", "-l", str(path))
    finally:
        path.rmdir()


def _mount(*arguments: str) -> None:
    _run("mount", *arguments)


def _run(*command: str) -> None:
    """As root, or by a sudo that asks nothing."""
    words = command if os.geteuid() == 0 else ("sudo", "-n", *command)
    subprocess.run(words, check=True, capture_output=True, timeout=30)
