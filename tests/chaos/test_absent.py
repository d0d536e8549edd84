"""While the database is away a client is told to try again, wherever in a request it is missed."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.deps import KeyRing
from tests.chaos.servers import own_postgres
from tests.conftest import make_runtime, new_key

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", ["/v1/feedback", "/v1/feedback/batch"])
@pytest.mark.parametrize("key_is_known", [True, False])
def test_intake_answers_503_while_postgres_is_away(path: str, key_is_known: bool, tmp_path: Path) -> None:
    """A key is looked up for a batch before its body is read, which is outside of every route."""
    with own_postgres() as postgres:
        runtime = make_runtime(postgres.url, tmp_path)
        with TestClient(create_app(runtime=runtime), raise_server_exceptions=False) as client:
            key = new_key(runtime, "ingest")
            client.headers.update({"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
            assert client.post(path, content='{"text": "before"}').is_success
            postgres.stop_at_once()
            if not key_is_known:
                held = client.app.state.voice  # type: ignore[attr-defined]
                held.keys = KeyRing(runtime)
            answer = client.post(path, content='{"text": "meanwhile"}')
            assert (answer.status_code, answer.json()["title"]) == (503, "Unavailable")
            assert int(answer.headers["Retry-After"]) > 0
            postgres.start()
            assert client.post(path, content='{"text": "after"}').is_success
