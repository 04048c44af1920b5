"""Frozen models on disk: ``models/<name>/<version>/`` with the model and its card, no pickle."""

from __future__ import annotations

import hashlib
import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import skops.io

from aiops.detectors.frozen_model import FrozenModel
from aiops.errors import FileError

TRUSTED = ("sklearn.tree._tree.Tree",)
"""Types besides skops' own list that a model file may hold; skops refuses all others."""


def save_model(directory: Path, detector: FrozenModel, about: dict[str, str]) -> None:
    """Write `detector`'s model and card to `directory`, named ``.../<name>/<version>``.

    `about` says, for whoever must trust it: ``what``, ``trained_on``, ``measured``, ``made_by``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model.skops"
    skops.io.dump(detector.model, path, compression=zipfile.ZIP_DEFLATED)
    card = {
        **about,
        "reads": list(detector.reads),
        "ordinary": detector.ordinary,
        "limit": detector.limit,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in card.items()]
    (directory / "card.toml").write_text("".join(lines), encoding="utf-8")


def load_model(directory: Path | str) -> FrozenModel:
    """Read the detector that `save_model` wrote.

    Raises
    ------
    FileError
        There is no model, it is not the one its card describes, or it holds a type that is not
        trusted.
    """
    directory = Path(directory)
    path, card_path = directory / "model.skops", directory / "card.toml"
    for wanted in (card_path, path):
        if not wanted.is_file():
            raise FileError(
                f"{directory}: no {wanted.name}; a model is a directory <name>/<version> with "
                f"model.skops and card.toml"
            )
    card: dict[str, Any] = tomllib.loads(card_path.read_text(encoding="utf-8"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != card.get("sha256"):
        raise FileError(
            f"{path}: its SHA-256 is {digest}, the card says {card.get('sha256')}; "
            f"restore the file or train the model again"
        )
    foreign = set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED)
    if foreign:
        raise FileError(f"{path}: holds types that are not trusted: {', '.join(sorted(foreign))}")
    return FrozenModel(
        model=skops.io.load(path, trusted=list(TRUSTED)),
        reads=tuple(card["reads"]),
        digest=digest,
        ordinary=card["ordinary"],
        limit=card["limit"],
        name=directory.parent.name,
        version=int(directory.name),
    )
