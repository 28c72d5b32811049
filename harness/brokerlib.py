"""Runs the broker's binary as an operator would: a broker.yaml, an environment, a port.

`BROKER_BIN` names the binary; else the release build, else the debug build. The
process gets PATH and HOME and what the test passes, nothing of the machine's
environment: a credential in a developer's shell must never make a test green.
"""
from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import jwt
import yaml

from http_client import Answer, Client
from peers.ports import free_port
from peers.process import ManagedProcess, wait_until

REPOSITORY = Path(__file__).resolve().parent.parent
NAME = "agentkeys-broker-server"
DEFAULT_AUDIENCE = "sts.amazonaws.com"

# High enough that only the tests of limits meet one.
NO_LIMITS = {
    "per_source": "100000/s",
    "per_session": "100000/s",
    "per_wallet": "100000/s",
    "failed_auth": "100000/s",
}


class NoBinary(RuntimeError):
    """There is nothing to test."""


def binary() -> Path:
    named = os.environ.get("BROKER_BIN")
    if named:
        if not Path(named).exists():
            raise NoBinary(f"BROKER_BIN names {named}, which does not exist")
        return Path(named).resolve()
    for profile in ("release", "debug"):
        found = REPOSITORY / "target" / profile / NAME
        if found.exists():
            return found
    raise NoBinary(f"no {NAME}: build it with cargo build --release, or name one in BROKER_BIN")


@dataclass
class Cli:
    """What one run of a command line gave."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def document(self) -> Any:
        return json.loads(self.stdout)

    def rows(self) -> List[dict]:
        """A list: one document per line."""
        return [json.loads(line) for line in self.stdout.splitlines() if line.strip()]


class Broker:
    def __init__(
        self,
        config: Optional[Mapping[str, Any]] = None,
        *,
        daemon_key: Optional[tuple] = None,
        environment: Optional[Mapping[str, str]] = None,
        tls: bool = False,
        port: Optional[int] = None,
        user: Optional[int] = None,
    ) -> None:
        """`config` is laid over the defaults below, key by key; a None there takes the default's key away."""
        # Short, since a Unix socket's path has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="akb-"))
        self.data_dir = self.directory / "data"
        self.config_file = self.directory / "broker.yaml"
        self.port = port or free_port()
        self.metrics_port = free_port()
        self.tls = tls
        self.user = user
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}"
        self.settings = _overlay(self._defaults(), config or {})
        self.issuer = self.settings["issuer"]
        self.environment = self._environment(daemon_key, environment or {})
        self._stdout = self.directory / "stdout.log"
        self._stderr = self.directory / "stderr.log"
        self._process: Optional[ManagedProcess] = None
        self.config_file.write_text(yaml.safe_dump(self.settings, sort_keys=False))
        if user is not None:
            for path in (self.directory, self.config_file):
                os.chown(path, user, user)

    # Life

    def start(self, ready: bool = True, timeout: float = 20) -> "Broker":
        """Until it says `ready`; and with `ready`, until /readyz agrees."""
        offset = len(self._stdout.read_text()) if self._stdout.exists() else 0
        self._process = ManagedProcess(
            [str(binary()), "serve", "--config", str(self.config_file), "--data-dir", str(self.data_dir)],
            log=self._stderr,
            stdout=self._stdout,
            env=self.environment,
            cwd=self.directory,
            user=self.user,
        )
        self._process.start()

        def announced() -> bool:
            text = self._stdout.read_text(errors="replace")[offset:]
            return any(line.startswith("ready") for line in text.splitlines())

        self._process.wait_ready(announced, timeout)
        if ready:
            self.wait_readyz(200, timeout)
        return self

    def wait_readyz(self, status: int, timeout: float = 20) -> Answer:
        seen: List[Answer] = []

        def reached() -> bool:
            seen.append(self.get("/readyz"))
            return seen[-1].status == status

        try:
            wait_until(reached, timeout, f"/readyz {status}")
        except TimeoutError as late:
            raise AssertionError(f"{late}; last: {seen[-1]}\n{self.logs()[-3000:]}") from None
        return seen[-1]

    def terminate(self, timeout: float = 40) -> int:
        """SIGTERM, and the exit code."""
        assert self._process, "not started"
        self._process.signal(signal.SIGTERM)
        return self._process.wait(timeout)

    def kill9(self) -> None:
        assert self._process, "not started"
        self._process.kill()

    def signal(self, number: int) -> None:
        assert self._process, "not started"
        self._process.signal(number)

    @property
    def pid(self) -> int:
        assert self._process, "not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def exit_code(self) -> Optional[int]:
        return self._process.exit_code if self._process else None

    def __enter__(self) -> "Broker":
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        if self._process:
            self._process.stop(10)
        if not os.environ.get("KEEP_BROKER_DIRECTORIES"):
            shutil.rmtree(self.directory, ignore_errors=True)

    # HTTP

    @property
    def ca(self) -> Optional[Path]:
        """The local authority of `tls: development`."""
        return self.data_dir / "tls" / "ca.crt" if self.tls else None

    def client(self, timeout: float = 15) -> Client:
        return Client(self.url, self.ca, timeout)

    def request(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """On a connection of its own."""
        with self.client(more.pop("timeout", 15)) as client:
            return client.request(method, path, body, **more)

    def get(self, path: str, **more: Any) -> Answer:
        return self.request("GET", path, **more)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        return self.request("POST", path, body, **more)

    def try_mint(self, token: Optional[str], timeout: float = 30, headers: Optional[dict] = None, **body: Any) -> Answer:
        return self.post("/v1/mint-aws-creds", body, token=token, timeout=timeout, headers=headers)

    def mint(self, token: str, **body: Any) -> dict:
        answer = self.try_mint(token, **body)
        assert answer.status == 200, f"{answer}\n{self.logs()[-3000:]}"
        return answer.json()

    def try_mint_jwt(self, token: Optional[str], **body: Any) -> Answer:
        return self.post("/v1/mint-oidc-jwt", body, token=token)

    def mint_jwt(self, token: str, **body: Any) -> dict:
        answer = self.try_mint_jwt(token, **body)
        assert answer.status == 200, f"{answer}\n{self.logs()[-3000:]}"
        return answer.json()

    def verify_jwt(self, token: str, audience: str = DEFAULT_AUDIENCE) -> dict:
        """The claims, verified through discovery by PyJWT: it knows nothing of the broker but its issuer."""
        discovery = self.get("/.well-known/openid-configuration").json()
        keys = jwt.PyJWKSet.from_dict(self.get(_path(discovery["jwks_uri"])).json())
        kid = jwt.get_unverified_header(token)["kid"]
        key = next(k for k in keys.keys if k.key_id == kid)
        return jwt.decode(
            token,
            key.key,
            algorithms=["ES256"],
            audience=audience,
            issuer=discovery["issuer"],
            options={"require": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"]},
        )

    def metrics(self) -> str:
        with Client(self.metrics_url) as client:
            answer = client.request("GET", "/metrics")
        assert answer.status == 200, answer
        return answer.text

    # The command line

    def cli(self, *arguments: str, check: bool = True) -> Any:
        """`ARGUMENTS --json`, parsed as one document. With check=False: the whole result."""
        result = self.run_cli(*arguments, "--json")
        if not check:
            return result
        assert result.exit_code == 0, f"{arguments}: {result}"
        return result.document()

    def cli_rows(self, *arguments: str) -> List[dict]:
        result = self.run_cli(*arguments, "--json")
        assert result.exit_code == 0, f"{arguments}: {result}"
        return result.rows()

    def run_cli(self, *arguments: str, timeout: float = 30) -> Cli:
        # As this user: the admin socket's file permission is the authentication.
        return run_binary(
            *arguments,
            "--config",
            str(self.config_file),
            "--data-dir",
            str(self.data_dir),
            environment=self.environment,
            timeout=timeout,
        )

    def session_issue(
        self,
        wallet: Optional[str] = None,
        label: Optional[str] = None,
        ttl: Optional[str] = None,
        role: Optional[str] = None,
        read_only: bool = False,
    ) -> dict:
        arguments = ["session", "issue"]
        for name, value in (("--wallet", wallet), ("--label", label), ("--ttl", ttl), ("--role", role)):
            if value is not None:
                arguments += [name, value]
        if read_only:
            arguments.append("--read-only")
        return self.cli(*arguments)

    def token(self, wallet: Optional[str] = None, **more: Any) -> str:
        return self.session_issue(wallet, **more)["token"]

    def audit(self, limit: int = 100) -> List[dict]:
        return self.cli_rows("audit", "list", "--limit", str(limit))

    def audit_all(self) -> List[dict]:
        """The whole chain, oldest first: a list is capped, an export is not."""
        return self.cli_rows("audit", "export")

    def audit_of(self, mint_id: str, limit: int = 200) -> Dict[str, dict]:
        """The records of one mint, by phase."""
        return {row["phase"]: row for row in self.audit(limit) if row["mint_id"] == mint_id}

    def audit_verify(self) -> dict:
        return self.cli("audit", "verify")

    # What it leaves behind

    def logs(self) -> str:
        return "".join(p.read_text(errors="replace") for p in (self._stdout, self._stderr) if p.exists())

    def files(self) -> List[Path]:
        return [path for path in self.data_dir.rglob("*") if path.is_file()]

    def _defaults(self) -> Dict[str, Any]:
        listener: Dict[str, Any] = {"address": f"127.0.0.1:{self.port}"}
        if self.tls:
            listener["tls"] = "development"
        return {
            "issuer": self.url,
            "data_dir": str(self.data_dir),
            "listeners": [listener],
            "metrics": {"address": f"127.0.0.1:{self.metrics_port}"},
            "aws": {"region": "us-east-1"},
            "limits": dict(NO_LIMITS),
        }

    def _environment(self, daemon_key: Optional[tuple], more: Mapping[str, str]) -> Dict[str, str]:
        home = self.directory / "home"
        home.mkdir()
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(home)}
        if daemon_key:
            environment["BROKER_DAEMON_ACCESS_KEY_ID"] = daemon_key[0]
            environment["BROKER_DAEMON_SECRET_ACCESS_KEY"] = daemon_key[1]
        environment.update(more)
        return environment


def run_binary(*arguments: str, environment: Optional[Mapping[str, str]] = None, timeout: float = 30) -> Cli:
    done = subprocess.run(
        [str(binary()), *arguments],
        env=dict(environment) if environment is not None else {"PATH": os.environ.get("PATH", "")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=timeout,
    )
    return Cli(done.returncode, done.stdout, done.stderr)


def wait_mint(broker: Broker, token: str, timeout: float = 30) -> dict:
    """Until a mint is granted again: what 'recovers by itself' means to a client."""
    last: List[Answer] = []

    def granted() -> bool:
        last.append(broker.try_mint(token))
        return last[-1].status == 200

    try:
        wait_until(granted, timeout, "a mint is granted again")
    except TimeoutError as late:
        raise AssertionError(f"{late}; last answer {last[-1]}\n{broker.logs()[-3000:]}") from None
    return last[-1].json()


def timed(call: Any, *arguments: Any, **named: Any) -> tuple:
    started = time.monotonic()
    result = call(*arguments, **named)
    return result, time.monotonic() - started


def _path(url: str) -> str:
    """The path of a URL of the broker's own, so that the request goes where the test looks."""
    return "/" + url.split("://", 1)[1].split("/", 1)[1]


def _overlay(base: Dict[str, Any], changes: Mapping[str, Any]) -> Dict[str, Any]:
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None and key in merged:
            del merged[key]
        elif isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = _overlay(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged
