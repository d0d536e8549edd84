"""What several routes show: items with their names, filters with their themes resolved."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from api.schemas.common import FilterQuery
from voice.accounts import Principal
from voice.analysis.topic_editing import topic_names
from voice.people import record_reading
from voice.runtime import Runtime
from voice.search import FeedbackFilter, read_items
from voice.themes.ledger import family, survivors
from voice.themes.queries import theme_names


def items(session: Session, runtime: Runtime, project_id: str, ids: list[str]) -> list[dict[str, Any]]:
    """Feedback items in the order of `ids`."""
    return read_items(
        session,
        project_id,
        ids,
        topics=topic_names(session, project_id),
        themes=theme_names(session, project_id),
        survivors=survivors(session, project_id),
        unseal=runtime.secrets.unseal,
    )


def record_reading_of(runtime: Runtime, principal: Principal, people: Sequence[str]) -> None:
    """Record, before they are answered, that these authors are read."""
    if people:
        with runtime.database.write() as session:
            record_reading(session, principal.project_id, people, actor=principal.actor, now=runtime.clock())


def resolved_filter(
    session: Session, project_id: str, query: FilterQuery, *, status: tuple[str, ...] = ()
) -> FeedbackFilter:
    """The filter with every asked theme widened to its aliases."""
    theme = family(session, project_id, query.theme) if query.theme else ()
    return query.feedback_filter(theme=theme, status=status)
