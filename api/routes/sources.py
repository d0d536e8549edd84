"""Where feedback comes from, and the webhooks among them."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter

from api.deps import Admin, Committing, NoQuery, Reading, RuntimeDep, Viewer
from api.schemas.sources import RotateIn, SourceIn, SourceList, SourceSecret
from voice.clock import rfc3339
from voice.db.tables import Source
from voice.ids import known_form
from voice.runtime import Runtime
from voice.sources.webhooks import WEBHOOK, create_webhook, list_sources, rotate_secret

router = APIRouter(prefix="/v1/sources", tags=["sources"])


def _shown(source: Source, runtime: Runtime) -> dict[str, Any]:
    return {
        "id": source.id,
        "slug": source.slug,
        "channel": source.channel,
        "kind": source.kind,
        "created_at": rfc3339(source.created_at),
        "address": f"{runtime.settings.url}/v1/hooks/{source.id}" if source.kind == WEBHOOK else None,
    }


@router.get("", operation_id="listSources", dependencies=[NoQuery])
def get_sources(principal: Viewer, session: Reading, runtime: RuntimeDep) -> SourceList:
    """Every source of the project, without its secret."""
    found = [_shown(source, runtime) for source in list_sources(session, principal.project_id)]
    return SourceList.model_validate({"items": found})


@router.post("", status_code=201, operation_id="createSource", dependencies=[NoQuery])
def post_source(given: SourceIn, principal: Admin, session: Committing, runtime: RuntimeDep) -> SourceSecret:
    """A webhook source; the secret it signs with is in this answer and nowhere else."""
    source, secret = create_webhook(
        session,
        runtime.secrets,
        project_id=principal.project_id,
        slug=given.slug,
        channel=given.channel,
        actor=principal.actor,
        now=runtime.clock(),
    )
    return SourceSecret.model_validate({**_shown(source, runtime), "secret": secret})


@router.post("/{source_id}/rotate", operation_id="rotateSourceSecret", dependencies=[NoQuery])
def rotate_source(
    source_id: str, asked: RotateIn, principal: Admin, session: Committing, runtime: RuntimeDep
) -> SourceSecret:
    """A new signing secret. The one until now stays valid for a day, or for as long as is said."""
    source, secret = rotate_secret(
        session,
        runtime.secrets,
        project_id=principal.project_id,
        source_id=known_form(source_id, what="source"),
        grace=timedelta(hours=asked.grace_hours),
        actor=principal.actor,
        now=runtime.clock(),
    )
    return SourceSecret.model_validate({**_shown(source, runtime), "secret": secret})
