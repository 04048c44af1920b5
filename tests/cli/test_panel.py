"""The real panel of server drives, through the command line."""

from __future__ import annotations

import pytest

from tests.cli.long import PANEL
from tests.cli.process import read, records, too_wide


@pytest.fixture(autouse=True)
def _there(the_panel):
    if the_panel is None:
        pytest.skip(f"{PANEL} is missing; AIOPS_SHARED names the directory that holds data/")


def test_its_pieces_and_a_kill_half_way_do_not_show(the_panel):
    whole = records(the_panel.whole)
    assert records(the_panel.seven) == whole
    assert records(the_panel.thousand) == whole
    print(f"{the_panel.rows:,} rows in {the_panel.seconds:.1f} s")  # shown by pytest -rP


def test_drives_wear_out_on_it(the_panel):
    wear = [f for f in read(the_panel.whole, "findings") if f["rule"] == "flash_wear"]
    assert wear
    text = the_panel.said.out
    assert f"{the_panel.rows:,} rows of" in text
    assert "worn out already" in text
    assert not too_wide(text)
    told = [f for f in wear if f["id"][:12] in text]
    assert told
    for finding in told:
        assert finding["device_id"] in text
