import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voice.analysis.analyser import Analyser
from voice.analysis.models import load_analyser
from voice.analysis.records import Verbatim
from voice.analysis.topics import TopicSpace, load_taxonomy
from voice.errors import ConfigurationError

WORDS = ("the", "app", "crashes", "every", "time", "i", "love", "it", "great", "add", ".", ",", "!")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer BERT of width 32, saved as transformers saves any model."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("sentence_transformers")
    folder = tmp_path_factory.mktemp("tiny") / "org" / "tiny-bert"
    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hub(tiny: Path) -> Analyser:
    return load_analyser(encoder=str(tiny), device="cpu", threads=2)


def test_the_hub_model_embeds_and_the_shipped_one_judges(
    hub: Analyser, analyser: Analyser, tiny: Path
) -> None:
    verbatims = [
        Verbatim("The app crashes every time I add it."),
        Verbatim("I love it, great app!"),
        Verbatim(""),
    ]
    space = TopicSpace(load_taxonomy(), hub.embed)
    found = hub.read(verbatims, space)
    shipped = analyser.read(verbatims, TopicSpace(load_taxonomy(), analyser.embed))
    assert hub.encoder_name == str(tiny)
    assert hub.version == f"voice-mini-1+{tiny}+topics-1+urgency-1"
    assert [a.embedding.shape for a in found] == [(32,)] * 3
    assert [a.sentiment for a in found] == [a.sentiment for a in shipped]
    assert [a.intent for a in found] == [a.intent for a in shipped]
    np.testing.assert_allclose([np.linalg.norm(a.embedding) for a in found], [1, 1, 0], atol=1e-5)


def test_no_texts(hub: Analyser) -> None:
    assert hub.embed([]).shape == (0, 32)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sentence_transformers"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    analyser = load_analyser(encoder="org/some-model", threads=2)
    with pytest.raises(ValueError, match=r"pip install voice\[torch\]") as caught:
        analyser.embed(["hello there"])
    assert isinstance(caught.value, ConfigurationError)
