"""Metrics: a real Prometheus can scrape them, and the documentation lists exactly what there is."""
from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from brokerlib import NO_LIMITS
from expect import new_wallet
from http_client import Client
from peers import prometheus
from peers.process import wait_until
from raw_http import RawConnection

REPOSITORY = Path(__file__).resolve().parents[2]
# Not agentkeys_broker_server: that is the crate, as logs name it.
NAME = re.compile(r"\bagentkeys_broker_(?!server\b)[a-z0-9_]+")
# What Prometheus derives from one histogram.
SUFFIXES = re.compile(r"_(bucket|sum|count)$")

needs_prometheus = pytest.mark.skipif(
    not prometheus.installed(), reason="prometheus and promtool are not installed (Debian: apt-get install prometheus)"
)


def families(text: str) -> dict:
    """name → type, from the exposition."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def samples(text: str, name: str) -> dict:
    """label text → value"""
    found = re.findall(rf"^{name}(\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def total(text: str, name: str, *needles: str) -> float:
    return sum(value for labels, value in samples(text, name).items() if all(n in labels for n in needles))


@pytest.fixture(scope="module")
def exercised(broker_binary, strict_sts_process):
    """A broker that has met everything once: grants, refusals, limits, faults, slow clients."""
    from brokerlib import Broker
    from conftest import double_config

    sts = strict_sts_process
    sts.reset()
    config = {
        **double_config(sts, "assume_role"),
        "audit": {"path": "audit.sqlite", "write_deadline": "500ms"},
        "limits": {**NO_LIMITS, "failed_auth": "2/min", "deadlines": {"head": "1s"}},
    }
    with Broker(config, daemon_key=(sts.access_key_id, sts.secret_access_key)) as broker:
        token = broker.token(new_wallet())
        broker.mint(token)
        broker.mint_jwt(token)
        for _ in range(4):
            broker.try_mint("garbage")
        broker.try_mint(token, role="administrator")
        broker.get("/no/such/path/" + "c0ffee" * 4)
        sts.fault("access_denied", count=1)
        broker.try_mint(token)
        with RawConnection("127.0.0.1", broker.port) as silent:
            silent.seconds_until_closed(10)
        lock = sqlite3.connect(str(broker.data_dir / "audit.sqlite"), isolation_level=None, timeout=5)
        lock.execute("BEGIN EXCLUSIVE")
        try:
            assert broker.try_mint(token).status == 503
        finally:
            lock.execute("ROLLBACK")
            lock.close()
        wait_until(lambda: broker.try_mint(token).status == 200, 30, "it mints again")
        yield broker


def test_the_listener_serves_metrics_and_little_else(exercised):
    with Client(exercised.metrics_url) as client:
        answer = client.request("GET", "/metrics")
        assert answer.status == 200
        assert answer.header("content-type").startswith("text/plain; version=0.0.4")
        assert client.request("GET", "/healthz").status == 200
        for path in ("/", "/v1/session", "/.well-known/jwks.json", "/metrics/x"):
            assert client.request("GET", path).status == 404, path
        assert client.request("POST", "/metrics").status == 405
    assert exercised.get("/metrics").status == 404, "and the public listener has none"


def test_what_happened_is_counted(exercised):
    text = exercised.metrics()
    prefix = "agentkeys_broker_"
    assert total(text, prefix + "mints_total", "mint_aws_creds", "granted") >= 2
    assert total(text, prefix + "mints_total", "mint_oidc_jwt", "granted") >= 1
    assert total(text, prefix + "mints_total", "sts_refused") == 1
    assert total(text, prefix + "auth_failures_total", "malformed") == 4
    assert total(text, prefix + "rate_limited_total", "failed_auth") == 2
    assert total(text, prefix + "sts_calls_total", "AccessDenied") + total(
        text, prefix + "sts_calls_total", "access_denied"
    ) == 1
    assert total(text, prefix + "audit_write_failures_total") >= 1
    assert total(text, prefix + "connections_dropped_total") >= 1
    assert total(text, prefix + "audit_healthy") == 1
    assert total(text, prefix + "panics_total") == 0


def test_a_mint_counts_once(exercised):
    def granted() -> float:
        return total(exercised.metrics(), "agentkeys_broker_mints_total", "mint_oidc_jwt", "granted")

    before = granted()
    for _ in range(3):
        exercised.mint_jwt(exercised.token())
    assert granted() - before == 3


def test_documentation_and_exposition_list_the_same_metrics(exercised):
    page = (REPOSITORY / "docs" / "metrics.md").read_text()
    documented = {SUFFIXES.sub("", name) if name not in families(exercised.metrics()) else name for name in NAME.findall(page)}
    served = {name for name in families(exercised.metrics()) if name.startswith("agentkeys_broker_")}
    assert served - documented == set(), "served and not documented"
    assert documented - served == set(), "documented and not served"


def test_alert_rules_and_dashboards_name_only_metrics_that_exist(exercised):
    served = set(families(exercised.metrics()))
    unknown = {}
    for path in [*(REPOSITORY / "conf").rglob("*.yml"), *(REPOSITORY / "conf").rglob("*.json"), *(REPOSITORY / "conf").rglob("*.yaml")]:
        names = {n for n in NAME.findall(path.read_text()) if n not in served and SUFFIXES.sub("", n) not in served}
        if names:
            unknown[path.name] = sorted(names)
    assert not unknown


def test_no_label_holds_what_a_client_sent(exercised):
    text = exercised.metrics()
    assert "c0ffee" not in text and "administrator" not in text
    assert "0x" not in text, "and no wallet"


def test_every_family_has_help_and_type(exercised):
    text = exercised.metrics()
    assert set(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE)) == set(families(text))
    for name, kind in families(text).items():
        if name.startswith("agentkeys_broker_") and kind == "counter":
            assert name.endswith("_total"), name


@needs_prometheus
def test_promtool_finds_nothing_to_say(exercised):
    checked = prometheus.check_metrics(exercised.metrics())
    assert checked.returncode == 0 and not checked.stdout and not checked.stderr, checked.stdout + checked.stderr


@needs_prometheus
def test_a_real_prometheus_scrapes(exercised, tmp_path):
    target = f"127.0.0.1:{exercised.metrics_port}"
    with prometheus.Prometheus(tmp_path, target) as server:
        server.wait_scraped()
        assert server.query("up")[0]["value"][1] == "1"
        minted = wait_until(
            lambda: server.query('sum(agentkeys_broker_mints_total{outcome="granted"})'), 10, "a sample"
        )
        assert float(minted[0]["value"][1]) >= 3


@needs_prometheus
def test_the_alert_rules_hold_together():
    rules = [p for p in (REPOSITORY / "conf" / "prometheus").glob("*.y*ml") if "groups:" in p.read_text()]
    assert rules, "conf/prometheus has no alert rules"
    for path in rules:
        checked = prometheus.check_rules(path)
        assert checked.returncode == 0, checked.stdout + checked.stderr
