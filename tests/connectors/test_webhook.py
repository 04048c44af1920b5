from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from aiops.connectors.telling.addresses import Egress
from aiops.connectors.telling.posting import ANSWER_BYTES
from aiops.connectors.webhook import WebhookOutlet, signature
from aiops.errors import DeliveryError, SettingsError
from tests.connectors.telling.messages import T0, action, finding, incident
from tests.connectors.telling.receiver import Asked, Receiver, receiving, says

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = T0 / 1e9
LOCAL = Egress(("127.0.0.1",), ("127.0.0.1",), ("127.0.0.1",))


OPEN: list[WebhookOutlet] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def outlet(receiver: Receiver, **changed: Any) -> WebhookOutlet:
    given = {"source": "/aiops", "egress": LOCAL, "now": lambda: NOW} | changed
    OPEN.append(WebhookOutlet(given.pop("url", receiver.url()), SECRET, **given))
    return OPEN[-1]


def genuine(asked: Asked) -> bool:
    """Verify a request as a receiver does by the Standard Webhooks specification."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    headers = asked.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + asked.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


def refusal(wanted: Callable[[], object]) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        wanted()
    return caught.value


def test_a_signature_is_the_one_that_the_specification_shows() -> None:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("message", [finding(), incident(), action()])
def test_a_message_arrives_as_a_signed_cloudevent(message: Any) -> None:
    with receiving() as receiver:
        outlet(receiver).deliver(message)
        (asked,) = receiver.asked
    assert (asked.method, asked.path) == ("POST", "/hook")
    assert asked.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert asked.headers["webhook-id"] == asked.headers["idempotency-key"] == message.id
    assert asked.headers["webhook-timestamp"] == str(int(NOW))
    assert genuine(asked)
    assert json.loads(asked.body)["id"] == message.id
    assert json.loads(asked.body)["data"] == message.record


def test_a_changed_body_is_not_genuine() -> None:
    with receiving() as receiver:
        outlet(receiver).deliver(finding())
        (asked,) = receiver.asked
    forged = Asked(asked.method, asked.path, asked.headers, asked.body + b" ", asked.peer)
    assert genuine(asked)
    assert not genuine(forged)


def test_the_same_message_sent_again_has_the_same_id_and_body() -> None:
    with receiving() as receiver:
        told = outlet(receiver)
        told.deliver(finding())
        told.deliver(finding())
        first, again = receiver.asked
    assert first.body == again.body
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_means_taken(status: int) -> None:
    with receiving(says(status, body=b"")) as receiver:
        outlet(receiver).deliver(finding())
        assert len(receiver.asked) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(status: int) -> None:
    with receiving(says(status)) as receiver:
        error = refusal(lambda: outlet(receiver).deliver(finding()))
    assert not error.permanent
    assert str(error) == f"127.0.0.1:{receiver.port} answered {status}"


@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 404, 409, 410, 413, 422])
def test_what_will_not_pass_is_permanent(status: int) -> None:
    with receiving(says(status, {"retry-after": "7"}, b"")) as receiver:
        error = refusal(lambda: outlet(receiver).deliver(finding()))
    assert error.permanent
    assert error.retry_after_s == 0


@pytest.mark.parametrize(
    ("said", "after_s"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (formatdate(NOW + 90, usegmt=True), 90.0),
        (formatdate(NOW - 90, usegmt=True), 0.0),
        ("soon", 0.0),
        ("-5", 0.0),
        ("9" * 400, 999999999.0),
        ("", 0.0),
    ],
)
def test_retry_after_is_read(said: str, after_s: float) -> None:
    with receiving(says(503, {"retry-after": said})) as receiver:
        error = refusal(lambda: outlet(receiver).deliver(finding()))
    assert error.retry_after_s == after_s


def test_nobody_there_is_worth_another_try() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        error = refusal(lambda: outlet(Receiver(), url=url).deliver(finding()))
    assert not error.permanent
    assert "did not answer: ConnectError" in str(error)


def garbage(asked: Asked, connection: socket.socket) -> None:
    connection.sendall(b"\x00\x01\x02 no HTTP\r\n\r\n")


def hang_up(asked: Asked, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def long_headers(asked: Asked, connection: socket.socket) -> None:
    with suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 500_000 + b"\r\n\r\n")


@pytest.mark.parametrize("script", [garbage, hang_up, long_headers])
def test_an_answer_that_is_none_is_worth_another_try(script: Any) -> None:
    with receiving(script) as receiver:
        assert not refusal(lambda: outlet(receiver).deliver(finding())).permanent


def test_an_answer_that_drips_ends_with_the_time_for_the_whole_exchange() -> None:
    dripped = []

    def drip(asked: Asked, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        with suppress(OSError):  # the client leaves
            while len(dripped) < 1000:
                connection.sendall(b"x")
                dripped.append(1)
                time.sleep(0.02)

    with receiving(drip) as receiver:
        begun = time.monotonic()
        error = refusal(lambda: outlet(receiver, timeout_s=0.3).deliver(finding()))
        assert time.monotonic() - begun < 3
    assert not error.permanent
    assert "ReadTimeout" in str(error)
    assert dripped


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    written = []
    left = threading.Event()

    def endless(asked: Asked, connection: socket.socket) -> None:
        connection.settimeout(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):
            while len(written) < 10_000:
                connection.sendall(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                written.append(0x4000)
        left.set()

    with receiving(endless) as receiver:
        outlet(receiver).deliver(finding())
        assert left.wait(10)
    assert ANSWER_BYTES < sum(written) < 10_000 * 0x4000


def test_an_answers_text_is_never_shown() -> None:
    with receiving(says(500, {"x-secret": "hunter2"}, b"hunter2")) as receiver:
        error = refusal(lambda: outlet(receiver).deliver(finding()))
    assert "hunter2" not in str(error)


def test_close_ends_a_call_that_waits() -> None:
    release = threading.Event()
    ended: list[DeliveryError] = []

    def wait(asked: Asked, connection: socket.socket) -> None:
        release.wait(10)

    with receiving(wait) as receiver:
        told = outlet(receiver, timeout_s=10)
        thread = threading.Thread(
            target=lambda: ended.append(refusal(lambda: told.deliver(finding())))
        )
        thread.start()
        assert receiver.arrived.wait(5)
        told.close()
        thread.join(2)
        release.set()
        assert not thread.is_alive()
        assert not refusal(lambda: told.deliver(finding())).permanent
        assert len(receiver.asked) == 1
    assert not ended[0].permanent


def test_an_id_that_is_no_header_is_refused_for_good_and_nothing_is_sent() -> None:
    with receiving() as receiver:
        forged = finding()._replace(id="a\r\nx-admin: yes")
        assert refusal(lambda: outlet(receiver).deliver(forged)).permanent
        assert receiver.asked == []


def test_connections_are_used_again() -> None:
    ports = set()

    def note(asked: Asked, connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
        ports.add(connection.getpeername()[1])
        return 200, {}, b"ok"

    with receiving(note) as receiver:
        told = outlet(receiver)
        for _ in range(5):
            told.deliver(finding())
        told.close()
    assert len(ports) == 1


class Https:
    """A host hooks.test with a certificate of its own authority."""

    def __init__(self, folder: Path, *names: str) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self.asked_for: list[str | None] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*names).configure_cert(self.context)
        self.context.sni_callback = lambda sock, name, context: self.asked_for.append(name)


HOOKS = Egress(("hooks.test",), ("127.0.0.1",), resolve=lambda host, port: ["127.0.0.1"])


def test_over_tls_the_name_is_asked_for_and_verified_though_a_number_is_called(
    tmp_path: Path,
) -> None:
    https = Https(tmp_path, "hooks.test")
    with receiving(tls=https.context) as receiver:
        url = receiver.url("hooks.test", secure=True)
        outlet(receiver, url=url, egress=HOOKS, ca_file=https.ca_file).deliver(finding())
        (asked,) = receiver.asked
    assert https.asked_for == ["hooks.test"]
    assert asked.headers["host"] == f"hooks.test:{receiver.port}"
    assert genuine(asked)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("names", "trusted"), [(("other.test",), True), (("hooks.test",), False)])
def test_a_certificate_of_another_name_or_of_nobody_we_trust_is_refused(
    tmp_path: Path, names: tuple[str, ...], trusted: bool
) -> None:
    https = Https(tmp_path, *names)
    with receiving(tls=https.context) as receiver:
        told = outlet(
            receiver,
            url=receiver.url("hooks.test", secure=True),
            egress=HOOKS,
            ca_file=https.ca_file if trusted else None,
        )
        error = refusal(lambda: told.deliver(finding()))
        assert receiver.asked == []
    assert not error.permanent
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


@pytest.mark.parametrize(
    "changed",
    [
        {"url": "https://elsewhere.test/"},
        {"url": "http://hooks.test/"},
        {"kinds": ("finding", "plan")},
        {"ca_file": Path("nowhere.pem")},
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_start(changed: dict[str, Any]) -> None:
    given = {"url": "https://hooks.test/", "egress": HOOKS} | changed
    with pytest.raises(SettingsError):
        outlet(Receiver(), **given)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "hunter2", "whsec_hunter2", SECRET[6:], f"whsec_{'A' * 128}", "whsec_é"],
)
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"webhook\.secret") as caught:
        WebhookOutlet("https://hooks.test/", secret, source="/aiops", egress=HOOKS)
    assert caught.value.__cause__ is None
    assert "hunter2" not in str(caught.value)
