"""Frozen models and priors on disk: ``models/<name>/<version>/`` with a card, no pickle."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from aiops.alerts.budget import split
from aiops.alerts.rule import AlertRule
from aiops.detectors import DETECTORS, defaults
from aiops.detectors.failure_risk import FailureRisk
from aiops.detectors.frozen_model import FrozenModel
from aiops.detectors.wear_prior import PRIOR_FILE, WearPrior, decode_prior
from aiops.errors import FileError, SettingsError
from aiops.telemetry.vocabulary import closest

TRUSTED = ("sklearn.tree._tree.Tree",)
"""Types besides skops' own list that a model file may hold; skops refuses all others."""


class Novelty(msgspec.Struct, tag="novelty", tag_field="kind"):
    """What the card of a `FrozenModel` must say; the rest of it is for people."""

    reads: tuple[str, ...]
    ordinary: float
    limit: float
    sha256: str


class Risk(msgspec.Struct, tag="failure_risk", tag_field="kind"):
    """What the card of a `FailureRisk` must say."""

    reads: tuple[str, ...]
    horizon_days: float
    limit: float
    usual: tuple[float, ...]
    edges: tuple[tuple[float, ...], ...]
    shares: tuple[tuple[float, ...], ...]
    sha256: str


KINDS: dict[type[Novelty | Risk], tuple[type, str]] = {
    Novelty: (FrozenModel, "score_samples"),
    Risk: (FailureRisk, "predict_proba"),
}
"""Card -> the detector it describes, and what its model must be able to do."""


def save_model(
    directory: str | Path, detector: FrozenModel | FailureRisk, about: dict[str, str]
) -> None:
    """Write `detector`'s model and card to `directory`, named ``.../<name>/<version>``.

    `about` says, for whoever must trust it: ``what``, ``trained_on``, ``measured``, ``made_by``.

    Raises
    ------
    FileError
        The directory has no such name.
    """
    import skops.io  # brings all of scikit-learn: a second that no other command should wait

    directory = Path(directory)
    _name_and_version(directory)
    content = skops.io.dumps(detector.model, compression=zipfile.ZIP_DEFLATED)
    kind = next(card for card, (made, _) in KINDS.items() if isinstance(detector, made))
    told = [name for name in kind.__struct_fields__ if name != "sha256"]
    card = {
        "kind": kind.__struct_config__.tag,
        **about,
        **{name: getattr(detector, name) for name in told},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.skops").write_bytes(content)
    _write_card(directory, card)


def load_model(directory: str | Path) -> FrozenModel | FailureRisk:
    """Read the detector that `save_model` wrote: same scores, bit for bit.

    scikit-learn warns (`sklearn.exceptions.InconsistentVersionWarning`) of a model that another
    version of it has trained: train that model again.

    Raises
    ------
    FileError
        There is no model, it is not the one its card describes, it holds a type that is not
        trusted, or what it holds cannot score rows.
    """
    import skops.io

    directory = Path(directory)
    name, version = _name_and_version(directory)
    path = directory / "model.skops"
    card = _read_card(directory / "card.toml")
    content = _read(path)  # once: what was checked is what is loaded
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.sha256:
        raise FileError(
            f"{path}: its SHA-256 is {digest}, the card says {card.sha256}; "
            f"restore the file or train the model again"
        )
    try:
        foreign = set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED)
        if foreign:
            raise FileError(
                f"{path}: holds types that are not trusted: {', '.join(sorted(foreign))}; "
                f"nothing of it was loaded"
            )
        model = skops.io.loads(content, trusted=list(TRUSTED))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise FileError(f"{path}: cannot be read as a skops file ({error})") from error
    made, needed = KINDS[type(card)]
    if not hasattr(model, needed):
        raise FileError(f"{path}: holds a {type(model).__name__}, which has no {needed}")
    told = {k: getattr(card, k) for k in card.__struct_fields__ if k != "sha256"}
    detector: FrozenModel | FailureRisk = made(
        model=model, digest=digest, name=name, version=version, **told
    )
    return detector


def save_prior(directory: str | Path, prior: WearPrior, about: dict[str, str]) -> None:
    """Write a wear prior and its card, which also says `about` it, to `directory`."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(prior), indent=1)
    (directory / PRIOR_FILE).write_bytes(text + b"\n")
    _write_card(directory, {**about, "digest": prior.digest})


def load_prior(directory: str | Path) -> WearPrior:
    """Read the wear prior that `save_prior` wrote.

    Raises
    ------
    FileError
        There is none, or it is not one.
    """
    path = Path(directory) / PRIOR_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}); a wear prior is a directory as "
            f"`aiops train wear` writes it"
        ) from error
    return decode_prior(content, str(path))


def make_rules(
    names: Sequence[str] = (), alarm_budget: float | None = None, wear_prior: Path | None = None
) -> tuple[AlertRule, ...]:
    """Return a rule for each detector named (none: all), at the given alarm budget in all.

    Parameters
    ----------
    names
        Of `DETECTORS`.
    alarm_budget
        False alarms per 1,000 device-months of all of them together; None: as many as they have
        by themselves (`aiops.alerts.budget.SHARES`).
    wear_prior
        Directory of a prior for ``flash_wear``; None: the one that is shipped.

    Raises
    ------
    SettingsError
        No detector has one of the names.
    FileError
        The prior cannot be read.
    """
    made: list[AlertRule] = []
    told: dict[str, dict[str, Any]] = (
        {"flash_wear": {"prior": load_prior(wear_prior)}} if wear_prior else {}
    )
    for name in dict.fromkeys(names or DETECTORS):
        if name not in DETECTORS:
            raise SettingsError(
                f"no detector is called {name!r}; there are {', '.join(DETECTORS)}"
                f"{closest(name, DETECTORS)}"
            )
        one = (DETECTORS[name](**told[name]),) if name in told else defaults(name)
        made += map(AlertRule, one)
    return split(made, alarm_budget)


def _write_card(directory: Path, card: dict[str, Any]) -> None:
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in card.items()]
    (directory / "card.toml").write_text("".join(lines), encoding="utf-8")


def _name_and_version(directory: Path) -> tuple[str, int]:
    place = directory.resolve()
    if not place.name.isdecimal() or not place.parent.name:
        raise FileError(
            f"{directory}: a model is a directory <name>/<version>, and the version a number, "
            f"as models/thermal_novelty/1"
        )
    return place.parent.name, int(place.name)


def _read_card(path: Path) -> Novelty | Risk:
    try:
        return msgspec.toml.decode(_read(path), type=Novelty | Risk)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path}: is no card ({error}); train the model again, or write it with save_model"
        ) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}); a model is a directory <name>/<version> "
            f"with model.skops and card.toml"
        ) from error
