"""Feedback as a file, streamed."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from api.deps import RuntimeDep, Viewer
from api.routes.views import resolved_filter
from api.schemas.export import ExportQuery
from voice.accounts import may
from voice.errors import Forbidden
from voice.exports import Export, filename, stream

router = APIRouter(prefix="/v1", tags=["feedback"])

MEDIA_TYPES = {"csv": "text/csv; charset=utf-8; header=present", "jsonl": "application/x-ndjson"}
_FILE = {"schema": {"type": "string", "format": "binary"}}


@router.get(
    "/export",
    operation_id="exportFeedback",
    response_class=StreamingResponse,
    responses={200: {"content": {kind.partition(";")[0]: _FILE for kind in MEDIA_TYPES.values()}}},
)
def export_feedback(
    query: Annotated[ExportQuery, Query()], principal: Viewer, runtime: RuntimeDep
) -> StreamingResponse:
    """Feedback that passes the filters as CSV or JSONL, the newest arrival first; recorded as an event.

    An answer that breaks off before its end is a file that must be thrown away: the connection is cut without the
    last chunk, so a client that checks notices.
    """
    if query.authors and not may(principal.role, "administer"):
        raise Forbidden(f"a key with the role {principal.role} may not export authors")
    with runtime.database.read() as session:
        export = Export(
            principal.project_id,
            resolved_filter(session, principal.project_id, query, status=tuple(query.status)),
            query=query.q,
            format=query.format,
            authors=query.authors,
            bom=query.bom,
        )
        name = filename(session, export, now=runtime.clock())
    body = stream(runtime.database, runtime.secrets, export, actor=principal.actor, clock=runtime.clock)
    return StreamingResponse(
        body,
        media_type=MEDIA_TYPES[query.format],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
