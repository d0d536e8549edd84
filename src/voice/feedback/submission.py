"""What may be submitted: the wire shape of one feedback, checked the same way for every way in."""

import math
import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    ValidationError,
    model_validator,
)
from typing_extensions import TypeAliasType

from voice.clock import parse_rfc3339, rfc3339
from voice.errors import FieldError

# TypeAliasType gives each enum its name in the OpenAPI file.
Channel = TypeAliasType(
    "Channel",
    Literal[
        "ticket",
        "widget",
        "survey",
        "review",
        "social",
        "community",
        "chat",
        "email",
        "call",
        "interview",
        "file",
        "api",
    ],
)
RatingScale = TypeAliasType("RatingScale", Literal["nps", "csat", "stars", "ces", "thumbs"])

RATING_RANGES: dict[str, tuple[float, float]] = {
    "nps": (0, 10),
    "csat": (1, 5),
    "stars": (1, 5),
    "ces": (1, 7),
    "thumbs": (0, 1),
}
MAX_TEXT, MAX_TITLE = 10_000, 300
FUTURE_ALLOWED = timedelta(minutes=10)
EARLIEST_YEAR, LATEST_YEAR = 1990, 2199
_MAX_METADATA, _MAX_DEPTH = 16_000, 6
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _storable(value: str) -> str:
    if _UNSTORABLE.search(value):
        raise ValueError("holds a NUL or half of a surrogate pair, which no database keeps; remove it")
    return value


def _moment(value: object) -> datetime:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value
    if not isinstance(value, str):
        raise ValueError("must be an RFC 3339 date-time string, such as 2026-05-04T13:30:00Z")  # noqa: TRY004
    moment = parse_rfc3339(value)
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        raise ValueError(f"is not in the years {EARLIEST_YEAR} to {LATEST_YEAR}")
    return moment


def _check_json(value: Any, depth: int = 0) -> int:
    """The rough size of a JSON value; refuses what cannot be stored."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, str):
        return len(_storable(value)) + 2
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("holds a number that JSON does not know (NaN or Infinity)")
    if isinstance(value, int) and abs(value) > 2**63:
        raise ValueError("holds a whole number beyond 64 bits")
    if isinstance(value, dict):
        return sum(_check_json(key, depth) + _check_json(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return sum(_check_json(item, depth + 1) for item in value)
    return 8


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if _check_json(value) > _MAX_METADATA:
        raise ValueError(f"is larger than {_MAX_METADATA} characters")
    return value


def _language(value: str) -> str:
    return value.split("-")[0].lower()


Text = Annotated[str, StringConstraints(max_length=MAX_TEXT), AfterValidator(_storable)]
Title = Annotated[str, StringConstraints(max_length=MAX_TITLE), AfterValidator(_storable)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
ShortWord = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_storable)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_storable)]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Language = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$"), AfterValidator(_language)
]
Moment = Annotated[datetime, BeforeValidator(_moment), PlainSerializer(rfc3339, when_used="json")]


class Author(BaseModel):
    """Who said it; every field is optional."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Word | None = Field(default=None, description="The author's id in your system.")
    name: Word | None = Field(default=None, description="Kept encrypted.")
    email: Word | None = Field(default=None, description="Kept encrypted, found again by a keyed hash.")
    account: Word | None = Field(default=None, description="The customer the author belongs to.")
    segment: ShortWord | None = Field(default=None, description="For example a plan or a country.")


class Submission(BaseModel):
    """One feedback as it is handed in. `text` or `rating` is required."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Text | None = Field(default=None, description="What was said: the verbatim.")
    title: Title | None = None
    channel: Channel = "api"
    source: Slug | None = Field(default=None, description="Made on first use; the channel when not given.")
    external_id: Word | None = Field(
        default=None, description="The id in your system; sent again, it updates."
    )
    response_id: Word | None = Field(default=None, description="The survey response this answer belongs to.")
    thread_id: Word | None = None
    author: Author = Author()
    rating: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    rating_scale: RatingScale | None = None
    created_at: Moment | None = Field(default=None, description="When it was said; now when not given.")
    url: Url | None = None
    version: ShortWord | None = Field(default=None, description="The version of your product.")
    language: Language | None = Field(default=None, description="ISO 639-1; detected when not given.")
    tags: list[ShortWord] = Field(default_factory=list, max_length=50)
    metadata: Annotated[dict[str, Any], AfterValidator(_metadata)] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _absent_lists(cls, given: Any) -> Any:
        """A null list, object or author means it was not given, as for every other field."""
        if isinstance(given, dict):
            optional = ("tags", "metadata", "author", "channel")
            return {key: value for key, value in given.items() if value is not None or key not in optional}
        return given

    @property
    def verbatim(self) -> str | None:
        """The text, or None when it is blank."""
        return self.text if self.text and self.text.strip() else None

    @property
    def source_slug(self) -> str:
        return self.source or self.channel


def faults(submission: Submission, *, now: datetime) -> list[FieldError]:
    """What a well-formed submission still gets wrong."""
    found = []
    if submission.verbatim is None and submission.rating is None:
        found.append(FieldError("text", "required (and not blank) unless a rating is given"))
    if submission.rating is not None:
        if submission.rating_scale is None:
            found.append(FieldError("rating_scale", f"required with a rating: {', '.join(RATING_RANGES)}"))
        else:
            low, high = RATING_RANGES[submission.rating_scale]
            if not low <= submission.rating <= high:
                found.append(
                    FieldError("rating", f"must be {low}–{high} on the scale {submission.rating_scale}")
                )
    if submission.created_at is not None and submission.created_at > now + FUTURE_ALLOWED:
        found.append(FieldError("created_at", "lies more than 10 minutes in the future"))
    return found


def parse_line(line: bytes | str, *, now: datetime) -> Submission | list[FieldError]:
    """One line of NDJSON as a submission, or what is wrong with it."""
    try:
        submission = Submission.model_validate_json(line)
    except ValidationError as error:
        return field_errors(error)
    return faults(submission, now=now) or submission


def parse_record(record: dict[str, Any], *, now: datetime) -> Submission | list[FieldError]:
    """One already decoded record as a submission, or what is wrong with it."""
    try:
        submission = Submission.model_validate(record)
    except ValidationError as error:
        return field_errors(error)
    return faults(submission, now=now) or submission


def field_errors(error: ValidationError) -> list[FieldError]:
    """Pydantic's faults as dotted paths and messages, without the input that caused them."""
    return [
        FieldError(".".join(str(part) for part in fault["loc"]), fault["msg"].removeprefix("Value error, "))
        for fault in error.errors(include_input=False, include_url=False, include_context=False)
    ]


def clean_record(record: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """A pulled or imported record made storable: NULs and lone surrogates removed, text and title cut.

    Returns the record and whether something was cut.
    """
    cleaned = {key: _cleaned(value) for key, value in record.items()}
    cut = False
    for key, longest in (("text", MAX_TEXT), ("title", MAX_TITLE)):
        if isinstance(value := cleaned.get(key), str) and len(value) > longest:
            cleaned[key], cut = value[:longest], True
    return cleaned, cut


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return _UNSTORABLE.sub("", value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value
