"""Every refusal is a problem document (RFC 9457), whatever was sent."""

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import JSON, refused
from tests.conftest import new_key


@pytest.mark.parametrize(
    "path", ["/nope", "/v1", "/v1/nope", "/v1/feedback/x/y", "/docs", "/redoc", "/%2e%2e/etc"]
)
def test_no_such_route(shared: TestClient, path: str) -> None:
    body = refused(shared.get(path), 404)
    assert set(body) == {"type", "title", "status", "detail", "errors"}
    assert (body["type"], body["errors"]) == ("about:blank", [])


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/v1/feedback"), ("PUT", "/v1/me"), ("POST", "/healthz")]
)
def test_no_such_method(shared: TestClient, method: str, path: str) -> None:
    answer = shared.request(method, path)
    refused(answer, 405)
    assert answer.headers["allow"]


@pytest.mark.parametrize(
    "path", ["/v1/feedback", "/v1/keys", "/v1/topics", "/v1/people/export", "/v1/dead/replay"]
)
@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'"text"', b"1", b"{]", b"\x00", b"\xef\xbb\xbf{}", b"// {}"]
)
def test_no_object(shared: TestClient, path: str, content: bytes) -> None:
    body = refused(shared.post(path, content=content, headers=JSON), 422)
    assert body["errors"]
    assert all(error["field"] for error in body["errors"])


UNREADABLE = {
    "invalid UTF-8": b'{"text": "\xff\xfe"}',
    "deep list": b'{"metadata": ' + b"[" * 100_000,
    "deep object": b'{"metadata": ' + b'{"a": ' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    "huge number": b'{"rating": ' + b"9" * 10_000 + b', "rating_scale": "nps"}',
    "UTF-16": '{"text": "a"}'.encode("utf-16")[:-1],
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_unreadable_bodies(shared: TestClient, what: str) -> None:
    answer = shared.post("/v1/feedback", content=UNREADABLE[what], headers=JSON)
    assert answer.status_code in (400, 422)
    refused(answer, answer.status_code)


def test_depth_that_json_can_hold_is_refused_by_name(shared: TestClient) -> None:
    deep = b'{"text": "x", "metadata": ' + b'{"a": ' * 400 + b"1" + b"}" * 401
    refused(shared.post("/v1/feedback", content=deep, headers=JSON), 422, "metadata")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/xml", "multipart/form-data", "", "application/json; charset=latin-1"],
)
def test_other_content_types(shared: TestClient, content_type: str) -> None:
    answer = shared.post(
        "/v1/feedback", content=b'{"text": "x", "colour": 1}', headers={"Content-Type": content_type}
    )
    refused(answer, 422)


QUERYLESS = [
    "/v1/me",
    "/v1/projects",
    "/v1/keys",
    "/v1/status",
    "/v1/topics",
    "/healthz",
    "/readyz",
    "/metrics",
]


@pytest.mark.parametrize("path", QUERYLESS)
def test_queries_where_none_is_known(shared: TestClient, path: str) -> None:
    refused(shared.get(f"{path}?colour=red&x=%00"), 422, "colour", "x")


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/dead", "/v1/themes", "/v1/trends", "/v1/audit"])
def test_unknown_queries_beside_known_ones(shared: TestClient, path: str) -> None:
    refused(shared.get(f"{path}?limit=1&colour=red"), 422, "colour")


def test_a_key_that_may_not_learns_nothing_else(shared: TestClient) -> None:
    """Who may not ask is told so before the body is looked at."""
    theirs = {"Authorization": f"Bearer {new_key(shared.app.state.voice.runtime, 'viewer')}"}
    assert refused(shared.post("/v1/keys", json={"role": 1}, headers=theirs), 403)["errors"] == []
    assert (
        refused(shared.post("/v1/keys", json={"role": 1}, headers={"Authorization": ""}), 401)["errors"] == []
    )


def test_both_slashes_lead_to_one_route(shared: TestClient) -> None:
    assert shared.get("/v1/feedback/", follow_redirects=False).status_code == 307
    assert shared.get("/v1/feedback/").status_code == 200
