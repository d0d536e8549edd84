"""People: everything kept of one author, its erasure, and listening to somebody again."""

from fastapi import APIRouter

from api.deps import Admin, Committing, NoQuery, RuntimeDep
from api.routes.views import items
from api.schemas.feedback import Allowed, ErasureProof, PersonExport, PersonIn
from voice.db.dialects import CHUNK
from voice.people import allow, erase, export, find_people

router = APIRouter(prefix="/v1/people", tags=["people"])


@router.post("/export", operation_id="exportPerson", dependencies=[NoQuery])
def export_person(who: PersonIn, principal: Admin, runtime: RuntimeDep) -> PersonExport:
    """Everything kept of one person. The reading itself is recorded, before anything is answered."""
    project_id = principal.project_id
    with runtime.database.write() as session:
        people = find_people(session, runtime.secrets, project_id, author_id=who.author_id, email=who.email)
        found = export(
            session,
            runtime.secrets,
            project_id,
            people.ids,
            actor=principal.actor,
            now=runtime.clock(),
        )
    shown = []
    for start in range(0, len(found["feedback"]), CHUNK):
        with runtime.database.read() as session:
            shown += items(session, runtime, project_id, found["feedback"][start : start + CHUNK])
    return PersonExport.model_validate({"people": found["people"], "feedback": shown})


@router.post("/erase", operation_id="erasePerson", dependencies=[NoQuery])
def erase_person(who: PersonIn, principal: Admin, runtime: RuntimeDep) -> ErasureProof:
    """Erase one person and all they said, trends included, and store it never again; answered when finished."""
    proof = erase(
        runtime.database,
        runtime.secrets,
        principal.project_id,
        author_id=who.author_id,
        email=who.email,
        actor=principal.actor,
        clock=runtime.clock,
    )
    return ErasureProof.model_validate(proof)


@router.post("/allow", operation_id="allowPerson", dependencies=[NoQuery])
def allow_person(who: PersonIn, principal: Admin, session: Committing, runtime: RuntimeDep) -> Allowed:
    """Listen again to a person who was erased and asks to be heard. What was erased does not come back."""
    answer = allow(
        session,
        runtime.secrets,
        principal.project_id,
        author_id=who.author_id,
        email=who.email,
        actor=principal.actor,
        now=runtime.clock(),
    )
    return Allowed.model_validate(answer)
