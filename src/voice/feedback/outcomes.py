"""Why a submission stopped where it did."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["stored", "duplicate", "updated"]


@dataclass(frozen=True, slots=True)
class Stored:
    """The fate of one accepted submission."""

    id: str
    outcome: Outcome
