"""Who may do what: every operation of the contract × every caller."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.contract import contract
from tests.api.helpers import (
    project_of,
    refused,
)
from tests.conftest import new_key
from tests.security.needs import ACTS, NEEDS, OPERATIONS, PUBLIC, SIGNED, ask
from voice.accounts import ROLES, may, revoke_key
from voice.runtime import Runtime

NOBODY = {
    "no key": None,
    "no scheme": "voice_x",
    "empty": "Bearer ",
    "another scheme": "Basic eDp5",
    "unknown key": "Bearer voice_" + "A" * 43,
    "not ASCII": "Bearer voice_ä",
}


def test_every_operation_says_what_it_needs() -> None:
    assert {name for *_, name in OPERATIONS} == set(NEEDS)


def test_roles_may_what_is_said_here() -> None:
    assert set(ACTS) == set(ROLES)
    acts = set.union(*ACTS.values())
    assert {(role, act) for role in ROLES for act in acts if may(role, act)} == {  # type: ignore[arg-type]
        (role, act) for role, mine in ACTS.items() for act in mine
    }


def test_the_contract_says_which_operations_need_a_key() -> None:
    secured = {o["operationId"] for o in contract().operations.values() if o.get("security")}
    assert secured == {name for name, need in NEEDS.items() if need not in (PUBLIC, SIGNED)}


@pytest.fixture(scope="module")
def keys(installation: Runtime, api: TestClient) -> dict[str, str]:
    found = {role: f"Bearer {new_key(installation, role)}" for role in ROLES}
    revoked = f"Bearer {new_key(installation, 'admin')}"
    key_id = api.get("/v1/me", headers={"Authorization": revoked}).json()["key"]
    with installation.database.write() as session:
        project_id = project_of(installation, "main")
        revoke_key(session, project_id, key_id, actor="test", now=installation.clock())
    api.app.state.voice.keys._known.clear()  # type: ignore[attr-defined]
    return found | {"revoked": revoked}


def hopeless(method: str, path: str) -> tuple[str, dict[str, Any]]:
    """A path with ids of nothing and a body that no operation accepts: whoever is let in changes nothing."""
    url = path.replace("{event_id}", "1").replace("{topic_id}", "nothing")
    for name in ("feedback_id", "theme_id", "key_id", "source_id"):
        url = url.replace(f"{{{name}}}", "0" * 26)
    assert "{" not in url, f"give {path} an id here"
    return url, ({"json": {}} if method in ("POST", "PATCH") else {})


@pytest.mark.parametrize(("method", "path", "name"), OPERATIONS)
def test_every_caller(api: TestClient, keys: dict[str, str], method: str, path: str, name: str) -> None:
    url, sent = hopeless(method, path)
    need = NEEDS[name]
    for caller, authorization in NOBODY.items() | {("revoked", keys["revoked"])}:
        answer = ask(api, method, url, authorization, **sent)
        if need == PUBLIC:
            assert answer.status_code == 200, caller
        else:
            refused(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
    for role in ROLES:
        answer = ask(api, method, url, keys[role], **sent)
        if need == SIGNED:
            refused(answer, 401)
        elif need in ACTS[role] or need == PUBLIC:
            assert answer.status_code not in (401, 403), role
        else:
            refused(answer, 403)
