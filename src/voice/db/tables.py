"""Every table. Classes are *tables*; wire shapes are schemas, learned things are models."""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ID = String(26)
Json = dict[str, Any]

PENDING, CLAIMED, ANALYSED, DEAD = 0, 1, 2, 3
STATUS_NAMES = {PENDING: "pending", CLAIMED: "pending", ANALYSED: "analysed", DEAD: "dead"}


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out, whatever the database keeps."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        Json: JSON,
        list[str]: JSON,
        bytes: LargeBinary,
    }


class Project(Base):
    """One product that is listened to."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    slug: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime]
    evaluated_at: Mapped[datetime | None]
    removals: Mapped[int] = mapped_column(Integer, default=0, server_default="0")


class Key(Base):
    """An API key: only its prefix (for look-up) and its SHA-256 are kept."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    role: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(200))
    prefix: Mapped[str] = mapped_column(String(16), unique=True)
    hash: Mapped[str] = mapped_column(String(64))
    origins: Mapped[list[str]]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Event(Base):
    """Something that changed: who, what, before, after; appended in the transaction of the change."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_project", "project_id", "id"),
        Index("ix_events_subject", "subject_id", "id"),
    )
    id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    kind: Mapped[str] = mapped_column(String(40))
    subject_id: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    as_of: Mapped[datetime]
    before: Mapped[Json]
    after: Mapped[Json]
    undone_by: Mapped[int | None] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))


class Source(Base):
    """A named place that feedback comes from."""

    __tablename__ = "sources"
    __table_args__ = (Index("ux_sources_slug", "project_id", "slug", unique=True),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    slug: Mapped[str] = mapped_column(String(64))
    channel: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime]
    kind: Mapped[str | None] = mapped_column(String(32))
    secret: Mapped[bytes | None]


class Person(Base):
    """An author. The key is a keyed hash; what identifies the person is sealed (encrypted)."""

    __tablename__ = "people"
    __table_args__ = (Index("ix_people_email", "project_id", "email_key"),)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    email_key: Mapped[str | None] = mapped_column(String(32))
    sealed: Mapped[bytes]


class PersonEmail(Base):
    """Every e-mail address, as a keyed hash, that an author was ever seen with."""

    __tablename__ = "person_emails"
    __table_args__ = (Index("ix_person_emails_key", "project_id", "email_key"),)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    person_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    email_key: Mapped[str] = mapped_column(String(32), primary_key=True)


class Erasure(Base):
    """An erasure that was asked for: whom it is about as keyed hashes, what it reached, and when it was finished."""

    __tablename__ = "erasures"
    __table_args__ = (Index("ix_erasures_project", "project_id", "id"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    people: Mapped[list[str]]
    actor: Mapped[str] = mapped_column(String(64))
    asked_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    reached: Mapped[Json]


class Suppression(Base):
    """A keyed hash (of an author's id or e-mail, or of an item's id at its source) that is never stored again."""

    __tablename__ = "suppressions"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime]


class Feedback(Base):
    """One stored piece; text, title, tags, URL and metadata are redacted before they come here."""

    __tablename__ = "feedback"
    __table_args__ = (
        Index(
            "ux_feedback_external",
            "project_id",
            "source_id",
            "external_id",
            unique=True,
            sqlite_where=text("external_id IS NOT NULL"),
            postgresql_where=text("external_id IS NOT NULL"),
        ),
        Index("ix_feedback_open", "id", sqlite_where=text("status < 2"), postgresql_where=text("status < 2")),
        Index(
            "ix_feedback_dead",
            "project_id",
            "id",
            sqlite_where=text("status = 3"),
            postgresql_where=text("status = 3"),
        ),
        Index("ix_feedback_created", "project_id", "created_at", "id"),
        Index("ix_feedback_age", "project_id", "channel", "created_at"),
        Index("ix_feedback_person", "project_id", "person_id"),
        Index("ix_feedback_response", "project_id", "source_id", "response_id"),
    )
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    source_id: Mapped[str] = mapped_column(ForeignKey("sources.id"))
    channel: Mapped[str] = mapped_column(String(16))
    external_id: Mapped[str | None] = mapped_column(String(200))
    response_id: Mapped[str | None] = mapped_column(String(200))
    thread_id: Mapped[str | None] = mapped_column(String(200))
    person_id: Mapped[str | None] = mapped_column(String(32))
    account: Mapped[str | None] = mapped_column(String(200))
    segment: Mapped[str | None] = mapped_column(String(64))
    title: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    rating: Mapped[float | None] = mapped_column(Float)
    rating_scale: Mapped[str | None] = mapped_column(String(8))
    rating_counts: Mapped[bool] = mapped_column(Boolean)
    created_at: Mapped[datetime]
    received_at: Mapped[datetime]
    url: Mapped[str | None] = mapped_column(Text)
    version: Mapped[str | None] = mapped_column(String(64))
    stated_language: Mapped[str | None] = mapped_column(String(16))
    tags: Mapped[list[str]]
    meta: Mapped[Json] = mapped_column("metadata", JSON)
    truncated: Mapped[bool] = mapped_column(Boolean)
    redacted: Mapped[Json]
    redactor: Mapped[str] = mapped_column(String(32))
    content_hash: Mapped[str] = mapped_column(String(32))
    status: Mapped[int] = mapped_column(SmallInteger, default=PENDING)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    alone: Mapped[bool] = mapped_column(Boolean, default=False)
    lease_until: Mapped[int | None] = mapped_column(BigInteger)
    lease_token: Mapped[str | None] = mapped_column(ID)
    last_error: Mapped[str | None] = mapped_column(String(300))
    sent_by: Mapped[str | None] = mapped_column(String(64))
    trace: Mapped[str | None] = mapped_column(String(55))


class Response(Base):
    """Which feedback of a survey response carries its rating, so that it counts once."""

    __tablename__ = "responses"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    response_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    feedback_id: Mapped[str] = mapped_column(ID)


class Analysis(Base):
    """What models, or the people who corrected them, say of one feedback; what of it is counted in trends."""

    __tablename__ = "analyses"
    __table_args__ = (Index("ix_analyses_theme", "project_id", "theme_id", "feedback_id"),)
    feedback_id: Mapped[str] = mapped_column(ForeignKey("feedback.id", ondelete="CASCADE"), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    sentiment: Mapped[str | None] = mapped_column(String(8))
    score: Mapped[int | None] = mapped_column(Integer)
    confidence: Mapped[float | None] = mapped_column(Float)
    unsure: Mapped[bool] = mapped_column(Boolean)
    mixed: Mapped[bool] = mapped_column(Boolean)
    intent: Mapped[str | None] = mapped_column(String(16))
    urgency: Mapped[str | None] = mapped_column(String(16))
    urgency_reasons: Mapped[list[str]]
    aspects: Mapped[list[Json]] = mapped_column(JSON)
    language: Mapped[str | None] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(String(120))
    embedding: Mapped[bytes | None]
    encoder: Mapped[str | None] = mapped_column(String(120))
    theme_id: Mapped[str | None] = mapped_column(ID)
    theme_by: Mapped[str] = mapped_column(String(8), default="model")
    theme_score: Mapped[float | None] = mapped_column(Float)
    counted: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    analysed_at: Mapped[datetime]


class FeedbackTopic(Base):
    """A topic of one feedback."""

    __tablename__ = "feedback_topics"
    __table_args__ = (Index("ix_feedback_topics_topic", "topic_id", "feedback_id"),)
    feedback_id: Mapped[str] = mapped_column(ForeignKey("feedback.id", ondelete="CASCADE"), primary_key=True)
    topic_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    score: Mapped[float] = mapped_column(Float)


class Correction(Base):
    """ "The model said, I say": one field of one feedback; the newest one stands and outranks every later model."""

    __tablename__ = "corrections"
    __table_args__ = (Index("ix_corrections_feedback", "feedback_id", "field"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    feedback_id: Mapped[str] = mapped_column(ForeignKey("feedback.id", ondelete="CASCADE"))
    field: Mapped[str] = mapped_column(String(16))
    model_said: Mapped[Json]
    person_says: Mapped[Json]
    actor: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime]
    withdrawn: Mapped[bool] = mapped_column(Boolean, default=False)


class Topic(Base):
    """A node of the editable taxonomy; its id is a slug that people choose."""

    __tablename__ = "topics"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    description: Mapped[str] = mapped_column(Text)
    examples: Mapped[list[str]]
    archived: Mapped[bool] = mapped_column(Boolean, default=False)
    revision: Mapped[int] = mapped_column(Integer, default=1)
    updated_at: Mapped[datetime]


class Theme(Base):
    """A cluster people can name, with one identity for life.

    A merged theme stays as an alias: `merged_into` always names the survivor itself, never another alias.
    """

    __tablename__ = "themes"
    __table_args__ = (Index("ix_themes_project", "project_id", "merged_into"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(200))
    name_source: Mapped[str] = mapped_column(String(8), default="machine")
    name_doubts: Mapped[int] = mapped_column(SmallInteger, default=0)
    named_size: Mapped[int] = mapped_column(Integer, default=0)
    keywords: Mapped[list[str]]
    quotes: Mapped[list[str]]
    status: Mapped[str] = mapped_column(String(16), default="new")
    severity: Mapped[str | None] = mapped_column(String(2))
    owner: Mapped[str | None] = mapped_column(String(200))
    centroid: Mapped[bytes | None]
    threshold: Mapped[float] = mapped_column(Float)
    encoder: Mapped[str] = mapped_column(String(120))
    algorithm: Mapped[str] = mapped_column(String(64))
    pinned: Mapped[bool] = mapped_column(Boolean, default=False)
    emerging: Mapped[Json | None] = mapped_column(JSON(none_as_null=True))
    merged_into: Mapped[str | None] = mapped_column(ID)
    revision: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[datetime]


class Lineage(Base):
    """How one theme came from another: split, merge or absorption, and the event that did it."""

    __tablename__ = "lineage"
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), primary_key=True)
    parent_id: Mapped[str] = mapped_column(ForeignKey("themes.id"), primary_key=True)
    child_id: Mapped[str] = mapped_column(ForeignKey("themes.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(8))


class Marginal(Base):
    """Integer counts and sums of one value of one dimension in one hour (rating sums are × 100, scores × 10 000)."""

    __tablename__ = "marginals"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    dimension: Mapped[str] = mapped_column(String(16), primary_key=True)
    value: Mapped[str] = mapped_column(String(200), primary_key=True)
    hour: Mapped[int] = mapped_column(Integer, primary_key=True)
    n: Mapped[int] = mapped_column(Integer)
    negative: Mapped[int] = mapped_column(Integer)
    neutral: Mapped[int] = mapped_column(Integer)
    positive: Mapped[int] = mapped_column(Integer)
    score: Mapped[int] = mapped_column(BigInteger)
    ratings: Mapped[int] = mapped_column(Integer)
    rating: Mapped[int] = mapped_column(BigInteger)
    rating_squares: Mapped[int] = mapped_column(BigInteger)
    nps: Mapped[int] = mapped_column(Integer)
    promoters: Mapped[int] = mapped_column(Integer)
    detractors: Mapped[int] = mapped_column(Integer)
    csat: Mapped[int] = mapped_column(Integer)
    satisfied: Mapped[int] = mapped_column(Integer)


class Idempotency(Base):
    """The first answer to a request with an Idempotency-Key, kept for 24 hours."""

    __tablename__ = "idempotency"
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id"), primary_key=True)
    token: Mapped[str] = mapped_column(String(64), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    answer: Mapped[Json]
    at: Mapped[datetime] = mapped_column(index=True)


class Vault(Base):
    """A key that must not change when the root secret does, sealed under the root secret of the day."""

    __tablename__ = "vault"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes]


class WebhookDelivery(Base):
    """A delivery that a webhook has brought, so that a replayed one is refused."""

    __tablename__ = "webhook_deliveries"
    source_id: Mapped[str] = mapped_column(ForeignKey("sources.id"), primary_key=True)
    delivery_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)


class JobRun(Base):
    """One tick of one scheduled job: the unique row lets exactly one worker run it."""

    __tablename__ = "job_runs"
    job: Mapped[str] = mapped_column(String(80), primary_key=True)
    tick: Mapped[str] = mapped_column(String(40), primary_key=True)
    started_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None] = mapped_column(String(300))


class Import(Base):
    """How far a file has been imported, by its fingerprint, so that an import can resume."""

    __tablename__ = "imports"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    rows_done: Mapped[int] = mapped_column(Integer)
    updated_at: Mapped[datetime]
