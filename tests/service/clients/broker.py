"""Mosquitto with client certificates, and mosquitto's own clients as devices."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import trustme

from tests.service.clients.programs import Program, free_port, path_of

ACL = """pattern write fleet/%u/#
pattern read fleet/%u/ack
user aiops
topic read fleet/+/metrics
topic write fleet/+/ack
"""
"""A device is who its certificate says, and writes below its own topic only."""


class Broker(Program):
    """A broker with a listener for devices with certificates, and a plain one for collectd."""

    def __init__(self, folder: Path) -> None:
        path = path_of("mosquitto")
        folder.mkdir(parents=True)
        self.folder = folder
        self.port, self.plain_port = free_port(), free_port()
        self._authority = trustme.CA()
        self.ca = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        cert, key = self.certificate("localhost", "127.0.0.1")
        (folder / "acl").write_text(ACL)
        config = folder / "mosquitto.conf"
        config.write_text(f"""per_listener_settings true
{"user root" if os.geteuid() == 0 else ""}
max_queued_messages 0
log_dest stderr
listener {self.port} 127.0.0.1
cafile {self.ca}
certfile {cert}
keyfile {key}
require_certificate true
use_identity_as_username true
acl_file {folder / "acl"}
listener {self.plain_port} 127.0.0.1
allow_anonymous true
""")
        super().__init__(folder, path, "-c", str(config))

    def ready(self) -> bool:
        """Say whether it listens."""
        return self.runs and "running" in self.said

    def certificate(self, name: str, *more: str) -> tuple[Path, Path]:
        """Issue a certificate with this common name, once; return it and its key."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if cert.exists():
            return cert, key
        made = self._authority.issue_cert(name, *more, common_name=name)
        made.cert_chain_pems[0].write_to_path(str(cert))
        made.private_key_pem.write_to_path(str(key))
        return cert, key

    def as_device(self, name: str) -> list[str]:
        """Return the options by which mosquitto's clients connect as a device."""
        cert, key = self.certificate(name)
        shown = ["--cert", str(cert), "--key", str(key)]
        return [*self.as_nobody(), "-V", "mqttv5", "-q", "1", *shown]

    def as_nobody(self) -> list[str]:
        """Return the options of a client that has no certificate."""
        return ["-h", "127.0.0.1", "-p", str(self.port), "--cafile", str(self.ca)]

    def publisher(self, name: str) -> Program:
        """Run mosquitto_pub as a device: each line it is told is a message."""
        path = path_of("mosquitto_pub")
        topic = f"fleet/{name}/metrics"
        return Program(self.folder / f"{name}-pub", path, *self.as_device(name), "-l", "-t", topic)

    def listener(self, name: str) -> Program:
        """Run mosquitto_sub as a device: it says what is acknowledged."""
        path = path_of("mosquitto_sub")
        topic = f"fleet/{name}/ack"
        return Program(self.folder / f"{name}-sub", path, *self.as_device(name), "-t", topic)

    def publish(self, topic: str, body: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Publish one message, and return what mosquitto_pub says of it."""
        path = path_of("mosquitto_pub")
        command = [path, *options, "-t", topic, "-m", body]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    def config(self) -> str:
        """Return how the service listens at both."""
        cert, key = self.certificate("aiops")
        return f"""
[[mqtt]]
host = "127.0.0.1"
port = {self.port}
topics = ["fleet/+/metrics"]
client_id = "aiops"
ca = "{self.ca}"
cert = "{cert}"
key = "{key}"

[[mqtt]]
host = "127.0.0.1"
port = {self.plain_port}
topics = ["collectd/#"]
client_id = "aiops-collectd"
tls = false
"""
