"""People: everything kept of one author, and its erasure."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from api.deps import Admin, Committing, NoQuery, RuntimeDep
from api.routes.views import items
from api.schemas.feedback import ErasureProof, PersonExport, PersonIn
from voice.accounts import Principal
from voice.people import erase, export, person_ids
from voice.runtime import Runtime

router = APIRouter(prefix="/v1/people", tags=["people"])


def _ids(session: Session, runtime: Runtime, principal: Principal, who: PersonIn) -> list[str]:
    return person_ids(
        session, runtime.secrets, principal.project_id, author_id=who.author_id, email=who.email
    )


@router.post("/export", operation_id="exportPerson", dependencies=[NoQuery])
def export_person(who: PersonIn, principal: Admin, session: Committing, runtime: RuntimeDep) -> PersonExport:
    """Everything kept of one person. The reading itself is recorded."""
    people = _ids(session, runtime, principal, who)
    found = export(
        session,
        runtime.secrets,
        principal.project_id,
        people,
        actor=principal.actor,
        now=runtime.clock(),
    )
    shown = items(session, runtime, principal.project_id, found["feedback"])
    return PersonExport.model_validate({"people": found["people"], "feedback": shown})


@router.post("/erase", operation_id="erasePerson", dependencies=[NoQuery])
def erase_person(who: PersonIn, principal: Admin, session: Committing, runtime: RuntimeDep) -> ErasureProof:
    """Erase one person and all they said, trends included; answered when finished."""
    people = _ids(session, runtime, principal, who)
    proof = erase(session, principal.project_id, people, actor=principal.actor, now=runtime.clock())
    return ErasureProof.model_validate(proof)
