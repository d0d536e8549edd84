"""Where the shipped models are, whether they are the ones the catalogue names, and what loads them."""

from __future__ import annotations

import functools
import hashlib
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from voice.errors import ConfigurationError

if TYPE_CHECKING:
    from voice.analysis.analyser import Analyser

DEFAULT = "voice-mini-1"


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the catalogue, with the paths of its files on this machine."""

    name: str
    task: str
    version: str
    licence: str
    base: str
    dimensions: int
    path: Path
    sha256: str
    tokenizer: Path
    tokenizer_sha256: str


def shipped_folder() -> Path:
    """`voice/_models` of an installed wheel, or `models/shipped` of a checkout. Raises ConfigurationError."""
    package = Path(str(files("voice")))
    for folder in (package / "_models", package.parents[1] / "models" / "shipped"):
        if (folder / "catalogue.toml").is_file():
            return folder
    raise ConfigurationError("the shipped models are missing; reinstall voice")


def catalogue() -> dict[str, Model]:
    """Every shipped model by name."""
    folder = shipped_folder()
    entries = tomllib.loads((folder / "catalogue.toml").read_text(encoding="utf-8"))["model"]
    return {
        entry["name"]: Model(
            name=entry["name"],
            task=entry["task"],
            version=entry["version"],
            licence=entry["licence"],
            base=entry["base"],
            dimensions=entry["dimensions"],
            path=folder / entry["file"],
            sha256=entry["sha256"],
            tokenizer=folder / entry["tokenizer"],
            tokenizer_sha256=entry["tokenizer_sha256"],
        )
        for entry in entries
    }


@functools.cache
def verified(name: str) -> Model:
    """A shipped model whose files match the catalogue; checked once per process. Raises ConfigurationError."""
    model = catalogue()[name]
    for path, expected in ((model.path, model.sha256), (model.tokenizer, model.tokenizer_sha256)):
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigurationError(f"cannot read model file {path.name}: {error.strerror}") from error
        if found != expected:
            raise ConfigurationError(
                f"model file {path.name} is not the one in the catalogue; reinstall voice"
            )
    return model


def load_analyser(*, encoder: str = DEFAULT, device: str = "auto", threads: int | None = None) -> Analyser:
    """An analyser on a catalogue model, or on a hub id (an id with a slash, or a local folder).

    `device` is auto, cpu or cuda and matters to hub models; the shipped one runs on the CPU. `threads` is per
    model call, None for every core this process may use. Raises ConfigurationError.
    """
    from voice.analysis.analyser import Analyser
    from voice.analysis.encoder import OnnxEncoder
    from voice.analysis.sentence import HubEncoder

    known = encoder in catalogue()
    if not known and "/" not in encoder:
        names = ", ".join(catalogue())
        raise ConfigurationError(
            f"unknown encoder {encoder!r}: use one of {names}, or a hub id such as org/model"
        )
    model = verified(encoder if known else DEFAULT)
    shipped = OnnxEncoder(
        model.path, model.tokenizer, name=model.name, dimensions=model.dimensions, threads=threads
    )
    return Analyser(shipped if known else HubEncoder(encoder, heads=shipped, device=device))
