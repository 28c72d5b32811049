"""Fixtures that the end-to-end tests share.

Servers live as long as the session and bind fresh ports; a test that breaks
something (faults, limits, files) makes a broker of its own with `make_broker`.
"""
from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

# Shared assertions explain themselves as those of a test do.
pytest.register_assert_rewrite("expect", "http_client", "brokerlib")

from brokerlib import Broker, NoBinary, binary
from peers.ministack import Ministack
from peers.moto import Moto
from peers.ports import free_port
from peers.seaweedfs import SeaweedFS
from peers.strict_sts import StrictSts

MODERN_PYTHON = sys.version_info >= (3, 10)


@pytest.fixture(scope="session")
def broker_binary() -> Path:
    """Absent is a failure and not a skip: a suite that tested nothing must not be green."""
    try:
        return binary()
    except NoBinary as reason:
        pytest.fail(str(reason))


@pytest.fixture
def make_broker(broker_binary: Path) -> Iterator[Callable[..., Broker]]:
    """Makes brokers that end with the test. `start=False` leaves that to the test."""
    made = []

    def make(config: Any = None, start: bool = True, ready: bool = True, **more: Any) -> Broker:
        broker = Broker(config, **more)
        made.append(broker)
        return broker.start(ready) if start else broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture(scope="session")
def session_directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="akh-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Skipped without one; `harness/stage-7-done.sh` takes no skip."""
    for name in ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found
    pytest.skip("no Chromium: scripts/bootstrap installs it as root (Debian: apt-get install chromium)")


# The strict STS double


@pytest.fixture(scope="session")
def strict_sts_process(session_directory: Path) -> Iterator[StrictSts]:
    with StrictSts(session_directory / "sts", options=("--jwks-cooldown", "0.2")) as running:
        yield running


@pytest.fixture
def sts(strict_sts_process: StrictSts) -> Iterator[StrictSts]:
    """The double as new: no fault, no record of calls, a role that isolates by tag."""
    strict_sts_process.reset()
    yield strict_sts_process
    strict_sts_process.clear_faults()


@pytest.fixture
def home() -> Iterator[Path]:
    """Where a client lives: short, since a Unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="akm-") as directory:
        yield Path(directory)


def double_config(sts: StrictSts, exchange: str) -> dict:
    return {
        "aws": {"exchange": exchange, "sts_endpoint": sts.endpoint},
        "roles": {"agent": {"arn": sts.role_arn}},
        "environment": {"bucket": sts.bucket},
    }


@pytest.fixture
def web_broker(make_broker: Callable[..., Broker], sts: StrictSts) -> Callable[..., Broker]:
    """Makes brokers that exchange by web identity, with no AWS key at all."""

    def make(config: Any = None, **more: Any) -> Broker:
        start, ready = more.pop("start", True), more.pop("ready", True)
        base = double_config(sts, "web_identity")
        broker = make_broker(_merge(base, config), start=False, **more)
        sts.trust_issuer(broker.issuer, cooldown_seconds=0.2)
        return broker.start(ready) if start else broker

    return make


@pytest.fixture
def role_broker(make_broker: Callable[..., Broker], sts: StrictSts) -> Callable[..., Broker]:
    """Makes brokers that exchange by signed AssumeRole with the operator's key."""

    def make(config: Any = None, **more: Any) -> Broker:
        more.setdefault("daemon_key", (sts.access_key_id, sts.secret_access_key))
        return make_broker(_merge(double_config(sts, "assume_role"), config), **more)

    return make


@pytest.fixture(scope="module")
def shared_broker(broker_binary: Path, strict_sts_process: StrictSts) -> Iterator[Broker]:
    """One broker per file, for tests that leave it as they found it."""
    sts = strict_sts_process
    sts.reset()
    key = (sts.access_key_id, sts.secret_access_key)
    with Broker(double_config(sts, "assume_role"), daemon_key=key) as running:
        yield running


# Real peers


@pytest.fixture(scope="session")
def seaweed_issuer_port() -> int:
    """SeaweedFS learns its issuer at start, so the broker's port is chosen before both."""
    return free_port()


@pytest.fixture(scope="session")
def seaweedfs(session_directory: Path, seaweed_issuer_port: int) -> Iterator[SeaweedFS]:
    with SeaweedFS(session_directory / "seaweedfs", f"http://127.0.0.1:{seaweed_issuer_port}") as running:
        yield running


# Per file, since only one broker at a time can hold the port that SeaweedFS trusts.
@pytest.fixture(scope="module")
def seaweed_broker(
    broker_binary: Path, seaweedfs: SeaweedFS, seaweed_issuer_port: int
) -> Iterator[Broker]:
    config = {
        "aws": {"exchange": "web_identity", "sts_endpoint": seaweedfs.endpoint},
        "roles": {"agent": {"arn": seaweedfs.role_arn}},
        "environment": {"bucket": seaweedfs.bucket},
    }
    with Broker(config, port=seaweed_issuer_port) as running:
        yield running


@pytest.fixture(scope="session")
def ministack(session_directory: Path) -> Iterator[Ministack]:
    if not MODERN_PYTHON:
        pytest.skip("ministack needs Python 3.10 or newer")
    with Ministack(session_directory / "ministack") as running:
        yield running


@pytest.fixture(scope="module")
def account(tmp_path_factory) -> Iterator[Ministack]:
    """An AWS account with nothing in it, for pages that begin there."""
    if not MODERN_PYTHON:
        pytest.skip("ministack needs Python 3.10 or newer")
    with Ministack(tmp_path_factory.mktemp("ministack"), provisioned=False) as running:
        yield running


@pytest.fixture(scope="session")
def moto(session_directory: Path) -> Iterator[Moto]:
    with Moto(session_directory / "moto") as running:
        yield running


def _merge(base: dict, changes: Any) -> dict:
    merged = dict(base)
    for key, value in (changes or {}).items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged
