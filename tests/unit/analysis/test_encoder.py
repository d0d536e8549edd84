import os
from pathlib import Path

import numpy as np
import pytest

from voice.analysis import encoder as module
from voice.analysis.encoder import OnnxEncoder, available_threads
from voice.analysis.models import verified


@pytest.fixture(scope="module")
def encoder() -> OnnxEncoder:
    model = verified("voice-mini-1")
    return OnnxEncoder(model.path, model.tokenizer, name=model.name, dimensions=model.dimensions, threads=2)


def test_shapes_and_probabilities(encoder: OnnxEncoder) -> None:
    encoded = encoder.encode(["The page is slow.", "", "word " * 900])
    assert encoded.embeddings.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(encoded.embeddings, axis=1), 1, atol=1e-5)
    for probabilities, width in ((encoded.sentiment, 3), (encoded.intent, 5)):
        assert probabilities.shape == (3, width)
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)


def test_no_texts_give_no_rows(encoder: OnnxEncoder) -> None:
    encoded = encoder.encode([])
    assert (encoded.embeddings.shape, encoded.sentiment.shape, encoded.intent.shape) == (
        (0, 384),
        (0, 3),
        (0, 5),
    )


def test_answers_come_in_the_order_of_the_texts(encoder: OnnxEncoder) -> None:
    texts = [f"{'very ' * (40 - n)}slow export number {n}" for n in range(20)]
    together = encoder.encode(texts).embeddings
    alone = np.concatenate([encoder.encode([text]).embeddings for text in texts])
    assert ((together @ alone.T).argmax(1) == np.arange(20)).all()
    assert (together * alone).sum(1).min() > 0.9999


def test_long_texts_are_read_to_their_end(encoder: OnnxEncoder) -> None:
    calm = "The list shows the orders of the day and the name of the office. " * 12
    angry = "This is awful, it crashes and I lost everything, terrible. " * 12
    start, both = encoder.encode([calm, calm + angry]).sentiment
    assert both[0] > start[0] + 0.2


def test_a_long_text_is_the_mean_of_its_chunks(encoder: OnnxEncoder) -> None:
    sentence = "the calendar is slow and the search is broken"
    one, many = encoder.encode([" ".join([sentence] * 14), " ".join([sentence] * 28)]).embeddings
    assert float(one @ many) > 0.98


def test_chunks_are_even_bounded_and_lose_nothing_before_the_bound() -> None:
    assert module._chunks([]) == [[]]
    assert module._chunks(list(range(126))) == [list(range(126))]
    for count in (127, 400, 126 * 24):
        pieces = module._chunks(list(range(count)))
        assert [token for piece in pieces for token in piece] == list(range(count))
        assert max(map(len, pieces)) <= 126
        assert len(pieces[0]) - len(pieces[-1]) < len(pieces)
    assert len(module._chunks(list(range(50_000)))) == 24


def test_threads_follow_the_quota(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(module, "_CGROUP_QUOTA", quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_threads() == 8
    for text, threads in (("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1), ("nonsense", 8)):
        quota.write_text(text)
        assert available_threads() == threads
