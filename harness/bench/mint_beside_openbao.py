"""Mints per second and CPU per mint of `mint-oidc-jwt`, beside OpenBao's identity/oidc/token.

Both in one run, on one machine, with the same load: ES256, a durable audit on the
broker's side, a file audit device on OpenBao's. The broker speaks TLS, OpenBao's
dev server plain http, so TLS is in the broker's figures alone. Read the ratio, not
the absolute numbers: machines differ and are noisy.

    cargo build --release -p agentkeys-broker-server
    python harness/bench/mint_beside_openbao.py

Needs wrk (Debian: apt-get install wrk).
"""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Callable, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from brokerlib import NO_LIMITS, Broker  # noqa: E402
from peers.openbao import OpenBao  # noqa: E402

SECONDS = int(os.environ.get("BENCH_SECONDS", "8"))
ROUNDS = 3
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    line = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line.group(1)) / 1024 if line else 0.0


def wrk(directory: Path, url: str, method: str, header: str, value: str, connections: int) -> Tuple[int, str, str, int]:
    # In a file: a token on a command line is readable by everyone.
    script = directory / "load.lua"
    script.write_text(f'wrk.method = "{method}"\nwrk.headers["{header}"] = "{value}"\n')
    script.chmod(0o600)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-s", str(script), url],
        capture_output=True, text=True, check=True,
    )
    requests = int(re.search(r"(\d+) requests in", done.stdout).group(1))
    p50 = re.search(r"50%\s+(\S+)", done.stdout).group(1)
    p99 = re.search(r"99%\s+(\S+)", done.stdout).group(1)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    return requests, p50, p99, int(refused.group(1)) if refused else 0


def measure(name: str, pid: int, run: Callable[[], Tuple[int, str, str, int]]) -> Tuple[float, float]:
    before = cpu_seconds(pid)
    requests, p50, p99, refused = run()
    cpu = (cpu_seconds(pid) - before) / max(requests, 1) * 1e6
    rate = requests / SECONDS
    print(f"  {name:10s} {rate:9.0f}/s  p50 {p50:>8s}  p99 {p99:>8s}  {cpu:7.0f} us CPU/mint  refused {refused}", flush=True)
    return rate, cpu


def main() -> int:
    if not shutil.which("wrk"):
        print("wrk is missing (Debian: apt-get install wrk)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="agentkeys-bench-") as text:
        directory = Path(text)
        # No mint of this benchmark asks AWS, so nothing is learned from it.
        config = {
            "limits": dict(NO_LIMITS, requests_per_connection=1000000),
            "roles": {"agent": {"arn": "arn:aws:iam::000000000000:role/agentkeys-agent"}},
            "environment": {"bucket": "agentkeys-mail"},
            "log": {"level": "warn"},
        }
        with Broker(config, tls=True) as broker, OpenBao(directory / "openbao") as bao:
            token = broker.token()
            bao_pid = bao._process.pid
            print(f"broker at idle: {resident_mib(broker.pid):.1f} MiB resident; OpenBao: {resident_mib(bao_pid):.1f} MiB")
            for connections in (1, 4, 16, 64):
                print(f"{connections} connections")
                ratios = []
                for _ in range(ROUNDS):
                    ours = measure(
                        "broker", broker.pid,
                        lambda: wrk(directory, broker.url + "/v1/mint-oidc-jwt", "POST", "Authorization", f"Bearer {token}", connections),
                    )
                    theirs = measure(
                        "OpenBao", bao_pid,
                        lambda: wrk(directory, bao.token_url, "GET", "X-Vault-Token", bao.user_token, connections),
                    )
                    ratios.append((ours[0] / theirs[0], ours[1] / theirs[1]))
                rate, cpu = sorted(r[0] for r in ratios)[ROUNDS // 2], sorted(r[1] for r in ratios)[ROUNDS // 2]
                print(f"  broker / OpenBao, median of {ROUNDS}: {rate:.2f} x mints per second, {cpu:.2f} x CPU per mint")
            print(f"broker after the load: {resident_mib(broker.pid):.1f} MiB resident")
            verified = broker.audit_verify()
            print(f"audit: ok={verified['ok']}, {verified['records']} records")
            return 0 if verified["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
