"""Canaries: recognisable secrets go in everywhere; then everything the broker wrote is searched for them.

Searched are the logs at their most talkative, the whole data directory, the
metrics, the audit's export and every answer that was not meant to carry one.
"""
from __future__ import annotations

import base64
import json
import os
import re
import secrets
import stat
import urllib.parse
from pathlib import Path

import pytest

from raw_http import RawConnection

MINT = "/v1/mint-aws-creds"


def canary(name: str) -> str:
    return f"CANARY{name}{secrets.token_hex(12)}"


def spellings(secret: str) -> dict:
    raw = secret.encode()
    return {
        "plain": raw,
        "hex": raw.hex().encode(),
        "base64": base64.b64encode(raw).rstrip(b"=")[:-2],
        "percent": urllib.parse.quote(secret, safe="").encode(),
    }


@pytest.fixture(scope="module")
def run(broker_binary, strict_sts_process):
    """One busy life of a broker, and the secrets that passed through it."""
    from brokerlib import Broker
    from conftest import double_config

    sts = strict_sts_process
    sts.reset()
    # All that our own code, Pingora and the SDK have to say.
    config = {**double_config(sts, "assume_role"), "log": {"level": "trace"}}
    key = (sts.access_key_id, sts.secret_access_key)
    with Broker(config, daemon_key=key) as broker:
        seen = {"the daemon's secret key": sts.secret_access_key}
        bystanders = []
        session = broker.session_issue()
        token = session["token"]
        seen["a session token"] = token
        minted = broker.mint(token)
        seen["a minted secret key"] = minted["secret_access_key"]
        seen["a minted session token"] = minted["session_token"]
        seen["a JWT's signature"] = broker.mint_jwt(token)["jwt"].rsplit(".", 1)[1]
        for kind in ("access_denied", "html_200", "json", "other_account", "expired_credentials", "empty_credentials"):
            sts.fault(kind, count=1)
            bystanders.append(broker.try_mint(token))
        sts.clear_faults()

        stored = canary("Stored")
        seen["a stored credential"] = stored
        broker.request("PUT", "/v1/credentials/openrouter", {"value": stored}, token=token)
        bystanders.append(broker.get("/v1/credentials", token=token))

        def plant(name: str) -> str:
            seen[f"in {name}"] = canary(name.title().replace(" ", ""))
            return seen[f"in {name}"]

        for name, headers in {
            "a bearer": {"Authorization": "Bearer {}"},
            "basic": {"Authorization": "Basic {}"},
            "no scheme": {"Authorization": "{}"},
            "the user agent": {"User-Agent": "{}"},
            "a forwarded address": {"X-Forwarded-For": "{}"},
            "a request id": {"X-Request-Id": "{}"},
            "a cookie": {"Cookie": "session={}"},
            "a referer": {"Referer": "http://a/{}"},
        }.items():
            planted = plant(name)
            filled = {key: value.format(planted) for key, value in headers.items()}
            bystanders.append(broker.post(MINT, {}, headers=filled))
        bystanders.append(broker.get(f"/v1/session?access_token={plant('the query')}"))
        bystanders.append(broker.get(f"/{plant('the path')}"))
        bystanders.append(broker.get(f"/v1/credentials/{plant('a service')}", token=token))
        for name, body in {
            "an unknown field": '{{"password": "{}"}}',
            "a field's name": '{{"{}": 1}}',
            "a role": '{{"role": "{}"}}',
            "broken json": '{{"role": "{}',
        }.items():
            headers = {"Content-Type": "application/json"}
            bystanders.append(broker.post(MINT, body.format(plant(name)), token=token, headers=headers))
        audience = {"audience": plant("an audience")}
        bystanders.append(broker.post("/v1/mint-oidc-jwt", audience, token=token))
        for name, head in {
            "a malformed head": "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nbad header\r\n\r\n",
            "a request line": "{} / HTTP/1.1\r\nHost: a\r\n\r\n",
            "a version": "GET / {}\r\nHost: a\r\n\r\n",
            "two tokens": "GET /v1/session HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nAuthorization: x\r\n\r\n",
        }.items():
            with RawConnection("127.0.0.1", broker.port) as connection:
                connection.send(head.format(plant(name)).encode())
                try:
                    answer = connection.answer()
                except ConnectionError:
                    answer = None
                if answer is not None:
                    bystanders.append(answer)
        broker.cli("session", "revoke", session["session_id"])
        bystanders.append(broker.try_mint(token))
        yield broker, seen, bystanders


# An audience and a role name are what a refusal is about: the audit keeps them.
KEPT_BY_THE_AUDIT = {"in an audience", "in a role", "in a service", "in the path"}


def findings(seen: dict, places: dict, skip: set = frozenset()) -> list:
    return [
        f"{what} ({spelling}) in {place}"
        for what, secret in seen.items()
        if what not in skip
        for spelling, text in spellings(secret).items()
        for place, content in places.items()
        if text in content
    ]


def test_the_logs_hold_no_secret(run):
    broker, seen, _ = run
    log = broker.logs()
    assert len(log) > 1000, "debug logging was on"
    # A refused audience or role may be named in a log: it is an identifier.
    assert not findings(seen, {"the logs": log.encode()}, skip=KEPT_BY_THE_AUDIT)


def test_the_data_directory_holds_no_secret(run):
    broker, seen, _ = run
    places = {str(path.relative_to(broker.data_dir)): path.read_bytes() for path in broker.files()}
    assert any(name.startswith("audit.sqlite") for name in places)
    assert not findings(seen, places, skip=KEPT_BY_THE_AUDIT)


def test_metrics_hold_no_secret(run):
    broker, seen, _ = run
    assert not findings(seen, {"the metrics": broker.metrics().encode()})


def test_the_audit_holds_no_secret(run):
    broker, seen, _ = run
    exported = broker.run_cli("audit", "export")
    listed = json.dumps(broker.audit(10_000))
    assert exported.exit_code == 0 and exported.stdout
    places = {"audit export": exported.output.encode(), "audit list": listed.encode()}
    assert not findings(seen, places, skip=KEPT_BY_THE_AUDIT)


def test_other_answers_hold_no_secret(run):
    _, seen, bystanders = run
    places = {f"answer {n} ({a.status})": a.body + repr(a.headers).encode() for n, a in enumerate(bystanders)}
    # The caller's own words about its own request may come back to it.
    assert not findings(seen, places, skip={"in a role", "in an audience", "in a field's name"})


def test_the_command_line_shows_no_secret(run):
    broker, seen, _ = run
    outputs = {}
    for arguments in (["check"], ["session", "list"], ["keys", "list"], ["grant", "list"], ["aws", "policies"]):
        outputs[" ".join(arguments)] = broker.run_cli(*arguments).output.encode()
        outputs[" ".join(arguments) + " --json"] = broker.run_cli(*arguments, "--json").output.encode()
    assert not findings(seen, outputs)


def test_the_signing_key_appears_nowhere_but_in_its_file(run):
    broker, _, _ = run
    pems = [path for path in broker.files() if b"PRIVATE KEY" in path.read_bytes()]
    signing = [path for path in pems if "signing-keys" in str(path)]
    assert signing, "the local shape keeps its key in a file"
    elsewhere = broker.logs() + broker.metrics() + broker.run_cli("keys", "list", "--json").output
    for path in signing:
        body = re.sub(r"-----[^-]+-----|\s", "", path.read_text())
        assert body not in elsewhere.replace("\n", "") and body[8:72] not in elsewhere
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_everything_on_disk_is_the_owners_alone(run):
    broker, _, _ = run
    assert stat.S_IMODE(broker.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((broker.data_dir / "admin.sock").stat().st_mode) == 0o600
    open_to_others = [
        str(path.relative_to(broker.data_dir)) for path in broker.files() if path.stat().st_mode & 0o077 and path.name != "ca.crt"
    ]
    assert not open_to_others


def test_a_core_dump_would_not_hold_the_environment(run):
    """Either no core is written at all, or the key is gone from the process's environment."""
    broker, seen, _ = run
    proc = Path("/proc") / str(broker.pid)
    if not proc.exists():
        pytest.skip("there is no /proc here")
    no_core = re.search(r"^Max core file size\s+0\s", (proc / "limits").read_text(), re.MULTILINE)
    gone = seen["the daemon's secret key"].encode() not in (proc / "environ").read_bytes()
    assert no_core or gone


def test_a_child_process_inherits_no_secret(role_broker, sts, tmp_path):
    """The 1Password client is the one child there is: it gets a reference and no key."""
    tools, dump = tmp_path / "bin", tmp_path / "environment"
    tools.mkdir()
    op = tools / "op"
    op.write_text(f'#!/bin/sh\nenv > "{dump}"\nprintf "%s" "$*" >> "{dump}"\nprintf "%s\\n" "{sts.access_key_id}"\n')
    op.chmod(0o755)
    reference = {"access_key_id": "op://AgentKeys/daemon/access-key-id", "secret_access_key": "env:PLANTED_SECRET"}
    broker = role_broker(
        {"aws": {"daemon_key": reference}},
        daemon_key=None,
        environment={"PATH": f"{tools}:{os.environ['PATH']}", "PLANTED_SECRET": sts.secret_access_key},
    )
    broker.mint(broker.token())
    inherited = dump.read_text()
    assert "op://AgentKeys/daemon/access-key-id" in inherited, "it was called with the reference"
    assert sts.secret_access_key not in inherited
