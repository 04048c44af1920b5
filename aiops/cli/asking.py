"""Asking a running service over its HTTP API, from any machine, with Python alone."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import typer

from aiops.errors import InputError, NotAllowed, NotAuthenticated, SettingsError

URL = "http://127.0.0.1:8470"
"""Where a service is unless its settings say otherwise."""
Url = Annotated[str, typer.Option(help="Where the service is.", metavar="URL")]
Token = Annotated[
    str,
    typer.Option(
        envvar="AIOPS_TOKEN",
        help="Of a key, see `aiops keys`.",
        metavar="TOKEN",
        show_default=False,
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option(help="Whose certificates are believed, a PEM file.", metavar="FILE"),
]
"""How a command that asks a service is told which, and as whom."""
NOT_NAMED = (62, 64)
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL."""
EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED."""
PATIENCE_S = 10.0
LOOK_S = 3.0
"""For a second look, at what else may answer there."""
MOST_BYTES = 64 << 20


class Unreached(InputError):
    """Nobody answers at a URL, or not in a way that is believed.

    Parameters
    ----------
    what
        What was found.
    mend
        The command or the option that mends it.
    """

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")
        self.what, self.mend = what, mend


class Answer(NamedTuple):
    """What a service said."""

    status: int
    body: bytes
    took_s: float

    @property
    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Api:
    """A service.

    Parameters
    ----------
    url
        Where it is, such as ``http://127.0.0.1:8470``.
    token
        Of a key; empty: none.
    ca
        Whose certificates are believed, a PEM file; None: those of the system.

    Raises
    ------
    SettingsError
        The URL is none, or the file of certificates cannot be read.
    """

    url: str
    token: str = field(default="", repr=False)
    ca: Path | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(f"--url {self.url!r} is no URL such as http://127.0.0.1:8470")
        if not self.token.isascii() or not self.token.isprintable():
            raise SettingsError("the token has letters that no token has")
        self._context()

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise SettingsError(f"--ca {self.ca}: {error}") from error

    def ask(
        self, path: str, *, method: str = "GET", body: bytes | None = None, **query: Any
    ) -> Answer:
        """Return what a request is answered, whatever the status.

        Raises
        ------
        Unreached
            Nobody answers there, or something that speaks no HTTP or is not believed.
        """
        told = urlencode({k: v for k, v in query.items() if v}, doseq=True)
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}{path}{'?' if told else ''}{told}",
            method=method,
            data=body,
            headers=({"Authorization": f"Bearer {self.token}"} if self.token else {})
            | ({"Content-Type": "application/json"} if body is not None else {}),
        )
        begun = time.monotonic()
        try:
            opened = urllib.request.urlopen(request, timeout=PATIENCE_S, context=self._context())
            with opened as answer:
                status, body = answer.status, answer.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                status, body = error.code, error.read(MOST_BYTES)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", error)
            raise self._unreached(why if isinstance(why, Exception) else error) from error
        return Answer(status, body, time.monotonic() - begun)

    def _unreached(self, why: Exception) -> Unreached:
        """Say why nobody answered, and what would mend it."""
        host = urlsplit(self.url).hostname or ""
        refused = f"{self.url} is not believed: "
        if isinstance(why, ssl.SSLCertVerificationError):
            said = why.verify_message.rstrip(".")
            if why.verify_code in NOT_NAMED:
                fits = "say with --url a host that it names, or issue one that names this:"
                issue = f"aiops keys certificate {host} --server"
                return Unreached(refused + said, f"{fits} {issue}")
            if why.verify_code == EXPIRED:
                return Unreached(refused + said, "renew the certificate, or set the clock")
            fits = "name with --ca whose certificates are believed, such as"
            return Unreached(refused + said, f"{fits} aiops-data/authority/ca.pem")
        scheme, _, rest = self.url.partition("://")
        other = "http" if scheme == "https" else "https"
        # Nobody listens: nothing else does either.
        if not isinstance(why, ConnectionRefusedError) and _speaks(f"{other}://{rest}"):
            return Unreached(f"{self.url} speaks {other}, not {scheme}", f"--url {other}://{rest}")
        return Unreached(
            f"no service answers at {self.url}: {str(why) or type(why).__name__}",
            "start one with `aiops serve`, or say where it is with --url",
        )

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of an answer.

        Raises
        ------
        NotAuthenticated, NotAllowed
            The token is not taken, or may not do this.
        InputError
            Nobody answers, it is no service of ours, or there is no such thing.
        """
        return self._told(path, self.ask(path, **query))

    def send(self, path: str, said: Any = None, *, method: str = "POST") -> Any:
        """Send a value as JSON (None: nothing); return the JSON of the answer.

        Raises
        ------
        NotAuthenticated, NotAllowed, InputError
            As `get` does, or what was sent is refused.
        """
        body = b"" if said is None else json.dumps(said).encode()
        return self._told(path, self.ask(path, method=method, body=body))

    def _told(self, path: str, answer: Answer) -> Any:
        told = answer.json
        if answer.status in (200, 201, 202) and told is not None:
            return told
        said = told.get("detail", "") if isinstance(told, dict) else ""
        match answer.status:
            case 401:
                raise NotAuthenticated(f"{self.url}: {said or 'it asks for a token'}")
            case 403:
                raise NotAllowed(f"{self.url}: {said or 'it is not allowed'}")
        raise InputError(f"{self.url}{path} answered {answer.status} {said}".rstrip())


def _speaks(url: str) -> bool:
    """Say whether HTTP is spoken at a URL, whosever certificate it shows; no token is sent."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    parts = urlsplit(url)
    host = parts.hostname or ""
    asked: http.client.HTTPConnection
    if parts.scheme == "https":
        asked = http.client.HTTPSConnection(host, parts.port, timeout=LOOK_S, context=anybody)
    else:
        asked = http.client.HTTPConnection(host, parts.port, timeout=LOOK_S)
    try:
        asked.request("GET", "/healthz")
        asked.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()
    return True
