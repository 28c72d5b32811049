"""A real Prometheus that scrapes the broker, and promtool which judges what it serves.

Both come from Debian's `prometheus` and are optional: `installed()` says.
"""
from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Optional

from .peer import Peer
from .ports import free_port
from .process import ManagedProcess, http_answers, wait_until
from .tools import find_tool


def installed() -> bool:
    return find_tool("prometheus") is not None and find_tool("promtool") is not None


def check_metrics(text: str) -> "subprocess.CompletedProcess[str]":
    """`promtool check metrics` on an exposition: exit 0 and no output where all is well."""
    return subprocess.run(
        [find_tool("promtool") or "promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
    )


def check_rules(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [find_tool("promtool") or "promtool", "check", "rules", str(path)],
        capture_output=True,
        text=True,
        timeout=30,
    )


class Prometheus(Peer):
    stop_seconds = 5.0

    def __init__(self, directory: Path, target: str, rules: Optional[Path] = None) -> None:
        """`target` is host:port of the metrics listener."""
        super().__init__(directory, "prometheus", free_port())
        self.target = target
        self.rules = rules

    def _child(self) -> ManagedProcess:
        config = self.directory / "prometheus.yml"
        config.write_text(self._config())
        return self._managed(
            [
                find_tool("prometheus") or "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={self.directory / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ]
        )

    def _is_ready(self) -> object:
        return http_answers(self.port, "/-/ready", (200,))

    def wait_scraped(self, timeout: float = 20) -> None:
        """Until the target is up, which it is only after a scrape that parsed."""
        wait_until(lambda: self._health() == "up", timeout, f"{self.target} scraped (health {self._health()})")

    def query(self, expression: str) -> list:
        return self._api("query", query=expression)["data"]["result"]

    def _health(self) -> str:
        targets = self._api("targets")["data"]["activeTargets"]
        return targets[0]["health"] if targets else "none"

    def _api(self, path: str, **parameters: str) -> dict:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.endpoint}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)

    def _config(self) -> str:
        rules = f"rule_files: [{json.dumps(str(self.rules.resolve()))}]\n" if self.rules else ""
        return (
            "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\n"
            + rules
            + "scrape_configs:\n"
            + "  - job_name: broker\n"
            + f"    static_configs: [{{targets: [{json.dumps(self.target)}]}}]\n"
        )
