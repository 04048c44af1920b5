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
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from aiops.errors import InputError, NotAllowed, NotAuthenticated, SettingsError

PATIENCE_S = 10.0
MOST_BYTES = 64 << 20


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

    def ask(self, path: str, **query: Any) -> Answer:
        """Return what a GET is answered, whatever the status.

        Raises
        ------
        InputError
            Nobody answers there, or something that speaks no HTTP.
        """
        told = urlencode({k: v for k, v in query.items() if v}, doseq=True)
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}{path}{'?' if told else ''}{told}",
            headers={"Authorization": f"Bearer {self.token}"} if self.token else {},
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
            raise InputError(
                f"no service answers at {self.url}: {why or type(error).__name__}; start one with "
                f"`aiops serve`, or say where it is with --url"
            ) from error
        return Answer(status, body, time.monotonic() - begun)

    def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of an answer.

        Raises
        ------
        NotAuthenticated, NotAllowed
            The token is not taken, or may not do this.
        InputError
            Nobody answers, or it is no service of ours.
        """
        answer = self.ask(path, **query)
        told = answer.json
        if answer.status == 200 and told is not None:
            return told
        said = told.get("detail", "") if isinstance(told, dict) else ""
        match answer.status:
            case 401:
                raise NotAuthenticated(f"{self.url}: {said or 'it asks for a token'}")
            case 403:
                raise NotAllowed(f"{self.url}: {said or 'it is not allowed'}")
        raise InputError(f"{self.url}{path} answered {answer.status} {said}".rstrip())
