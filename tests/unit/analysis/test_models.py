import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voice.analysis import models
from voice.errors import ConfigurationError


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    shutil.copytree(models.shipped_folder(), folder)
    monkeypatch.setattr(models, "shipped_folder", lambda: folder)
    models.verified.cache_clear()
    return folder


def test_the_shipped_files_match_the_catalogue() -> None:
    models.verified.cache_clear()
    model = models.verified("voice-mini-1")
    assert model.path.is_file()
    assert model.licence == "Apache-2.0"
    assert "all-MiniLM-L6-v2" in model.base


@pytest.mark.parametrize("name", ["catalogue.toml", "NOTICE"])
def test_what_ships_is_what_the_repository_says(name: str) -> None:
    shipped = models.shipped_folder() / name
    assert shipped.read_text() == (Path(__file__).parents[3] / "models" / name).read_text()


@pytest.mark.parametrize("name", ["voice-mini-1.onnx", "tokenizer.json"])
def test_a_changed_file_is_refused(copied: Path, name: str) -> None:
    with (copied / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ConfigurationError, match=name):
        models.load_analyser()


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / "voice-mini-1.onnx").unlink()
    with pytest.raises(ConfigurationError, match=r"voice-mini-1\.onnx"):
        models.load_analyser()


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="voice-mini-1"):
        models.load_analyser(encoder="voice-maxi-9")


def test_imports_stay_light() -> None:
    script = (
        "import sys; from voice.analysis import analyser, models, records, sentence, topics\n"
        "heavy = {'onnxruntime', 'tokenizers', 'torch', 'transformers', 'sentence_transformers', 'py3langid', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
