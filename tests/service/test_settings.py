from __future__ import annotations

from pathlib import Path

import pytest

from aiops.errors import AiopsError, FileError, SettingsError
from aiops.service.rehearsal import objections
from aiops.service.settings import read_settings


def settings_of(tmp_path: Path, text: str):
    file = tmp_path / "aiops.toml"
    file.write_text(text)
    return read_settings(file, data=tmp_path / "data")


def test_what_is_given_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "aiops.toml"
    file.write_text('[listen]\nport = 1\nhost = "::1"\n')
    assert read_settings(file).listen.port == 1
    monkeypatch.setenv("AIOPS_LISTEN__PORT", "2")
    assert read_settings(file).listen.port == 2
    found = read_settings(file, listen={"port": 3}).listen
    assert (found.port, found.host) == (3, "::1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[listen]\nprot = 1\n", "listen.prot"),
        ("[listen]\nport = 70000\n", "listen.port"),
        ('[listen]\ntls_cert = "a.pem"\n', "belong together"),
        ('[actions]\nautomatic = ["reboot"]\n', "actions.automatic"),
        ('[engine]\ncolumns = { devise = "serial" }\n', "did you mean device"),
        ("[log]\nsegment_bytes = 1\n", "log.segment_bytes"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings_of(tmp_path, text)


def test_a_file_that_is_no_toml_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no TOML"):
        settings_of(tmp_path, "listen:\n")
    with pytest.raises(FileError, match="No such file"):
        read_settings(tmp_path / "none.toml")


def test_a_misspelt_variable_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOPS_LISTN__PORT", "9")
    with pytest.raises(SettingsError, match="did you mean AIOPS_LISTEN"):
        read_settings()


@pytest.mark.parametrize(
    ("text", "part", "said"),
    [
        ('[engine]\ndetectors = ["foo"]\n', "engine", "no detector is called 'foo'"),
        ('inventory = "none.toml"\n', "engine", "none.toml"),
        (
            '[[webhook]]\nurl = "https://hooks.example.org"\nsecret_file = "none"\n',
            "outlets",
            "secret in none",
        ),
    ],
)
def test_what_only_the_parts_can_tell_is_told_before_anything_listens(
    tmp_path: Path, text: str, part: str, said: str
) -> None:
    found = dict(objections(settings_of(tmp_path, text)))
    assert list(found) == [part]
    assert said in found[part]
    assert not (tmp_path / "data").exists()


def test_a_state_of_other_settings_is_told_before_anything_listens(tmp_path: Path) -> None:
    from aiops.engine.run import Checkpoint
    from aiops.service.rehearsal import make_engine

    before = settings_of(tmp_path, "[engine]\nepoch_s = 60\n")
    before.data.mkdir()
    Checkpoint(before.data / "state.npz").save(make_engine(before), {"seq": 0, "tables": 0})
    assert not list(objections(before))
    ((part, said),) = objections(settings_of(tmp_path, "[engine]\nepoch_s = 61\n"))
    assert part == "state"
    assert "epoch" in said
    (before.data / "state.npz").write_bytes(b"damaged")
    assert [part for part, _ in objections(before)] == ["state"]
    assert issubclass(SettingsError, AiopsError)
