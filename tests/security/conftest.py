"""What the security tests share: an installation with models that answer at once, and an API on it."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.api.helpers import serving
from tests.conftest import make_runtime, new_key
from tests.fakes import FakeAnalyser
from tests.security.wire import served
from tests.services import postgres_database
from voice.analysis.topics import load_taxonomy
from voice.runtime import Runtime

_taxonomy = cache(load_taxonomy)


@pytest.fixture(scope="module")
def fake_models() -> Iterator[None]:
    """Every Runtime of the module reads with stand-ins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voice.runtime.load_analyser", lambda **_: FakeAnalyser())
        patch.setattr("voice.runtime.load_taxonomy", _taxonomy)
        yield


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def installation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, fake_models: None
) -> Iterator[Runtime]:
    """A migrated installation on each database, for a module's tests that do not mind each other."""
    folder = tmp_path_factory.mktemp("installation")
    if request.param == "sqlite":
        yield from _opened(f"sqlite:///{folder / 'voice.db'}", folder)
    else:
        with postgres_database() as url:
            yield from _opened(url, folder)


def _opened(url: str, folder: Path) -> Iterator[Runtime]:
    live = make_runtime(url, folder, widget_per_minute=1_000_000)
    yield live
    live.close()


@pytest.fixture(scope="module")
def api(installation: Runtime) -> Iterator[TestClient]:
    """The API on the installation, asked with an admin's key."""
    with serving(installation, new_key(installation, "admin")) as client:
        yield client


@pytest.fixture(scope="module")
def served_runtime(tmp_path_factory: pytest.TempPathFactory, fake_models: None) -> Iterator[Runtime]:
    """A migrated installation that is served on a port."""
    folder = tmp_path_factory.mktemp("served")
    live = make_runtime(f"sqlite:///{folder / 'voice.db'}", folder)
    yield live
    live.close()


@pytest.fixture(scope="module")
def key(served_runtime: Runtime) -> str:
    """An admin's key of it."""
    return new_key(served_runtime, "admin")


@pytest.fixture(scope="module")
def port(served_runtime: Runtime) -> Iterator[int]:
    """The port of its server."""
    with served(served_runtime) as port:
        yield port
