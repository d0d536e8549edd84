"""Signed deliveries: who sent these bytes, when, and is that true?"""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from voice.errors import Unauthenticated


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a sender signs: HMAC-SHA256 over `signed`, in Base64 after `version`; several signatures have blanks between.

    `signed` is filled with the `id`, the `timestamp` (Unix seconds) and the raw `body`.
    """

    id_header: str
    timestamp_header: str
    signature_header: str
    signed: bytes
    version: str
    secret_prefix: str
    tolerance: timedelta


STANDARD = Scheme(
    id_header="webhook-id",
    timestamp_header="webhook-timestamp",
    signature_header="webhook-signature",
    signed=b"%(id)b.%(timestamp)b.%(body)b",
    version="v1,",
    secret_prefix="whsec_",  # nosec B106  # the public mark of such secrets
    tolerance=timedelta(minutes=5),
)
"""Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md)."""

# Without a full stop, which separates what is signed: an id that holds one could be read as another id and time.
_ID = re.compile(r"[!-\-/-~]{1,200}")
_SECONDS = re.compile(r"[0-9]{1,12}")
_MOST_SIGNATURES = 20


class BadSignatureError(Unauthenticated):
    """Not signed as this source signs. It never says what was wrong: that would help only who is guessing."""

    title = "Not signed"

    def __init__(self) -> None:
        super().__init__("the delivery is not signed as this source signs, or not now")


def verify(
    scheme: Scheme, headers: Mapping[str, str], body: bytes, secrets: Sequence[str], *, now: datetime
) -> str:
    """The delivery's id, once one of the signatures was made with one of the secrets within the tolerance.

    Raises BadSignatureError for everything else: a header that is missing or malformed, no secret, an old or a future
    moment, other bytes.
    """
    delivery_id = headers.get(scheme.id_header, "")
    seconds = headers.get(scheme.timestamp_header, "")
    given = headers.get(scheme.signature_header, "")
    if not _ID.fullmatch(delivery_id) or not _SECONDS.fullmatch(seconds):
        raise BadSignatureError
    parts = {b"id": delivery_id.encode(), b"timestamp": seconds.encode(), b"body": body}
    content = scheme.signed % parts
    expected = [_sign(scheme, secret, content) for secret in secrets]
    offered = [
        one.removeprefix(scheme.version).encode()
        for one in given.split(" ")[:_MOST_SIGNATURES]
        if one.startswith(scheme.version)
    ]
    # Every pair is compared, so that the time it takes says nothing about which one was right.
    matches = [hmac.compare_digest(one, other) for one in offered for other in expected]
    age = abs(now.timestamp() - int(seconds))
    if not any(matches) or age > scheme.tolerance.total_seconds():
        raise BadSignatureError
    return delivery_id


def _sign(scheme: Scheme, secret: str, content: bytes) -> bytes:
    key = base64.b64decode(secret.removeprefix(scheme.secret_prefix), validate=True)
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest())
