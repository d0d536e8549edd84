import pytest

from voice.analysis.analyser import Analyser
from voice.analysis.models import load_analyser
from voice.analysis.topics import TopicSpace, load_taxonomy


@pytest.fixture(scope="session")
def analyser() -> Analyser:
    return load_analyser(threads=2)


@pytest.fixture(scope="session")
def space(analyser: Analyser) -> TopicSpace:
    return TopicSpace(load_taxonomy(), analyser.embed)
