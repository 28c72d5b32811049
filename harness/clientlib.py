"""A developer's or end user's machine: a home of its own, a few variables, and the clients.

Nothing of the environment around the tests gets in except PATH, so whatever a client
finds, it found in this home or at the broker.
"""
from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import urllib.parse
from pathlib import Path
from typing import Dict, List, Optional, Sequence

from botocore.credentials import ContainerProvider

from brokerlib import NoBinary, binary
from http_client import Answer, Client
from peers.ports import free_port
from peers.process import ManagedProcess, wait_until

READY_SECONDS = 20
READY = re.compile(r"^ready (.*)$", re.MULTILINE)
PAIR = re.compile(r"^pair (\S+)", re.MULTILINE)
# What an SDK waits for the container endpoint.
SDK_SECONDS = 2


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
        # Files, unless a test says otherwise: the keychain of whoever runs the tests is not theirs to fill.
        self.environment: Dict[str, str] = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "AGENTKEYS_SESSION_STORE": "file",
            **variables,
        }
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
        """Not yet started. Where it will answer is known before it does."""
        return Daemon(self, arguments, more)

    def sessions(self) -> List[dict]:
        """The list of what is stored: it holds no token."""
        path = self.home / ".agentkeys" / "sessions.json"
        return json.loads(path.read_text())["sessions"] if path.exists() else []

    def files(self) -> List[Path]:
        return [path for path in (self.home / ".agentkeys").rglob("*") if path.is_file()]


class Daemon(ManagedProcess):
    """One `agentkeys-daemon` of a machine, on a free port and with a token file of its own."""

    def __init__(self, machine: Machine, arguments: Sequence[str], more: Optional[Dict[str, str]] = None) -> None:
        self.port = free_port()
        self.token_file = machine.home / f"daemon-{self.port}.token"
        super().__init__(
            [
                str(client_program("agentkeys-daemon")),
                "--listen",
                f"127.0.0.1:{self.port}",
                "--token-file",
                str(self.token_file),
                *arguments,
            ],
            log=machine.home / f"daemon-{self.port}.log",
            stdout=machine.home / f"daemon-{self.port}.out",
            env={**machine.environment, **(more or {})},
            cwd=machine.home,
        )
        self.addresses: Dict[str, str] = {}

    # Life

    def wait_serving(self, timeout: float = READY_SECONDS) -> "Daemon":
        """Until the `ready` line; its addresses are then in `addresses`."""
        line = self.wait_ready(lambda: self._printed(READY), timeout)
        self.addresses = dict(pair.split("=", 1) for pair in str(line).split() if "=" in pair)
        return self

    def wait_listening(self, timeout: float = READY_SECONDS) -> "Daemon":
        """Until it answers at all, with or without a credential."""

        def answers() -> bool:
            try:
                self.health()
                return True
            except OSError:
                return False

        self.wait_ready(answers, timeout)
        return self

    def wait_health(self, status: int, trouble: Optional[str] = None, timeout: float = READY_SECONDS) -> dict:
        """Until /healthz says so; `trouble` is a word of its own."""
        seen: List[dict] = [{}]

        def reached() -> bool:
            answer = self.health()
            seen[0] = answer.json()
            return answer.status == status and (trouble is None or seen[0]["trouble"] == trouble)

        try:
            wait_until(reached, timeout, f"/healthz {status} {trouble or ''}")
        except TimeoutError as late:
            raise AssertionError(f"{late}; last: {seen[0]}\n{self.log_tail()}") from None
        return seen[0]

    def pairing_code(self, timeout: float = READY_SECONDS) -> str:
        """What a daemon that pairs shows."""
        return str(self.wait_ready(lambda: self._printed(PAIR), timeout))

    def terminate(self, timeout: float = 10) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    # What it answers

    def ask(self, token: Optional[str] = None, timeout: float = 10) -> Answer:
        """As an SDK does: the token file's content, read anew."""
        given = self.token() if token is None else token
        return self._get("/credentials", {"Authorization": given}, timeout)

    def health(self) -> Answer:
        return self._get("/healthz", {}, 10)

    def sdk_provider(self) -> ContainerProvider:
        """botocore's own reader of the endpoint, told where it is as a user would tell it."""
        return ContainerProvider(
            environ={
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{self.port}/credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self.token_file),
            }
        )

    def ask_many(self, callers: int) -> List[Answer]:
        """All at once."""
        answers: List[Answer] = []
        barrier = threading.Barrier(callers)

        def one() -> None:
            barrier.wait()
            answers.append(self.ask())

        threads = [threading.Thread(target=one) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def token(self) -> str:
        return self.token_file.read_text()

    @property
    def imds_port(self) -> int:
        return int(urllib.parse.urlsplit(self.addresses["imds"]).port or 0)

    def printed(self) -> str:
        assert self.stdout is not None
        return self.stdout.read_text(errors="replace") if self.stdout.exists() else ""

    def _printed(self, pattern: "re.Pattern[str]") -> Optional[str]:
        found = pattern.search(self.printed())
        return found.group(1) if found else None

    def _get(self, path: str, headers: Dict[str, str], timeout: float) -> Answer:
        with Client(f"http://127.0.0.1:{self.port}", timeout=timeout) as client:
            return client.request("GET", path, headers=headers)
