"""Public ids: 26 characters, sortable by the time they were made (the ULID layout, lower case)."""

import os
import re
import secrets
import threading
import time

from voice.errors import NotFound

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{26}")


_lock = threading.Lock()
_last = 0


def new_id() -> str:
    """48 bits of milliseconds, 80 bits of randomness, Crockford base 32 (github.com/ulid/spec).

    Ids of one process rise in the order they were made, also within a millisecond.
    """
    global _last
    fresh = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    with _lock:
        number = _last = fresh if fresh >> 80 > _last >> 80 else _last + 1
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -10, -10)])


def unguessable_id() -> str:
    """An id without a time in it: 130 random bits, of the same form."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(26))


def known_form(value: str, *, what: str) -> str:
    """The id itself when it can be one; raises NotFound otherwise, so that no garbage reaches the database."""
    if not _ID.fullmatch(value):
        raise NotFound(f"no such {what}")
    return value
