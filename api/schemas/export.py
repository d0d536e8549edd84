"""What an export asks for."""

from typing import Literal

from pydantic import Field
from typing_extensions import TypeAliasType

from api.schemas.common import FeedbackStatus, FilterQuery, Keywords

ExportFormat = TypeAliasType("ExportFormat", Literal["csv", "jsonl"])


class ExportQuery(FilterQuery):
    status: list[FeedbackStatus] = []
    q: Keywords | None = Field(default=None, description="Every word must occur.")
    format: ExportFormat = "csv"
    authors: bool = Field(default=False, description="With who said it; for an administrator's key.")
    bom: bool = Field(default=False, description="Begin the CSV with a byte-order mark, as Excel wants it.")
