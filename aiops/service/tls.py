"""TLS as the service speaks it: what it shows, and whom it believes about devices."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aiops.errors import ServeError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secret and authenticated. TLS 1.3 has no others."""


@dataclass(frozen=True)
class Tls:
    """Certificate and key of the service, and who may vouch for devices; all PEM files."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    """Certificates that devices may, and need not, show are issued by these; None: not asked."""

    def context(self) -> ssl.SSLContext:
        """Return a server's context: TLS 1.2 at least, 1.3 if the client can.

        Raises
        ------
        ServeError
            A file cannot be read, or key and certificate do not belong together.
        """
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers(CIPHERS)
        made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        made.set_alpn_protocols(["http/1.1"])
        self.load(made)
        if self.client_ca is not None:
            with _tls_errors(self.client_ca):
                made.load_verify_locations(self.client_ca)
            made.verify_mode = ssl.CERT_OPTIONAL
        return made

    def load(self, context: ssl.SSLContext) -> None:
        """Let a context show what the files hold now.

        Raises
        ------
        ServeError
            As `context`; it then shows what it did before.
        """
        with _tls_errors(self.certificate, self.key):
            context.load_cert_chain(self.certificate, self.key, password=_no_password)


def _no_password() -> str:
    """Refuse an encrypted key: OpenSSL would ask at the terminal, and wait."""
    raise ServeError("the TLS key is encrypted: give one that is not, readable only by its owner")


@contextlib.contextmanager
def _tls_errors(*files: Path) -> Iterator[None]:
    try:
        yield
    except ssl.SSLError as error:
        names = " and ".join(map(str, files))
        raise ServeError(f"TLS {names}: {error.reason or error}") from error
    except OSError as error:
        names = " or ".join(map(str, files))
        raise ServeError(f"TLS {names}: {error.strerror}") from error
