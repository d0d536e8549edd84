"""Keys derived from the root secret: one to seal personal fields, one to hash people and contents."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


def _derive(root: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"voice/{purpose}/1".encode()).derive(root)


class Secrets:
    """What may be done with the root secret, without ever showing it."""

    def __init__(self, root: bytes) -> None:
        self._people = _derive(root, "people")
        self._contents = _derive(root, "contents")
        self._fernet = Fernet(base64.urlsafe_b64encode(_derive(root, "seal")))

    def __repr__(self) -> str:
        return "Secrets(…)"

    def person_key(self, project_id: str, kind: str, value: str) -> str:
        """32 hex digits that stand for an author's id or e-mail (case and outer blanks ignored for e-mail)."""
        value = value.strip().casefold() if kind == "email" else value
        message = f"{project_id}\0{kind}\0{value}".encode()
        return hmac.new(self._people, message, hashlib.sha256).hexdigest()[:32]

    def content_hash(self, content: dict[str, Any]) -> str:
        """32 hex digits that tell whether two submissions say the same; keyed, so no text can be guessed from it."""
        message = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
        return hmac.new(self._contents, message, hashlib.sha256).hexdigest()[:32]

    def seal(self, value: dict[str, Any]) -> bytes:
        """Encrypt personal fields (Fernet: AES-128-CBC with HMAC-SHA256)."""
        return self._fernet.encrypt(json.dumps(value, ensure_ascii=False).encode())

    def unseal(self, sealed: bytes) -> dict[str, Any]:
        """What `seal` was given. Raises cryptography.fernet.InvalidToken under another root secret."""
        value: dict[str, Any] = json.loads(self._fernet.decrypt(sealed))
        return value
