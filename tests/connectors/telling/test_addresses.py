from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiops.connectors.telling.addresses import Egress, is_public
from aiops.connectors.telling.posting import Poster
from aiops.errors import DeliveryError, SettingsError
from tests.connectors.telling.receiver import receiving, says

CASES = Path(__file__).parents[2] / "cases" / "egress"
URLS = [
    (kind, url)
    for kind, urls in json.loads((CASES / "urls.json").read_text(encoding="utf-8")).items()
    for url in urls
]
ADDRESSES = json.loads((CASES / "addresses.json").read_text(encoding="utf-8"))
Post = Callable[[Egress, str], None]
PUBLIC = "93.184.216.34"


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list of all addresses to which any socket is connected."""
    seen: list[Any] = []
    connect = socket.socket.connect

    def spy(self: socket.socket, address: Any) -> None:
        seen.append(address)
        if not str(address[0]).startswith("127."):
            raise ConnectionRefusedError("tests call nobody")
        connect(self, address)

    def spy_ex(self: socket.socket, address: Any) -> int:
        seen.append(address)
        return 111

    monkeypatch.setattr(socket.socket, "connect", spy)
    monkeypatch.setattr(socket.socket, "connect_ex", spy_ex)
    return seen


@pytest.fixture
def post() -> Iterator[Post]:
    """Return what posts with a new poster, all of which are closed at the end."""
    with ExitStack() as stack:

        def post_once(egress: Egress, url: str) -> None:
            stack.enter_context(closing(Poster(egress))).post(url, b"{}", {})

        yield post_once


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of all names that the system was asked for."""
    seen: list[str] = []

    def spy(host: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(host)
        raise socket.gaierror("tests ask nobody")

    monkeypatch.setattr(socket, "getaddrinfo", spy)
    return seen


def test_the_spy_sees_a_call(called: list[Any], post: Post) -> None:
    with receiving() as receiver:
        egress = Egress(("127.0.0.1",), ("127.0.0.1",), ("127.0.0.1",))
        post(egress, receiver.url())
        assert called == [("127.0.0.1", receiver.port)]
        assert len(receiver.asked) == 1


@pytest.mark.parametrize(("kind", "url"), URLS, ids=[f"{k}-{i}" for i, (k, _) in enumerate(URLS)])
def test_a_url_that_is_not_plainly_that_of_a_listed_host_calls_nobody(
    kind: str, url: str, called: list[Any], post: Post, looked_up: list[str]
) -> None:
    egress = Egress(hosts=("hooks.test",))
    with pytest.raises(SettingsError):
        egress.target(url)
    with pytest.raises(DeliveryError) as caught:
        post(egress, url)
    assert caught.value.permanent
    assert called == []
    assert looked_up == []


@pytest.mark.parametrize("address", ADDRESSES["refused"])
def test_a_listed_host_with_one_address_that_is_not_public_is_not_called(
    address: str, called: list[Any], post: Post
) -> None:
    for answer in ([address], [PUBLIC, address], [address, PUBLIC]):
        egress = Egress(hosts=("hooks.test",), resolve=lambda host, port, found=answer: found)
        with pytest.raises(DeliveryError, match="not public") as caught:
            post(egress, "https://hooks.test/hook")
        assert not caught.value.permanent
    assert called == []


@pytest.mark.parametrize("address", ADDRESSES["refused"])
def test_to_list_an_address_as_a_host_is_not_to_list_its_network(
    address: str, called: list[Any], post: Post
) -> None:
    if "%" in address:
        with pytest.raises(SettingsError):
            Egress(hosts=("hooks.test",)).target(f"https://[{address}]/")
        return
    egress = Egress(hosts=(address,))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(DeliveryError, match="not public"):
        post(egress, f"https://{host}/")
    assert called == []


def test_a_public_address_is_called_by_number_not_by_name(
    called: list[Any], post: Post, looked_up: list[str]
) -> None:
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return [PUBLIC]

    # The spy on look-ups stands in for the one that create_connection makes of a number.
    with pytest.raises(DeliveryError):
        post(Egress(("hooks.test",), resolve=resolve), "https://hooks.test:8443/")
    assert asked == [("hooks.test", 8443)]
    assert looked_up == [PUBLIC]
    assert called == []


def test_a_name_that_is_bound_anew_cannot_move_a_call(called: list[Any]) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1", "10.0.0.1"]])
    egress = Egress(
        ("hooks.test",), ("127.0.0.1",), ("hooks.test",), lambda host, port: next(answers)
    )
    with ExitStack() as stack, receiving(says(200, {"connection": "close"})) as receiver:
        poster = stack.enter_context(closing(Poster(egress)))
        url = receiver.url("hooks.test")
        poster.post(url, b"{}", {})
        for _ in range(2):
            with pytest.raises(DeliveryError, match="not public"):
                poster.post(url, b"{}", {})
        assert called == [("127.0.0.1", receiver.port)]
        assert len(receiver.asked) == 1
        assert receiver.asked[0].headers["host"] == f"hooks.test:{receiver.port}"
    assert next(answers, None) is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int, called: list[Any], post: Post) -> None:
    egress = Egress(("127.0.0.1",), ("127.0.0.1",), ("127.0.0.1",))
    with receiving() as secret, receiving(says(status, {"location": secret.url()})) as receiver:
        with pytest.raises(DeliveryError, match=f"answered {status}") as caught:
            post(egress, receiver.url())
        assert caught.value.permanent
        assert called == [("127.0.0.1", receiver.port)]
        assert secret.asked == []


def test_no_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, called: list[Any], post: Post
) -> None:
    with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        post(Egress(("127.0.0.1",), ("127.0.0.1",), ("127.0.0.1",)), receiver.url())
        assert proxy.asked == []
        assert called == [("127.0.0.1", receiver.port)]


def test_the_next_address_is_tried_when_one_does_not_answer(called: list[Any], post: Post) -> None:
    egress = Egress(
        ("hooks.test",), ("127.0.0.1",), ("hooks.test",), lambda host, port: [PUBLIC, "127.0.0.1"]
    )
    with receiving() as receiver:
        post(egress, receiver.url("hooks.test"))
        assert called == [(PUBLIC, receiver.port), ("127.0.0.1", receiver.port)]


@pytest.mark.parametrize("address", ADDRESSES["public"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses())
@example(ipaddress.ip_address("192.0.0.9"))
def test_nothing_is_public_here_that_the_registries_do_not_call_global(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved
        if isinstance(address, ipaddress.IPv6Address):
            assert address.ipv4_mapped is address.sixtofour is address.teredo is None


@pytest.mark.parametrize(
    "listed",
    [
        {"hosts": ("https://hooks.test",)},
        {"hosts": ("*.test",)},
        {"hosts": ("*",)},
        {"hosts": ("",)},
        {"hosts": ("hooks.test.",)},
        {"hosts": ("2130706433",)},
        {"hosts": ("0x7f.1",)},
        {"hosts": ("127.1",)},
        {"networks": ("10.0.0.1/8",)},
        {"networks": ("lyon",)},
        {"plain_http": ("hooks.test",)},
    ],
)
def test_what_is_no_host_or_network_is_refused_at_the_start(listed: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        Egress(**listed)


def test_without_settings_nobody_is_called() -> None:
    with pytest.raises(SettingsError, match=r"not in egress\.hosts"):
        Egress().target("https://hooks.example.org/")


def test_a_url_is_read_as_it_stands() -> None:
    egress = Egress(("hooks.test", "2a00:1450::1"), plain_http=("2A00:1450:0::1",))
    assert egress.target("https://Hooks.test/a?b=c") == (True, "hooks.test", 443, "/a?b=c")
    assert egress.target("http://[2a00:1450:0:0::1]:81") == (False, "2a00:1450::1", 81, "/")
