"""The taxonomy: list, add, edit, with a preview of how much feedback would move."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from api.deps import Admin, IfMatch, NoQuery, Reading, RuntimeDep, Viewer
from api.schemas.accounts import TopicDefinitionShown, TopicEdit, TopicIn, TopicList
from api.schemas.common import Effect, PreviewQuery
from voice.analysis.topic_editing import (
    create_topic,
    definitions,
    edit_topic,
    find_topic,
    list_topics,
    topic_view,
)
from voice.analysis.topics import TopicDefinition
from voice.db.tables import Topic
from voice.errors import Invalid
from voice.pipeline import preview_topics
from voice.runtime import Runtime

router = APIRouter(prefix="/v1/topics", tags=["topics"])

Preview = Annotated[PreviewQuery, Query()]


@router.get("", operation_id="listTopics", dependencies=[NoQuery])
def get_topics(principal: Viewer, session: Reading) -> TopicList:
    """Every topic that is in use."""
    found = [topic_view(topic) for topic in list_topics(session, principal.project_id)]
    return TopicList.model_validate({"items": found})


@router.get("/{topic_id}", operation_id="getTopic", dependencies=[NoQuery])
def get_topic(topic_id: str, principal: Viewer, session: Reading, response: Response) -> TopicDefinitionShown:
    """One topic."""
    return _shown(find_topic(session, principal.project_id, _plain(topic_id)), response)


@router.post("", status_code=201, operation_id="createTopic", responses={200: {"model": Effect}})
def post_topic(
    given: TopicIn, query: Preview, principal: Admin, runtime: RuntimeDep, response: Response
) -> TopicDefinitionShown | Effect:
    """Add a topic. Stored feedback is scored against it in the background."""
    if query.preview:
        response.status_code = 200
        draft = TopicDefinition(given.id, given.name, given.description, tuple(given.examples))
        return _effect(runtime, principal.project_id, draft)
    with runtime.database.write() as session:
        topic = create_topic(
            session, principal.project_id, given.model_dump(), actor=principal.actor, now=runtime.clock()
        )
    runtime.doorbell.ring("retopic", project=principal.project_id)
    return _shown(topic, response)


@router.patch("/{topic_id}", operation_id="editTopic")
def patch_topic(
    topic_id: str,
    edit: TopicEdit,
    query: Preview,
    principal: Admin,
    runtime: RuntimeDep,
    version: IfMatch,
    response: Response,
) -> TopicDefinitionShown | Effect:
    """Change a topic, or archive it. Stored feedback is scored again in the background."""
    changes = edit.changes()
    if not changes:
        raise Invalid.field("name", "give at least one of name, description, examples, archived")
    if query.preview:
        with runtime.database.read() as session:
            shown = topic_view(find_topic(session, principal.project_id, _plain(topic_id))) | changes
        draft = TopicDefinition(shown["id"], shown["name"], shown["description"], tuple(shown["examples"]))
        return _effect(runtime, principal.project_id, draft, archived=shown["archived"])
    with runtime.database.write() as session:
        topic = find_topic(session, principal.project_id, _plain(topic_id))
        edit_topic(session, topic, changes, version=version, actor=principal.actor, now=runtime.clock())
    runtime.doorbell.ring("retopic", project=principal.project_id)
    return _shown(topic, response)


def _plain(topic_id: str) -> str:
    return topic_id.replace("\0", "")


def _effect(runtime: Runtime, project_id: str, draft: TopicDefinition, *, archived: bool = False) -> Effect:
    with runtime.database.read() as session:
        present = definitions(list_topics(session, project_id))
    others = [topic for topic in present if topic.id != draft.id]
    wanted = others if archived else [*others, draft]
    moved, looked_at = preview_topics(runtime.database, runtime.analyser, project_id, wanted)
    return Effect(feedback=moved, details={"looked_at": looked_at})


def _shown(topic: Topic, response: Response) -> TopicDefinitionShown:
    shown: dict[str, Any] = topic_view(topic)
    response.headers["ETag"] = f'"{topic.revision}"'
    return TopicDefinitionShown.model_validate(shown)
