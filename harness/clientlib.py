"""A developer's or end user's machine: a home of its own, a few variables, and the clients.

Nothing of the environment around the tests gets in except PATH, so whatever a client
finds, it found in this home or at the broker.
"""
from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Dict, Optional, Sequence

from brokerlib import NoBinary, binary
from peers.process import ManagedProcess

READY_SECONDS = 20
READY = re.compile(r"^ready (.*)$", re.MULTILINE)


def client_program(name: str = "agentkeys") -> Path:
    """`AGENTKEYS_BIN` names `agentkeys`; else it is beside the broker. The daemon is beside it."""
    named = os.environ.get("AGENTKEYS_BIN")
    directory = Path(named).resolve().parent if named else binary().parent
    found = directory / name
    if not found.exists():
        raise NoBinary(f"no {found}: build it with cargo build --workspace, or name one in AGENTKEYS_BIN")
    return found


class Machine:
    """A home directory, PATH, the broker's URL, and nothing else that was not asked for."""

    def __init__(self, home: Path, broker_url: Optional[str], **variables: str) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.environment: Dict[str, str] = {"HOME": str(home), "PATH": os.environ["PATH"], **variables}
        if broker_url is not None:
            self.environment["AGENTKEYS_BROKER_URL"] = broker_url

    def run(
        self, *arguments: str, stdin: str = "", more: Optional[Dict[str, str]] = None, timeout: float = 60
    ) -> subprocess.CompletedProcess:
        """One `agentkeys` command."""
        return self.command([str(client_program()), *arguments], stdin, more, timeout)

    def command(
        self, argv: Sequence[str], stdin: str = "", more: Optional[Dict[str, str]] = None, timeout: float = 60
    ) -> subprocess.CompletedProcess:
        """Any program, in this machine's environment."""
        return subprocess.run(
            [str(part) for part in argv],
            env={**self.environment, **(more or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.home,
        )

    def log_in(self, token: str) -> None:
        done = self.run("login", "--token-stdin", stdin=token)
        assert done.returncode == 0, done.stderr

    def daemon(self, *arguments: str, more: Optional[Dict[str, str]] = None) -> "Daemon":
        return Daemon(self, arguments, more)


class Daemon(ManagedProcess):
    """One `agentkeys-daemon` of a machine."""

    def __init__(self, machine: Machine, arguments: Sequence[str], more: Optional[Dict[str, str]] = None) -> None:
        super().__init__(
            [str(client_program("agentkeys-daemon")), *arguments],
            log=machine.home / "daemon.log",
            stdout=machine.home / "daemon.out",
            env={**machine.environment, **(more or {})},
            cwd=machine.home,
        )
        self.addresses: Dict[str, str] = {}

    def wait_serving(self, timeout: float = READY_SECONDS) -> "Daemon":
        """Until the `ready` line; its addresses are then in `addresses`."""
        line = self.wait_ready(self._ready_line, timeout)
        self.addresses = dict(pair.split("=", 1) for pair in str(line).split() if "=" in pair)
        return self

    def _ready_line(self) -> Optional[str]:
        found = READY.search(self.printed())
        return found.group(1) if found else None

    def printed(self) -> str:
        assert self.stdout is not None
        return self.stdout.read_text(errors="replace") if self.stdout.exists() else ""


    def token(self) -> str:
        return Path(self.addresses["token_file"]).read_text()
