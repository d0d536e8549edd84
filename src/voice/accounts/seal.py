"""Sealing: encryption under the newest root secret, opened under any that is known."""

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from voice.accounts.roots import Roots


def derive(root: bytes, purpose: str) -> bytes:
    """The key of 32 bytes for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"voice/{purpose}/1".encode()).derive(root)


@dataclass(frozen=True, slots=True)
class Root:
    """One root secret: a name that may be shown, and what it seals with."""

    name: str
    secret: bytes = field(repr=False)
    fernet: Fernet = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> "Root":
        fernet = Fernet(base64.urlsafe_b64encode(derive(secret, "seal")))
        return cls(derive(secret, "name").hex()[:8], secret, fernet)


class SealRing:
    """Seals under the newest root secret and opens what any known one sealed (Fernet).

    The roots are asked for before every sealing and when a token cannot be opened, so a process that lives through a
    rotation follows it. A root once known keeps opening while the process lives: a snapshot may show what it sealed.
    """

    def __init__(self, source: Roots) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._given: tuple[bytes, ...] = ()
        self._known: tuple[Root, ...] = ()

    def __repr__(self) -> str:
        return "SealRing(…)"

    def roots(self) -> tuple[Root, ...]:
        """The roots in force, newest first, without those that a rotation has dropped."""
        given, known = self.source(), self._refreshed()
        return tuple(root for root in known if root.secret in given)

    def seal(self, data: bytes) -> bytes:
        """Encrypt (AES-128-CBC with HMAC-SHA256).

        A token that is not stored in the transaction in which it was sealed goes through `renew` there.
        """
        return self._refreshed()[0].fernet.encrypt(data)

    def open(self, token: bytes) -> bytes:
        """What was sealed. Raises cryptography.fernet.InvalidToken when no known root opens it."""
        opened = _opened(self._known, token) or _opened(self._refreshed(), token)
        if opened is None:
            raise InvalidToken
        return opened[1]

    def opener(self, token: bytes) -> Root | None:
        """The root that a token is sealed under, or None."""
        opened = _opened(self._known, token) or _opened(self._refreshed(), token)
        return opened and opened[0]

    def renew(self, token: bytes) -> bytes:
        """The token as it must be stored now: sealed anew when a rotation has begun since it was sealed here.

        Raises cryptography.fernet.InvalidToken when no known root opens it.
        """
        known = self._refreshed()
        if len(known) == 1:  # this process has sealed under no other
            return token
        return MultiFernet([root.fernet for root in known]).rotate(token)

    def _refreshed(self) -> tuple[Root, ...]:
        given = self.source()
        if given != self._given:
            with self._lock:
                known = {root.secret: root for root in self._known}
                in_force = [known.get(secret) or Root.of(secret) for secret in given]
                self._known = (*in_force, *(root for root in self._known if root.secret not in given))
                self._given = given
        return self._known


def _opened(roots: Sequence[Root], token: bytes) -> tuple[Root, bytes] | None:
    for root in roots:
        try:
            return root, root.fernet.decrypt(token)
        except InvalidToken:
            continue
    return None
