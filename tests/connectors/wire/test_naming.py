from __future__ import annotations

import json

import pytest

from aiops.connectors.wire.limits import Limits
from aiops.connectors.wire.naming import (
    cohort_of,
    device_of,
    excess,
    host_of,
    labels_json,
    site_of,
)


@pytest.mark.parametrize(
    ("labels", "device"),
    [
        ({"instance": "gw-17:9100", "device": "sda", "job": "node"}, "gw-17"),
        ({"instance": "gw-17:9633"}, "gw-17"),
        ({"instance": "localhost:9100", "host_name": "gw-17"}, "gw-17"),
        ({"exported_instance": "gw-17:80", "node": "rack"}, "gw-17"),
        ({"instance": "localhost:9100", "node": "gw-17"}, "gw-17"),
        ({"instance": "127.0.0.1:9100", "exported_instance": "gw-17:80"}, "gw-17"),
        ({"instance": "[::1]:9100", "exported_instance": "localhost"}, "::1"),
        ({"instance": "a:1", "exported_instance": "b:1"}, "a"),
        ({"host": "gw-17:x", "device": "sda"}, "gw-17:x"),
        ({"device_id": "a", "host": "b"}, "a"),
        ({"device_id": "", "host": "b"}, "b"),
        ({"serial_number": "S1"}, "S1"),
        ({"serial_number": "S1", "device": "nvme0"}, None),
        ({"device": "sda"}, None),
        ({}, None),
    ],
)
def test_the_first_label_that_can_names_the_device(labels, device):
    assert device_of(labels) == device


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("gw-17:9100", "gw-17"),
        ("gw-17", "gw-17"),
        ("10.0.0.7:9100", "10.0.0.7"),
        ("[fe80::1]:9100", "fe80::1"),
        ("[fe80::1]", "fe80::1"),
        ("fe80::1", "fe80::1"),
        ("::1", "::1"),
        ("gw-17:", "gw-17:"),
        (":9100", ":9100"),
        ("http://gw-17:80/x", "http://gw-17:80/x"),
        ("gw-17:123456", "gw-17:123456"),
    ],
)
def test_an_address_loses_its_port_and_nothing_else(address, host):
    assert host_of(address) == host


def test_a_model_is_the_cohort_unless_a_part_has_it():
    assert cohort_of({"model": "EG-2"}) == "EG-2"
    assert cohort_of({"model": "WD Red", "device": "sda"}) is None
    assert cohort_of({"model": "WD Red", "device": "sda", "cohort": "B"}) == "B"
    assert site_of({"location": "attic", "site": "north"}) == "north"
    assert site_of({"room": "3"}) is None


def test_labels_are_json_with_sorted_keys():
    text = labels_json({"b": 'x"\n', "a": "é"})
    assert text is not None
    assert list(json.loads(text).items()) == [("a", "é"), ("b", 'x"\n')]
    assert labels_json({"b": "1", "a": "2"}) == labels_json({"a": "2", "b": "1"})
    assert labels_json({}) is None


def test_what_is_beyond_the_limits_is_told():
    limits = Limits(labels=2, name_bytes=4, value_bytes=6)
    assert excess("up", {"a": "b"}, limits) is None
    assert excess("éé", {"éé": "ééé"}, limits) is None
    told = [
        excess("", {}, limits),
        excess("ééé", {}, limits),
        excess("up", {"a": "", "b": "", "c": ""}, limits),
        excess("up", {"ééé": ""}, limits),
        excess("up", {"a": "éééé"}, limits),
    ]
    assert None not in told
    assert len(set(told)) == 5
