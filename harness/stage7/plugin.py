"""A pytest plugin that writes one JSON line per finished test, while the session runs."""
from __future__ import annotations

import json
import os
from typing import Any, Dict

import pytest

# Where the lines go.
VARIABLE = "STAGE7_RESULTS"


def name_of(nodeid: str) -> str:
    """As features.json names it: without the directory, whatever its parameters hold."""
    return nodeid[len("tests/") :] if nodeid.startswith("tests/") else nodeid


class Results:
    def __init__(self, path: str) -> None:
        self._file = open(path, "a", buffering=1)
        self._tests: Dict[str, Dict[str, Any]] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        report = (yield).get_result()
        test = self._tests.setdefault(item.nodeid, {"outcome": "passed", "seconds": 0.0})
        test["seconds"] += report.duration
        if report.outcome == "passed" or test["outcome"] != "passed":
            return
        test["outcome"], test["when"] = report.outcome, report.when
        if call.excinfo is not None:
            test["message"] = call.excinfo.exconly()[:500]
            test["asserted"] = _asserted(call.excinfo.value)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._file.write(json.dumps({"test": name_of(nodeid), **self._tests.pop(nodeid, {})}) + "\n")


def _asserted(reason: BaseException) -> bool:
    """What a test says itself, as against what merely broke on the way: `wait_until` asserts that something happens."""
    if isinstance(reason, TimeoutError):
        return str(reason).startswith("not within")
    if str(reason).startswith("Timeout (>"):
        # pytest-timeout's: a test that hung did not notice anything.
        return False
    return isinstance(reason, (AssertionError, pytest.fail.Exception))


class Collected:
    """Names the tests and what could not be collected."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", buffering=1)

    def pytest_itemcollected(self, item: Any) -> None:
        self._file.write(json.dumps({"test": name_of(item.nodeid)}) + "\n")

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            message = str(report.longrepr).strip().splitlines()[-1]
            self._file.write(json.dumps({"broken": name_of(report.nodeid), "message": message}) + "\n")


def pytest_configure(config: Any) -> None:
    path = os.environ.pop(VARIABLE, None)
    if path:
        config.pluginmanager.register(Collected(path) if config.option.collectonly else Results(path))
