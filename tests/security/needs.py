"""What each operation of the contract needs, and what each role may: the one table that the tests of permissions share.

A new operation fails test_permissions.py until NEEDS says what it needs, and test_projects.py until its body is attacked.
"""

from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

from tests.api.contract import contract

PUBLIC, SIGNED = "public", "signed"
NEEDS = {
    "postFeedback": "write",
    "postFeedbackBatch": "write_batch",
    "deliver": SIGNED,
    "listFeedback": "view",
    "getFeedback": "view",
    "exportFeedback": "view",
    "listDead": "view",
    "listThemes": "view",
    "getTheme": "view",
    "getTrends": "view",
    "listTopics": "view",
    "getTopic": "view",
    "listSources": "view",
    "getMe": "view",
    "listProjects": "view",
    "listAudit": "view",
    "getStatus": "view",
    "correctAnalysis": "triage",
    "editTheme": "triage",
    "mergeTheme": "triage",
    "splitTheme": "triage",
    "moveFeedback": "triage",
    "undoEvent": "triage",
    "replayDead": "administer",
    "createTopic": "administer",
    "editTopic": "administer",
    "createSource": "administer",
    "rotateSourceSecret": "administer",
    "exportPerson": "administer",
    "erasePerson": "administer",
    "allowPerson": "administer",
    "listKeys": "administer",
    "createKey": "administer",
    "revokeKey": "administer",
    "getHealth": PUBLIC,
    "getReadiness": PUBLIC,
    "getMetrics": PUBLIC,
}
ACTS = {
    "widget": {"write"},
    "ingest": {"write", "write_batch"},
    "viewer": {"view"},
    "triager": {"view", "triage"},
    "admin": {"write", "write_batch", "view", "triage", "administer"},
}
OPERATIONS = [
    (method, path, operation["operationId"]) for (method, path), operation in contract().operations.items()
]


def ask(api: TestClient, method: str, path: str, authorization: str | None, **sent: Any) -> Response:
    """Ask as somebody else than the client's own admin."""
    headers = {} if authorization is None else {b"Authorization": authorization.encode("latin-1")}
    asked = api.build_request(method, path, headers=headers, **sent)  # type: ignore[arg-type]
    if authorization is None:
        del asked.headers["Authorization"]
    return api.send(asked)
