"""The command line as scripts use it: exit codes, JSON, and errors that name what is wrong and where."""
from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path

import pytest

from brokerlib import run_binary
from expect import TOKEN, WALLET, instant, new_wallet, refused

CONFIG_ERROR = 78


@pytest.fixture
def broker(shared_broker):
    return shared_broker


# check


def check(tmp_path: Path, text: str, **environment: str):
    file = tmp_path / "broker.yaml"
    file.write_text(text)
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **environment}
    return run_binary("check", "--config", str(file), environment=home)


def test_check_passes_and_prints_what_is_in_force(broker):
    result = broker.run_cli("check")
    assert result.exit_code == 0, result
    assert broker.issuer in result.output
    document = json.loads(broker.run_cli("check", "--json").stdout)
    assert isinstance(document, dict)
    assert broker.environment["BROKER_DAEMON_SECRET_ACCESS_KEY"] not in result.output + json.dumps(document)


def test_check_needs_no_file(tmp_path):
    result = run_binary("check", environment={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert result.exit_code == 0, result
    assert "http://localhost:8090" in result.output


def test_an_unknown_key_is_an_error_with_its_place_and_a_suggestion(tmp_path):
    result = check(tmp_path, "issuer: http://localhost:8090\naws:\n  regoin: us-east-1\n")
    assert result.exit_code == CONFIG_ERROR
    assert "regoin" in result.output and "region" in result.output.replace("regoin", "")
    assert "line 3" in result.output or ":3:" in result.output, result.output
    assert "column 3" in result.output or ":3:3" in result.output, result.output


def test_every_error_is_named_at_once(tmp_path):
    result = check(
        tmp_path,
        """
issuer: http://localhost:8090/
listeners:
  - address: 0.0.0.0:8090
aws:
  daemon_key: { access_key_id: "AKIALITERALLITERAL00", secret_access_key: "a literal secret" }
limits: { per_source: fast }
sessions: { issued_ttl: 12 parsecs }
filters: [audit, session_auth]
""",
    )
    assert result.exit_code == CONFIG_ERROR
    for named in ("issuer", "plain_http", "daemon_key", "per_source", "issued_ttl", "filters"):
        assert named in result.output, f"{named} is not named in:\n{result.output}"
    assert "a literal secret" not in result.output, "and the secret is not repeated"


@pytest.mark.parametrize(
    "issuer",
    [
        "http://localhost:8090/",
        "https://broker.example/?a=b",
        "https://broker.example/#x",
        "http://broker.example",
        "ftp://localhost",
        "localhost:8090",
        "",
    ],
)
def test_an_issuer_that_aws_could_not_match_is_refused(tmp_path, issuer):
    result = check(tmp_path, f"issuer: '{issuer}'\n")
    assert result.exit_code == CONFIG_ERROR and "issuer" in result.output, result


@pytest.mark.parametrize(
    "filters",
    [
        "[session_auth, session_limit, grant]",
        "[source_limit, session_limit, grant, audit]",
        "[source_limit, session_auth, session_limit, audit]",
        "[source_limit, session_auth, session_limit, grant, audit, no_such_filter]",
        "[source_limit, audit, grant, session_auth]",
        "[]",
    ],
    ids=["no audit", "no authentication", "no grant", "unknown", "bad order", "empty"],
)
def test_a_chain_that_would_leave_a_door_open_does_not_start(tmp_path, filters):
    result = check(tmp_path, f"filters: {filters}\n")
    assert result.exit_code == CONFIG_ERROR, result


def test_half_a_key_is_refused(tmp_path):
    for name in ("BROKER_DAEMON_ACCESS_KEY_ID", "BROKER_DAEMON_SECRET_ACCESS_KEY", "DAEMON_ACCESS_KEY_ID"):
        result = check(tmp_path, "issuer: http://localhost:8090\n", **{name: "AKIAHALFHALFHALFHALF"})
        assert result.exit_code == CONFIG_ERROR, (name, result)
        assert "SECRET_ACCESS_KEY" in result.output or "ACCESS_KEY_ID" in result.output


def test_serve_refuses_what_check_refuses(tmp_path):
    file = tmp_path / "broker.yaml"
    file.write_text("isuer: x\n")
    result = run_binary("serve", "--config", str(file), environment={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert result.exit_code == CONFIG_ERROR and "isuer" in result.output


def test_a_missing_file_is_said_plainly(tmp_path):
    result = run_binary("check", "--config", str(tmp_path / "none.yaml"), environment={"HOME": str(tmp_path), "PATH": ""})
    assert result.exit_code != 0 and "none.yaml" in result.output


def test_a_secret_in_a_file_that_others_can_read_is_refused(make_broker, sts):
    broker = make_broker(
        {
            "aws": {
                "sts_endpoint": sts.endpoint,
                "daemon_key": {"access_key_id": "env:KEY_ID", "secret_access_key": "file:secret"},
            }
        },
        environment={"KEY_ID": sts.access_key_id},
        start=False,
    )
    secret = broker.directory / "secret"
    text = broker.config_file.read_text().replace("file:secret", f"file:{secret}")
    broker.config_file.write_text(text)
    secret.write_text(sts.secret_access_key + "\n")
    secret.chmod(0o644)
    with pytest.raises(Exception):
        broker.start()
    assert "chmod 600" in broker.logs(), broker.logs()
    assert sts.secret_access_key not in broker.logs()
    secret.chmod(0o600)
    broker.start()
    assert broker.mint(broker.token())["access_key_id"], "and with 0600 it works"


def test_the_environment_overrides_the_file(tmp_path):
    result = check(tmp_path, "issuer: http://localhost:8090\n", BROKER_AWS_REGION="eu-central-1")
    assert result.exit_code == 0 and "eu-central-1" in result.output


def test_the_reference_configuration_is_valid_and_complete(tmp_path):
    reference = Path(__file__).resolve().parents[2] / "conf" / "broker.yaml"
    result = run_binary(
        "check", "--config", str(reference), environment={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    )
    assert result.exit_code == 0, result


# session


def test_session_issue(broker):
    wallet = new_wallet()
    issued = broker.session_issue(wallet, label="laptop", ttl="1h")
    assert set(issued) >= {"token", "session_id", "wallet", "expires_at"}
    assert TOKEN.fullmatch(issued["token"]) and issued["wallet"] == wallet
    shown = broker.get("/v1/session", token=issued["token"]).json()
    assert shown["session_id"] == issued["session_id"] and shown["label"] == "laptop"
    assert instant(shown["expires_at"]) == instant(issued["expires_at"])
    assert 3500 < instant(issued["expires_at"]) - instant(shown["created_at"]) <= 3600


def test_without_a_wallet_a_new_one_is_assigned(broker):
    first, second = broker.session_issue(), broker.session_issue()
    assert WALLET.fullmatch(first["wallet"]) and first["wallet"] != second["wallet"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--wallet", "0x12"],
        ["--wallet", "*"],
        ["--wallet", "0x" + "g" * 40],
        ["--wallet", "../" + "a" * 39],
        ["--wallet", "${aws:username}"],
        ["--ttl", "soon"],
        ["--ttl", "0s"],
        ["--role", "Agent"],
        ["--role", "no-such-role"],
        ["--label", "two\nlines"],
    ],
    ids=lambda arguments: "=".join(arguments)[:30],
)
def test_session_issue_refuses_nonsense(broker, arguments):
    result = broker.run_cli("session", "issue", *arguments, "--json")
    assert result.exit_code != 0, result
    assert not TOKEN.search(result.output)


def test_session_list_and_show_never_show_a_token(broker):
    issued = broker.session_issue(label="shown")
    rows = broker.cli_rows("session", "list")
    assert issued["session_id"] in [row["session_id"] for row in rows]
    shown = broker.cli("session", "show", issued["session_id"])
    assert shown["session_id"] == issued["session_id"] and shown["wallet"] == issued["wallet"]
    assert not TOKEN.search(json.dumps([rows, shown]))


def test_session_revoke(broker):
    issued = broker.session_issue()
    assert broker.cli("session", "revoke", issued["session_id"]) == {"revoked": 1}
    refused(broker.get("/v1/session", token=issued["token"]), 401, "invalid_token")
    assert broker.cli("session", "revoke", issued["session_id"]) == {"revoked": 0}, "a second time changes nothing"
    unknown = broker.run_cli("session", "revoke", "ses_00000000000000000000000000", "--json")
    assert unknown.exit_code != 0


def test_a_session_narrowed_to_a_role_mints_for_no_other(role_broker, sts):
    roles = {"agent": {"arn": sts.role_arn}, "other": {"arn": sts.role_arn.replace("agentkeys-agent", "other")}}
    broker = role_broker({"roles": roles})
    # So that nothing but the session's own scope stands in the way.
    broker.cli("grant", "add", "--role", "other")
    token = broker.token(role="agent")
    assert broker.try_mint(token).status == 200
    refused(broker.try_mint(token, role="other"), 403, "insufficient_scope")
    assert broker.try_mint(broker.token(), role="other").status != 403, "a session that was not narrowed may"


def test_issuing_and_revoking_are_in_the_audit(broker):
    issued = broker.session_issue()
    broker.cli("session", "revoke", issued["session_id"])
    actions = [row["action"] for row in broker.audit(50) if row.get("session_id") == issued["session_id"]]
    assert {"session_issue", "session_revoke"} <= set(actions), actions


# grant


def test_no_grant_no_mint(role_broker, sts):
    broker = role_broker({"grants": {"default_role": None}})
    wallet = new_wallet()
    token = broker.token(wallet)
    refused(broker.try_mint(token), 403, "no_grant")
    refused(broker.try_mint_jwt(token), 403, "no_grant")
    assert sts.mint_calls() == []
    broker.cli("grant", "add", "--wallet", wallet, "--role", "agent")
    # A client that worked with a local broker names no role: the only one that is granted is meant.
    assert broker.try_mint(token, role="agent").status == 200
    assert broker.try_mint(token).status == 200
    refused(broker.try_mint(broker.token(new_wallet()), role="agent"), 403, "no_grant")
    (grant,) = broker.cli_rows("grant", "list")
    assert grant["wallet"] == wallet
    broker.cli("grant", "remove", grant["grant_id"])
    refused(broker.try_mint(token, role="agent"), 403, "no_grant")


def test_the_longest_socket_path_that_check_lets_pass_can_be_served(role_broker):
    broker = role_broker(start=False)
    home = broker.directory / ("d" * (103 - len(f"{broker.directory}//admin.sock")))
    assert len(f"{home}/admin.sock") == 103
    broker.data_dir = home
    broker.start()
    assert broker.session_issue()["token"]


def test_of_several_granted_roles_one_must_be_named(role_broker, sts):
    other = "arn:aws:iam::111122223333:role/other"
    broker = role_broker({"grants": {"default_role": None}, "roles": {"other": {"arn": other}}})
    wallet = new_wallet()
    token, narrow = broker.token(wallet), broker.token(wallet, role="agent")
    for role in ("agent", "other"):
        broker.cli("grant", "add", "--wallet", wallet, "--role", role)
    answer = broker.try_mint(token)
    refused(answer, 403, "no_grant")
    assert "more than one role" in answer.text and sts.mint_calls() == []
    # What the session may not use does not count.
    assert broker.mint(narrow)["role_arn"] == sts.role_arn


# audit


def test_audit_list_has_a_limit_and_the_newest_record(broker):
    minted = broker.mint_jwt(broker.token())
    rows = broker.cli_rows("audit", "list", "--limit", "3")
    assert len(rows) == 3
    assert minted["mint_id"] in [row["mint_id"] for row in rows]
    for row in rows:
        assert {"seq", "at_ms", "phase", "mint_id", "action", "outcome", "previous_hash", "hash"} <= set(row)


def test_audit_verify_names_the_first_bad_record(role_broker, sts):
    broker = role_broker()
    token = broker.token()
    for _ in range(5):
        broker.mint_jwt(token)
    assert broker.audit_verify()["ok"] is True
    target = broker.audit(100)[0]["seq"] if broker.audit(100)[0]["seq"] > 2 else broker.audit(100)[-1]["seq"]
    assert broker.terminate() == 0
    _forge(broker.data_dir / "audit.sqlite", target - 1)
    broker.start(ready=False)
    result = broker.run_cli("audit", "verify", "--json")
    assert result.exit_code == 1, result
    document = result.document()
    assert document["ok"] is False and document["first_bad"] == target - 1
    human = broker.run_cli("audit", "verify")
    assert human.exit_code == 1 and str(target - 1) in human.output


def _forge(path: Path, seq: int) -> None:
    """Changes one record as somebody with the file would: past any trigger."""
    connection = sqlite3.connect(str(path))
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f'DROP TRIGGER "{trigger}"')
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = {row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')}
        if {"seq", "outcome", "hash"} <= columns:
            changed = connection.execute(f'UPDATE "{table}" SET outcome = \'forged\' WHERE seq = ?', (seq,)).rowcount
            assert changed == 1
            connection.commit()
            connection.close()
            return
    raise AssertionError("no table with seq, outcome and hash")


def test_audit_export_is_the_whole_chain(broker):
    broker.mint_jwt(broker.token())
    rows = broker.cli_rows("audit", "export")
    assert [row["seq"] for row in rows] == list(range(rows[0]["seq"], rows[0]["seq"] + len(rows)))
    for before, after in zip(rows, rows[1:]):
        assert after["previous_hash"] == before["hash"]


# keys


def test_keys_list(broker):
    (current,) = [row for row in broker.cli_rows("keys", "list") if row["state"] == "current"]
    assert broker.mint_jwt(broker.token())["kid"] == current["kid"]
    assert "PRIVATE" not in json.dumps(broker.cli_rows("keys", "list"))


def test_a_key_file_that_others_can_read_is_refused(role_broker, sts):
    broker = role_broker()
    assert broker.terminate() == 0
    keys = [p for p in broker.data_dir.rglob("*") if p.is_file() and b"PRIVATE KEY" in p.read_bytes() and "signing" in str(p)]
    assert keys and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    for path in keys:
        path.chmod(0o644)
    with pytest.raises(Exception):
        broker.start()
    assert str(keys[0].name) in broker.logs() or "0600" in broker.logs()


# In general


def test_human_output_is_the_default_and_the_token_is_still_there(broker):
    result = broker.run_cli("session", "issue")
    assert result.exit_code == 0 and TOKEN.search(result.stdout)
    with pytest.raises(ValueError):
        json.loads(result.stdout)


def test_without_a_server_the_commands_say_so(make_broker, sts):
    broker = make_broker({}, start=False)
    result = broker.run_cli("session", "list")
    assert result.exit_code not in (0, 101), result
    assert "serve" in result.output or "running" in result.output, result.output


def test_version_and_help(tmp_path):
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    assert run_binary("--version", environment=environment).exit_code == 0
    helped = run_binary("--help", environment=environment)
    assert helped.exit_code == 0
    for command in ("serve", "check", "session", "grant", "pair", "invite", "audit", "keys"):
        assert command in helped.stdout


def test_doctor_reports_row_by_row(broker):
    result = broker.run_cli("aws", "doctor", "--json")
    assert result.exit_code in (0, 1), result
    assert result.rows()
