"""Wall time of `agentkeys aws credentials` beside `aws --version`, and the daemon's memory.

SDKs run the first once per process as their `credential_process`; the second is what the
command line costs before it does anything. Each round runs, one after another: `aws
--version`; `agentkeys aws credentials` on a machine with a warm daemon; the same on one
without, where it mints through the broker and a real STS. Read the ratios, which are of
runs side by side; the milliseconds are the machine's.

    cargo build --release --workspace
    python harness/bench/credentials_beside_aws.py

README.md beside this file has a run.
"""
from __future__ import annotations

import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from brokerlib import Broker  # noqa: E402
from clientlib import Machine, client_program  # noqa: E402
from http_client import Client  # noqa: E402
from peers.ports import free_port  # noqa: E402
from peers.seaweedfs import SeaweedFS  # noqa: E402
from peers.tools import require_tool  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "25"))
REQUESTS = 1000
AWS, WARM, COLD = "aws --version", "credentials, warm daemon", "credentials, no daemon"


def resident_mib(pid: int) -> float:
    line = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line.group(1)) / 1024 if line else 0.0


def seconds(command: Callable[[], object]) -> float:
    started = time.perf_counter()
    done = command()
    taken = time.perf_counter() - started
    assert done.returncode == 0, done.stderr
    return taken


def ask_often(daemon) -> None:
    """As SDKs do: a connection for each."""
    headers = {"Authorization": daemon.token()}
    for _ in range(REQUESTS):
        with Client(daemon.addresses["container"].rsplit("/", 1)[0]) as client:
            answer = client.request("GET", "/credentials", headers=headers)
        assert answer.status == 200, answer.status


def rounds(warm: Machine, cold: Machine) -> Dict[str, List[float]]:
    commands = {
        AWS: lambda: warm.command([require_tool("aws", "awscli"), "--version"]),
        WARM: lambda: warm.run("aws", "credentials"),
        COLD: lambda: cold.run("aws", "credentials"),
    }
    taken: Dict[str, List[float]] = {name: [] for name in commands}
    for number in range(ROUNDS + 1):
        for name, command in commands.items():
            one = seconds(command)
            # The first reads the programs from the disk.
            if number:
                taken[name].append(one)
    return taken


def machine(home: Path, broker: Broker) -> Machine:
    made = Machine(home, broker.url, AGENTKEYS_SESSION_STORE="file")
    made.log_in(broker.token())
    return made


def main() -> int:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="akc-") as text:
        directory = Path(text)
        with SeaweedFS(directory / "seaweedfs", f"http://127.0.0.1:{port}") as seaweedfs:
            config = {
                "aws": {"exchange": "web_identity", "sts_endpoint": seaweedfs.endpoint},
                "roles": {"agent": {"arn": seaweedfs.role_arn}},
                "environment": {"bucket": seaweedfs.bucket},
            }
            with Broker(config, port=port) as broker:
                warm, cold = machine(directory / "warm", broker), machine(directory / "cold", broker)
                with warm.daemon() as daemon:
                    daemon.wait_serving()
                    print(f"{client_program()}, {ROUNDS} rounds")
                    print(f"daemon at idle: {resident_mib(daemon.pid):.1f} MiB resident")
                    report(rounds(warm, cold))
                    ask_often(daemon)
                    print(f"daemon after {REQUESTS} requests: {resident_mib(daemon.pid):.1f} MiB resident")
    return 0


def report(taken: Dict[str, List[float]]) -> None:
    for name, values in taken.items():
        ratio = statistics.median(one / aws for one, aws in zip(values, taken[AWS]))
        low, middle, high = min(values), statistics.median(values), max(values)
        figures = f"median {middle * 1e3:6.1f} ms  min {low * 1e3:6.1f}  max {high * 1e3:6.1f}"
        print(f"  {name:26s} {figures}  {ratio:.2f} of {AWS}")


if __name__ == "__main__":
    sys.exit(main())
