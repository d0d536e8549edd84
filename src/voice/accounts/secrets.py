"""Keys derived from the root secret: one to seal personal fields, others to hash people and contents."""

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from voice.accounts.roots import GivenRoots
from voice.accounts.seal import SealRing, derive

STABLE = ("people", "contents")
"""Keys that must outlive every rotation: what they have hashed is compared with what they hash later."""


def derived(root: bytes) -> dict[str, bytes]:
    """The stable keys as a root secret gives them."""
    return {name: derive(root, name) for name in STABLE}


_canonical = json.JSONEncoder(sort_keys=True, ensure_ascii=False).encode


class Secrets:
    """What may be done with the root secrets, without ever showing them."""

    def __init__(self, ring: SealRing, stable: Callable[[], Mapping[str, bytes]]) -> None:
        """`ring` seals and opens; `stable` gives the stable keys and is asked once, on first use."""
        self.ring = ring
        self._find_stable = stable

    @classmethod
    def of(cls, root: bytes) -> "Secrets":
        """The secrets of one root that is never rotated."""
        return cls(SealRing(GivenRoots((root,))), lambda: derived(root))

    def __repr__(self) -> str:
        return "Secrets(…)"

    @cached_property
    def _stable(self) -> Mapping[str, bytes]:
        return self._find_stable()

    def person_key(self, project_id: str, kind: str, value: str) -> str:
        """32 hex digits that stand for an author's id or e-mail (case and outer blanks ignored for e-mail)."""
        value = value.strip().casefold() if kind == "email" else value
        return self._hmac("people", f"{project_id}\0{kind}\0{value}".encode())[:32]

    def external_key(self, project_id: str, source: str, external_id: str) -> str:
        """32 hex digits that stand for an item's id at its source (the source's slug), after the item is gone."""
        return self.person_key(project_id, "external", f"{source}\0{external_id}")

    def content_hash(self, content: dict[str, Any]) -> str:
        """32 hex digits that tell whether two submissions say the same; keyed, so no text can be guessed from it."""
        return self._hmac("contents", _canonical(content).encode())[:32]

    def body_hash(self, body: bytes) -> str:
        """64 hex digits that tell whether two request bodies are the same; keyed, like `content_hash`."""
        return self._hmac("contents", b"body\0" + body)

    def fingerprint(self) -> str:
        """16 hex digits that name the stable keys without showing them.

        Two installations with the same fingerprint hash the same person and content to the same digits.
        """
        return self._hmac("contents", b"fingerprint\0" + self._stable["people"])[:16]

    def seal(self, value: dict[str, Any]) -> bytes:
        """Encrypt personal fields (Fernet: AES-128-CBC with HMAC-SHA256).

        A token that is not stored in the transaction in which it was sealed goes through `renew` there.
        """
        return self.ring.seal(json.dumps(value, ensure_ascii=False).encode())

    def unseal(self, sealed: bytes) -> dict[str, Any]:
        """What `seal` was given. Raises cryptography.fernet.InvalidToken under another root secret."""
        value: dict[str, Any] = json.loads(self.ring.open(sealed))
        return value

    def renew(self, sealed: bytes) -> bytes:
        """The token as it must be stored now, inside the transaction that stores it: see `SealRing.renew`."""
        return self.ring.renew(sealed)

    def _hmac(self, key: str, message: bytes) -> str:
        return hmac.new(self._stable[key], message, hashlib.sha256).hexdigest()
