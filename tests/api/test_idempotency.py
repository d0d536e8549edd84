"""Idempotency-Key: for 24 hours, the same request has the same answer, whoever repeats it and however often."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import ids_of, items, refused, serving
from tests.conftest import make_runtime, new_key
from voice.clock import utc_now
from voice.runtime import Runtime

TOKEN = {"Idempotency-Key": "order-17"}
BODY = {"text": "Charged twice"}


def test_same_body_has_the_first_answer(client: TestClient) -> None:
    first = client.post("/v1/feedback", json=BODY, headers=TOKEN)
    again = client.post("/v1/feedback", json=BODY, headers=TOKEN)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.json()["outcome"] == "stored"
    assert len(items(client)) == 1


def test_other_body_is_refused(client: TestClient) -> None:
    client.post("/v1/feedback", json=BODY, headers=TOKEN)
    answer = client.post("/v1/feedback", json={"text": "Charged thrice"}, headers=TOKEN)
    refused(answer, 422, "Idempotency-Key")
    assert [item["text"] for item in items(client)] == ["Charged twice"]


def test_another_keys_token_is_another_token(client: TestClient, runtime: Runtime) -> None:
    theirs = TOKEN | {"Authorization": f"Bearer {new_key(runtime, 'ingest')}"}
    mine = client.post("/v1/feedback", json=BODY, headers=TOKEN).json()
    other = client.post("/v1/feedback", json={"text": "Else"}, headers=theirs)
    assert other.status_code == 202
    assert ids_of(client) == {mine["id"], other.json()["id"]}


def test_a_refused_request_does_not_take_the_token(sqlite_client: TestClient) -> None:
    refused(sqlite_client.post("/v1/feedback", json={"text": ""}, headers=TOKEN), 422, "text")
    assert sqlite_client.post("/v1/feedback", json=BODY, headers=TOKEN).status_code == 202


def test_at_the_same_time(client: TestClient) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/feedback", json=BODY, headers=TOKEN), range(16)))
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json()["id"] for answer in answers} == ids_of(client)
    assert len(items(client)) == 1


def test_at_the_same_time_through_two_processes(client: TestClient, runtime: Runtime, tmp_path: Path) -> None:
    """A second Runtime on the same database has a writer of its own, as a second API process has."""
    second = make_runtime(runtime.settings.database_url, tmp_path)
    with serving(second, client.headers["Authorization"].removeprefix("Bearer ")) as other:
        for number in range(8):
            token = {"Idempotency-Key": f"t{number}"}
            with ThreadPoolExecutor(4) as pool:
                asked = [
                    pool.submit(one.post, "/v1/feedback", json={"text": f"{number}"}, headers=token)
                    for one in (client, other) * 2
                ]
                answers = [future.result() for future in asked]
            assert [answer.status_code for answer in answers] == [202] * 4, [a.text for a in answers]
            assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(items(client)) == 8


def test_forgotten_after_24_hours(sqlite_client: TestClient, sqlite_runtime: Runtime) -> None:
    sqlite_client.post("/v1/feedback", json=BODY, headers=TOKEN)
    handler = sqlite_client.app.state.voice.writer._handler
    handler._clock = lambda: utc_now() + timedelta(hours=23, minutes=59)
    refused(sqlite_client.post("/v1/feedback", json={"text": "Else"}, headers=TOKEN), 422, "Idempotency-Key")
    handler._clock = lambda: utc_now() + timedelta(hours=24, minutes=1)
    answer = sqlite_client.post("/v1/feedback", json={"text": "Else"}, headers=TOKEN)
    assert answer.json()["outcome"] == "stored"
    assert len(items(sqlite_client)) == 2


@pytest.mark.parametrize("token", ["", "x" * 65, "a b", "tab\there"])
def test_a_token_that_is_none(shared: TestClient, token: str) -> None:
    answer = shared.post("/v1/feedback", json=BODY, headers={"Idempotency-Key": token})
    refused(answer, 422, "idempotency-key")
