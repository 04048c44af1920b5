"""What is wrong with an outlet is said with its name."""

from __future__ import annotations

import base64

import pytest

from aiops.errors import FileError, SettingsError
from aiops.service.outlets import make_outlets
from aiops.service.settings import read_settings


@pytest.mark.parametrize("listed", [True, False])
def test_who_asks_for_a_host_that_is_not_listed_is_named(tmp_path, listed):
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(bytes(24)).decode())
    settings = read_settings(
        None,
        data=tmp_path,
        egress={"hosts": ["hooks.example.org"]},
        webhook=[
            {"name": "pager", "url": "https://hooks.example.org/a", "secret_file": secret},
            {"name": "wiki", "url": "https://wiki.example.org/a", "secret_file": secret},
        ][: 1 if listed else 2],
        alertmanager=[] if listed else [{"urls": ["https://alerts.example.org"]}],
    )
    if listed:
        (outlet,) = make_outlets(settings, tmp_path / "signer.pem")
        assert outlet.name == "pager"
        return
    with pytest.raises(SettingsError, match=r"^webhook wiki: host wiki\.example\.org is not in"):
        make_outlets(settings, tmp_path / "signer.pem")


def test_whose_secret_cannot_be_read_is_named(tmp_path):
    one = {"url": "https://hooks.example.org/a", "secret_file": tmp_path / "none"}
    settings = read_settings(
        None, data=tmp_path, egress={"hosts": ["hooks.example.org"]}, webhook=[one]
    )
    with pytest.raises(FileError, match=r"^webhook webhook: the secret in"):
        make_outlets(settings, tmp_path / "signer.pem")
