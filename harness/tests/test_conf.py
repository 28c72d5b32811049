"""What an operator takes from conf/ as it is: the unit, the alerts, the dashboard."""
from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml

from brokerlib import REPOSITORY, binary
from peers.tools import find_tool

CONF = REPOSITORY / "conf"
UNIT = CONF / "systemd" / "agentkeys-broker.service"
DASHBOARD = CONF / "grafana" / "agentkeys-broker.json"

needs_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
needs_promtool = pytest.mark.skipif(not find_tool("promtool"), reason="promtool is not installed")


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def unit(tmp_path):
    """The unit, with the program where it was built."""
    text = UNIT.read_text()
    assert "/usr/local/bin/agentkeys-broker-server" in text
    path = tmp_path / UNIT.name
    path.write_text(text.replace("ExecStart=/usr/local/bin/agentkeys-broker-server", f"ExecStart={binary()}"))
    return path


@needs_systemd
def test_systemd_takes_the_unit_without_a_word(unit):
    done = run("systemd-analyze", "verify", "--recursive-errors=no", unit)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert done.returncode == 0 and not ours, done


@needs_systemd
def test_the_unit_is_hardened(unit):
    done = run("systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr


def test_the_unit_the_hosted_example_and_the_runbook_name_the_same_places():
    text = UNIT.read_text()
    variables = dict(re.findall(r"(BROKER_\w+)=(\S+)", re.search(r"^Environment=(.*)$", text, re.MULTILINE).group(1)))
    state = "/var/lib/" + re.search(r"^StateDirectory=(.+)$", text, re.MULTILINE).group(1)
    hosted = yaml.safe_load((CONF / "broker.hosted.yaml").read_text())
    runbook = (REPOSITORY / "docs" / "operator-runbook.md").read_text()
    assert variables["BROKER_DATA_DIR"] == state == hosted["data_dir"]
    assert f"`data_dir: {state}`" in runbook
    files = re.findall(r"--config (/[\w./-]+)", runbook)
    assert len(files) > 20 and set(files) == {variables["BROKER_CONFIG"]}
    # Nothing but the state is written to, since all else is read-only to the unit.
    assert "ProtectSystem=strict" in text and "ReadWritePaths" not in text
    (program,) = re.findall(r"^ExecStart=(\S+) serve$", text, re.MULTILINE)
    assert f"install -m 0755 agentkeys-broker-server {program.rsplit('/', 1)[0]}/" in text


def test_the_unit_lets_the_broker_finish_and_does_not_retry_a_wrong_configuration():
    text = UNIT.read_text()
    settings = yaml.safe_load((CONF / "broker.yaml").read_text())
    grace = int(re.fullmatch(r"(\d+)s", settings["shutdown"]["grace"]).group(1))
    stop = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE).group(1))
    assert stop > grace + 5
    assert "RestartPreventExitStatus=78" in text and "Restart=always" in text


@needs_promtool
def test_the_alerts_speak_and_keep_silent_as_written():
    done = run(find_tool("promtool"), "test", "rules", CONF / "prometheus" / "alerts_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways():
    alerts = re.findall(r"- alert: (\w+)", (CONF / "prometheus" / "alerts.yml").read_text())
    cases = yaml.safe_load((CONF / "prometheus" / "alerts_test.yml").read_text())["tests"]
    for case, silent in zip(cases, (True, False)):
        judged = {test["alertname"] for test in case["alert_rule_test"] if silent == (not test["exp_alerts"])}
        assert judged == set(alerts), case["name"]


def metrics_in(text: str) -> set:
    found = re.findall(r"agentkeys_broker_[a-z0-9_]+", text)
    return {re.sub(r"_bucket$", "", name) for name in found}


def test_the_dashboard_and_the_alerts_ask_for_metrics_that_exist():
    # A test of the metrics holds this page and what is served to each other.
    known = set(re.findall(r"^\| `(agentkeys_broker_\w+)`", (REPOSITORY / "docs" / "metrics.md").read_text(), re.MULTILINE))
    shown = metrics_in(DASHBOARD.read_text())
    assert known and shown == known, shown ^ known
    assert metrics_in((CONF / "prometheus" / "alerts.yml").read_text()) <= known


def test_the_dashboard_is_one_that_grafana_can_lay_out():
    board = json.loads(DASHBOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) >= 15
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
        assert panel["title"] and panel["targets"], panel


@needs_promtool
def test_prometheus_understands_every_query_of_the_dashboard(tmp_path):
    board = json.loads(DASHBOARD.read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    plain = [query.replace("$__rate_interval", "5m").replace("$job", ".*") for query in queries]
    rules = [{"record": f"check:query:{n}", "expr": query} for n, query in enumerate(plain)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = run(find_tool("promtool"), "check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
