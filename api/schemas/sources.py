"""Sources, and what webhooks bring, on the wire."""

from typing import Any, Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from api.schemas.common import Shown, Strict
from api.schemas.feedback import Accepted
from voice.feedback.submission import Channel, Slug

SourceKind = TypeAliasType("SourceKind", Literal["webhook"])
DeliveryOutcome = TypeAliasType("DeliveryOutcome", Literal["accepted", "duplicate delivery"])

MOST_ITEMS = 500


class SourceIn(Strict):
    kind: SourceKind
    slug: Slug
    channel: Channel


class RotateIn(Strict):
    grace_hours: int = Field(
        default=24, ge=0, le=24, description="How long the secret until now stays valid; 0 ends it at once."
    )


class SourceShown(Shown):
    id: str
    slug: str
    channel: str
    kind: SourceKind | None = Field(description="Null for a source that was made by feedback that named it.")
    created_at: str
    address: str | None = Field(description="Where a webhook delivers to.")


class SourceSecret(SourceShown):
    secret: str = Field(description="Shown this once.")


class SourceList(Shown):
    items: list[SourceShown]
    next: None = None


class Delivered(Shown):
    outcome: DeliveryOutcome
    feedback: list[Accepted] = Field(description="In the order of the items; empty for a duplicate delivery.")


_ITEM = {"$ref": "#/components/schemas/Submission"}
DELIVERY_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    _ITEM,
                    {
                        "type": "object",
                        "required": ["items"],
                        "additionalProperties": False,
                        "properties": {
                            "items": {
                                "type": "array",
                                "items": _ITEM,
                                "minItems": 1,
                                "maxItems": MOST_ITEMS,
                            }
                        },
                    },
                ]
            }
        }
    },
}
