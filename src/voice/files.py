"""Files that only their owner may read, and that survive a power cut once they have their name."""

import os
from pathlib import Path


def private(path: str, flags: int) -> int:
    """An `opener` for `open`: mode 600, whatever the umask leaves."""
    return os.open(path, flags, mode=0o600)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once and durably; its owner alone may read it."""
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    with open(beside, "x", opener=private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive power loss."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
