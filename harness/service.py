"""A server that runs the broker as the runbook says: /etc/agentkeys, the shipped unit, its own user.

The places are in a directory of the test's, the user is nobody's where the tests are root, and
sudo and systemctl are stand-ins; what is printed, the unit and the permissions are real.
"""
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Mapping

import yaml

from brokerlib import REPOSITORY, _overlay, binary
from clientlib import Machine
from docs_as_code import Terminal, short_directory
from http_client import Answer, Client
from peers.ports import free_port
from peers.process import wait_until

UNIT = REPOSITORY / "conf" / "systemd" / "agentkeys-broker.service"
HOSTED = REPOSITORY / "conf" / "broker.hosted.yaml"
STAND_INS = ("sudo", "runuser", "systemctl", "journalctl")
NOBODY = 65534


class Service:
    def __init__(self, own: Mapping[str, Any], **variables: str) -> None:
        """`own` is what this operator writes into the hosted example."""
        self.root = short_directory()
        self.port, self.metrics_port = free_port(), free_port()
        self.user = NOBODY if os.getuid() == 0 else os.getuid()
        group = NOBODY if os.getuid() == 0 else os.getgid()
        self.etc, self.state = self.root / "etc", self.root / "lib" / "agentkeys-broker"
        self.backups = self.root / "backups"
        systemd = self.root / "systemd"
        for directory in (self.etc, self.state.parent, systemd):
            directory.mkdir()
        self.replace = {
            "/usr/local/bin/agentkeys-broker-server": str(binary()),
            "/etc/agentkeys": str(self.etc),
            "/var/lib/agentkeys-broker": str(self.state),
            "/var/backups/agentkeys": str(self.backups),
            "-o agentkeys -g agentkeys": f"-o {self.user} -g {group}",
            "http://127.0.0.1:9464": f"http://127.0.0.1:{self.metrics_port}",
        }
        self.machine = Machine(
            self.root / "home", None, SERVICE_USER=str(self.user), SYSTEMD=str(systemd), **variables
        )
        self.terminal = Terminal(self.machine, self.replace, STAND_INS)
        (systemd / UNIT.name).write_text(self.terminal.filled(UNIT.read_text()))
        self.log = systemd / "agentkeys-broker.log"
        self.configure(own)

    def configure(self, own: Mapping[str, Any]) -> None:
        hosted = _overlay(yaml.safe_load(self.terminal.filled(HOSTED.read_text())), own)
        hosted["listeners"] = [{"address": f"127.0.0.1:{self.port}"}]
        hosted["metrics"] = {"address": f"127.0.0.1:{self.metrics_port}"}
        (self.etc / "broker.yaml").write_text(yaml.safe_dump(hosted))

    def lend_key(self, key_id: str, secret: str) -> None:
        """`broker.env`, which systemd reads as root."""
        path = self.etc / "broker.env"
        path.write_text(f"BROKER_DAEMON_ACCESS_KEY_ID={key_id}\nBROKER_DAEMON_SECRET_ACCESS_KEY={secret}\n")
        path.chmod(0o600)

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.port}")

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        with self.client() as client:
            return client.request(method, path, body, **more)

    def wait_ready(self) -> None:
        def ready() -> bool:
            try:
                return self.ask("GET", "/readyz").status == 200
            except OSError:
                return False

        try:
            wait_until(ready, 20, "/readyz 200")
        except TimeoutError as late:
            raise AssertionError(f"{late}\n{self.log.read_text()[-3000:]}") from None

    def command(self, words: str) -> str:
        """One of the broker's, as its user; not of the page, but to look at what the page did."""
        config = self.etc / "broker.yaml"
        return self.terminal.paste(f"sudo -u agentkeys agentkeys-broker-server {words} --json --config {config}").stdout

    def close(self) -> None:
        self.terminal.paste("systemctl stop agentkeys-broker")
        self.terminal.close()
        shutil.rmtree(self.root, ignore_errors=True)
