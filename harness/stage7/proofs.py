"""Runs tests and commands, and says of each how it ended."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Mapping, Optional, Sequence

from stage7 import plugin

COMMAND_SECONDS = 240
_running: set = set()


@dataclass
class Outcome:
    """Of one test."""

    test: str
    outcome: str
    seconds: float = 0.0
    when: str = "call"
    asserted: bool = False
    message: str = ""


@dataclass
class Ran:
    """One command, or one session of pytest."""

    exit_code: int
    output: str
    seconds: float


@dataclass
class Collected:
    tests: List[str]
    # File → why it has no tests.
    broken: Dict[str, str]

    def of(self, proof: str) -> List[str]:
        """A name without parameters means all of them."""
        return [test for test in self.tests if test == proof or test.startswith(proof + "[")]


def collect(checkout: Path, environment: Mapping[str, str], scratch: Path) -> Collected:
    lines: List[dict] = []
    pytest_session(
        checkout, ["tests", "--collect-only", "--continue-on-collection-errors"], environment, scratch, lines.append
    )
    return Collected(
        [line["test"] for line in lines if "test" in line],
        {line["broken"]: line["message"] for line in lines if "broken" in line},
    )


def run_tests(
    checkout: Path,
    tests: Sequence[str],
    environment: Mapping[str, str],
    scratch: Path,
    ended: Callable[[Outcome], None] = lambda outcome: None,
) -> tuple:
    """All tests in one session: their outcomes by name, and the session."""
    outcomes: Dict[str, Outcome] = {}

    def line(row: dict) -> None:
        outcome = Outcome(**row)
        outcomes[outcome.test] = outcome
        ended(outcome)

    session = pytest_session(checkout, [f"tests/{test}" for test in tests], environment, scratch, line)
    return outcomes, session


def pytest_session(
    checkout: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    scratch: Path,
    line: Callable[[dict], None],
) -> Ran:
    scratch.mkdir(parents=True, exist_ok=True)
    results = scratch / "results.jsonl"
    results.write_text("")
    log = scratch / "pytest.log"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "stage7.plugin", "-p", "no:cacheprovider", *arguments]
    started = time.monotonic()
    with open(log, "wb") as output, open(results) as lines:
        child = subprocess.Popen(
            argv,
            cwd=checkout / "harness",
            env={**environment, plugin.VARIABLE: str(results), "PYTHONPATH": str(checkout / "harness")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _running.add(child)
        rest = ""
        try:
            while True:
                over = child.poll() is not None
                # The last line may still be without its end.
                *whole, rest = (rest + lines.read()).split("\n")
                for text in whole:
                    line(json.loads(text))
                if over:
                    break
                time.sleep(0.05)
        finally:
            _end(child)
    return Ran(child.returncode, log.read_text(errors="replace"), time.monotonic() - started)


def run_command(
    argv: Sequence[str], checkout: Path, environment: Mapping[str, str], timeout: float = COMMAND_SECONDS
) -> Ran:
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            list(argv),
            cwd=checkout,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as missing:
        return Ran(127, f"{argv[0]}: {missing.strerror}", 0.0)
    _running.add(child)
    try:
        output, _ = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _end(child)
        return Ran(124, f"not done within {timeout:g} s", time.monotonic() - started)
    finally:
        _end(child)
    return Ran(child.returncode, output, time.monotonic() - started)


def end_all() -> None:
    """For an interrupted run: nothing that it started outlives it."""
    for child in list(_running):
        _end(child)


def _end(child: "subprocess.Popen") -> None:
    """A session that was interrupted takes its servers with it: they are in its process group."""
    _running.discard(child)
    if child.poll() is not None:
        return
    for number, grace in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            return
        try:
            child.wait(grace)
            return
        except subprocess.TimeoutExpired:
            continue


def last_words(output: str, width: int = 160) -> Optional[str]:
    lines = [text.strip() for text in output.splitlines() if text.strip()]
    return lines[-1][:width] if lines else None
