"""Projects, keys, topics and the state of the service on the wire."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from typing_extensions import TypeAliasType

from api.schemas.common import Shown, Strict, Value
from voice.feedback.submission import Slug

SchemaState = TypeAliasType("SchemaState", Literal["ok", "newer"])
Role = TypeAliasType("Role", Literal["widget", "ingest", "viewer", "triager", "admin"])
Prose = Annotated[str, StringConstraints(max_length=2_000, pattern=r"^[^\x00]*$")]
TopicName = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"^[^\x00]*$")]
Example = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class Me(Shown):
    key: str
    role: Role
    project: str
    project_name: str


class ProjectShown(Shown):
    slug: str
    name: str
    created_at: str
    evaluated_at: str | None


class ProjectList(Shown):
    items: list[ProjectShown]
    next: None = None


class KeyIn(Strict):
    role: Role
    name: Value = "key"
    origins: list[Value] = Field(default_factory=list, max_length=50)


class KeyShown(Shown):
    id: str
    role: Role
    name: str
    prefix: str
    origins: list[str]
    created_at: str
    revoked_at: str | None
    last_used_at: str | None


class NewKey(KeyShown):
    key: str = Field(description="Shown this once.")


class KeyList(Shown):
    items: list[KeyShown]
    next: None = None


class TopicIn(Strict):
    id: Slug
    name: TopicName
    description: Prose
    examples: list[Example] = Field(min_length=1, max_length=100)


class TopicEdit(Strict):
    name: TopicName | None = None
    description: Prose | None = None
    examples: list[Example] | None = Field(default=None, min_length=1, max_length=100)
    archived: bool | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that were given a value."""
        return {k: v for k, v in self.model_dump(include=self.model_fields_set).items() if v is not None}


class TopicDefinitionShown(Shown):
    id: str
    name: str
    description: str
    examples: list[str]
    archived: bool
    version: int


class TopicList(Shown):
    items: list[TopicDefinitionShown]
    next: None = None


class Status(Shown):
    pending: int
    dead: int
    oldest_pending_seconds: float
    writer_waiting: int
    evaluated_at: str | None
    evaluations: list["EvaluationShown"]


class EvaluationShown(Shown):
    as_of: str
    started_at: str
    finished_at: str | None
    error: str | None


class Health(Shown):
    status: Literal["ok"]


class Readiness(Shown):
    status: Literal["ready"]
    database: Literal["ok"]
    migrations: SchemaState
    writer: Literal["ok"]
