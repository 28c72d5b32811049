"""The operator's commands that no other file is about, each against a live broker."""
from __future__ import annotations

import json
import subprocess
import urllib.parse

import pytest

from brokerlib import binary
from clientlib import Machine
from expect import instant, new_wallet, refused
from peers.process import wait_until


@pytest.fixture
def broker(shared_broker):
    return shared_broker


@pytest.fixture
def machine(tmp_path, broker) -> Machine:
    return Machine(tmp_path / "home", broker.url, AGENTKEYS_SESSION_STORE="file")


def device(broker, label: str) -> str:
    """A device asks to be let in; the code that it shows."""
    answer = broker.request(
        "POST",
        "/oauth/device_authorization",
        urllib.parse.urlencode({"label": label}),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status == 200, answer
    return answer.json()["user_code"]


# serve


def test_serve_says_where_it_answers_once_it_does(role_broker):
    broker = role_broker()
    (line,) = [line for line in broker.logs().splitlines() if line.startswith("ready")]
    for address in (broker.url, broker.metrics_url, str(broker.data_dir / "admin.sock")):
        assert address.split("://")[-1] in line, line


# session


def test_a_session_is_issued_for_twelve_hours_unless_said(broker):
    issued = broker.session_issue()
    shown = broker.cli("session", "show", issued["session_id"])
    assert instant(shown["expires_at"]) - instant(shown["created_at"]) == 12 * 3600


# grant


@pytest.fixture
def strict(role_broker):
    """Nobody may mint anything unless a grant says so."""
    return role_broker({"grants": {"default_role": None}})


def test_a_grant_opens_what_it_names_and_nothing_else(strict):
    wallet = new_wallet()
    token = strict.token(wallet)
    refused(strict.try_mint(token, role="agent"), 403, "no_grant")
    strict.cli("grant", "add", "--wallet", wallet, "--role", "agent")
    assert strict.try_mint(token, role="agent").status == 200
    refused(strict.try_mint(strict.token(new_wallet()), role="agent"), 403, "no_grant")


def test_grants_are_listed(strict):
    wallet = new_wallet()
    made = strict.cli("grant", "add", "--wallet", wallet, "--role", "agent")
    assert [(row["grant_id"], row["wallet"]) for row in strict.cli_rows("grant", "list")] == [(made["grant_id"], wallet)]


def test_a_grant_that_is_removed_opens_nothing(strict):
    wallet = new_wallet()
    made = strict.cli("grant", "add", "--wallet", wallet, "--role", "agent")
    token = strict.token(wallet)
    assert strict.try_mint(token, role="agent").status == 200
    strict.cli("grant", "remove", made["grant_id"])
    refused(strict.try_mint(token, role="agent"), 403, "no_grant")


# invite


@pytest.fixture
def by_invitation(role_broker):
    return role_broker({"sessions": {"enrolment": "invite"}})


def enrol(broker, home, code: str) -> subprocess.CompletedProcess:
    machine = Machine(home, broker.url, AGENTKEYS_SESSION_STORE="file")
    return machine.run("init", "--non-interactive", "--invite-stdin", stdin=code)


def test_an_invite_lets_one_wallet_in(by_invitation, tmp_path):
    assert enrol(by_invitation, tmp_path / "none", "AAAAA-BBBBB-CCCCC-DDDDD").returncode != 0
    code = by_invitation.cli("invite", "create")["code"]
    done = enrol(by_invitation, tmp_path / "first", code)
    assert done.returncode == 0, done.stderr
    assert enrol(by_invitation, tmp_path / "second", code).returncode != 0, "a code works once"


def test_invites_are_listed_without_their_codes(by_invitation):
    made = by_invitation.cli("invite", "create")
    rows = by_invitation.cli_rows("invite", "list")
    assert [row["invite_id"] for row in rows] == [made["invite_id"]] and made["code"] not in json.dumps(rows)


def test_an_invite_that_is_revoked_lets_nobody_in(by_invitation, tmp_path):
    made = by_invitation.cli("invite", "create")
    by_invitation.cli("invite", "revoke", made["invite_id"])
    assert enrol(by_invitation, tmp_path / "home", made["code"]).returncode != 0


def test_a_closed_broker_enrols_nobody(role_broker, tmp_path):
    broker = role_broker({"sessions": {"enrolment": "closed"}})
    machine = Machine(tmp_path / "home", broker.url, AGENTKEYS_SESSION_STORE="file")
    assert machine.run("init", "--non-interactive").returncode == 4


# pair


def test_waiting_devices_are_listed(broker):
    code = device(broker, "in the list")
    assert "in the list" in [row["label"] for row in broker.cli_rows("pair", "list") if row["user_code"] == code]


def test_the_operator_lets_a_device_in(broker):
    code, wallet = device(broker, "welcome"), new_wallet()
    decided = broker.cli("pair", "approve", code, "--wallet", wallet, "--ttl", "1h")
    assert decided["approved"] is True
    assert code not in [row["user_code"] for row in broker.cli_rows("pair", "list")]
    assert broker.run_cli("pair", "approve", code).exit_code != 0, "a code is decided once"


def test_the_operator_turns_a_device_away(broker):
    code = device(broker, "unwelcome")
    assert broker.cli("pair", "deny", code)["approved"] is False
    assert code not in [row["user_code"] for row in broker.cli_rows("pair", "list")]


# audit tail


def test_audit_tail_shows_a_mint_as_it_happens(broker):
    token = broker.token()
    argv = [str(binary()), "audit", "tail", "--json", "--config", str(broker.config_file), "--data-dir", str(broker.data_dir)]
    with open(broker.directory / "tail", "w+") as shown:
        tail = subprocess.Popen(argv, env=broker.environment, stdout=shown, stderr=subprocess.STDOUT)
        try:
            minted = []

            def seen() -> bool:
                assert tail.poll() is None, shown.read()
                minted.append(broker.mint_jwt(token)["mint_id"])
                return any(mint_id in (broker.directory / "tail").read_text() for mint_id in minted)

            wait_until(seen, 10, "the tail shows a mint")
        finally:
            tail.terminate()
            tail.wait(10)


# keys


def published(broker) -> list:
    return [key["kid"] for key in broker.get("/.well-known/jwks.json").json()["keys"]]


def test_a_generated_key_is_published_and_does_not_sign_yet(role_broker):
    broker = role_broker()
    (made,) = broker.cli_rows("keys", "generate")
    assert made["kid"] in published(broker)
    assert broker.mint_jwt(broker.token())["kid"] != made["kid"]


def test_a_rotation_changes_who_signs(role_broker):
    broker = role_broker()
    (made,) = broker.cli_rows("keys", "generate")
    broker.cli_rows("keys", "rotate", "--force")
    assert broker.mint_jwt(broker.token())["kid"] == made["kid"]


def test_a_retired_key_leaves_the_set_when_told_to(role_broker):
    broker = role_broker()
    old = broker.mint_jwt(broker.token())["kid"]
    broker.cli_rows("keys", "generate")
    broker.cli_rows("keys", "rotate", "--force")
    early = broker.run_cli("keys", "retire", old)
    assert early.exit_code != 0 and old in published(broker), "what it signed may still be valid"
    broker.cli_rows("keys", "retire", old, "--now")
    assert old not in published(broker)
