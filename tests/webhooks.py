"""Deliveries signed as a sender of Standard Webhooks signs them: written anew, so that the product does not judge itself."""

import base64
import hashlib
import hmac
from datetime import datetime
from uuid import uuid4

from voice.clock import utc_now


def signature(secret: str, delivery_id: str, seconds: str, body: bytes) -> str:
    """What goes into the header `webhook-signature`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{delivery_id}.{seconds}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signed(
    secret: str, body: bytes, *, delivery_id: str | None = None, at: datetime | None = None
) -> dict[str, str]:
    """The three headers of a delivery."""
    delivery_id = delivery_id or f"msg_{uuid4().hex}"
    seconds = str(int((at or utc_now()).timestamp()))
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": seconds,
        "webhook-signature": signature(secret, delivery_id, seconds, body),
    }
