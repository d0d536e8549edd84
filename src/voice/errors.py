"""Errors that carry what the caller may be told; each edge turns them into its own form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault in the input: the dotted path of the field and what to do about it."""

    field: str
    message: str


class VoiceError(Exception):
    """Base of every error that Voice raises on purpose."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)


class Invalid(VoiceError):
    """The input breaks the contract; `errors` names each field."""

    status = 422
    title = "Invalid input"

    @classmethod
    def field(cls, field: str, message: str) -> "Invalid":
        return cls(f"{field}: {message}", errors=[FieldError(field, message)])


class Unauthenticated(VoiceError):
    status = 401
    title = "No valid key"


class Forbidden(VoiceError):
    status = 403
    title = "Not allowed"


class NotFound(VoiceError):
    status = 404
    title = "Not found"


class Moved(VoiceError):
    """The thing lives on under another id."""

    status = 308
    title = "Moved"

    def __init__(self, survivor: str) -> None:
        super().__init__(f"merged into {survivor}")
        self.survivor = survivor


class Conflict(VoiceError):
    status = 409
    title = "Conflict"


class Changed(VoiceError):
    """The version named in If-Match is no longer current; `current` is what it is now."""

    status = 412
    title = "Changed meanwhile"

    def __init__(self, detail: str, *, current: dict[str, Any]) -> None:
        super().__init__(detail)
        self.current = current


class TooLarge(VoiceError):
    status = 413
    title = "Too large"


class Busy(VoiceError):
    """Ask again after `retry_after` seconds. `reason` is for metrics."""

    status = 429
    title = "Too many requests"
    reason: ClassVar[str] = "rate_limit"

    def __init__(self, detail: str, *, retry_after: int) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class QueueFull(Busy):
    """More requests wait for the writer than may wait."""

    reason = "writer_full"


class Unavailable(VoiceError):
    """The database or the writer cannot answer now; nothing was stored."""

    status = 503
    title = "Unavailable"
    reason: ClassVar[str] = "database"
    retry_after = 5


class Overloaded(Unavailable):
    """More requests are being answered than one process takes on."""

    reason = "overloaded"
    retry_after = 1


class ConfigurationError(VoiceError):
    """A setting is missing or contradicts another; the detail says which and what to do."""

    title = "Configuration"
