"""Why a submission stopped where it did."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["stored", "duplicate", "updated", "erased"]


@dataclass(frozen=True, slots=True)
class Stored:
    """The fate of one accepted submission. Without an id: its author or itself was erased, and nothing is kept."""

    id: str | None
    outcome: Outcome
