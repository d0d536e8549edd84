"""A widget key with web origins is taken from those alone."""

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import refused


@pytest.mark.parametrize(
    ("origin", "status"), [("https://shop.example", 202), ("https://evil.example", 403), (None, 403)]
)
def test_a_widget_key_is_taken_from_its_origins(
    sqlite_client: TestClient, origin: str | None, status: int
) -> None:
    given = {"role": "widget", "origins": ["https://shop.example"]}
    key = sqlite_client.post("/v1/keys", json=given).json()["key"]
    headers = {"Authorization": f"Bearer {key}"} | ({"Origin": origin} if origin is not None else {})
    answer = sqlite_client.post("/v1/feedback", json={"text": "the basket is empty"}, headers=headers)
    assert answer.status_code == status
    if status == 403:
        refused(answer, 403)
