"""Pairing: a device without a session shows a code; whoever has one lets it in, with what they say and no more.

A device polls every five seconds, as the broker tells it, so that these tests take a few each.
"""
from __future__ import annotations

import json
import os
import pty
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Iterator, List, Optional

import pytest

from brokerlib import NO_LIMITS, Broker
from clientlib import Daemon, Machine, client_program
from expect import instant, new_wallet, no_credential
from peers.process import wait_until

USAGE, NOT_LOGGED_IN, REFUSED, NOT_FOUND, UNAVAILABLE = 2, 3, 4, 5, 6
A_CODE_THAT_NOBODY_SHOWS = "WDJB-MJHT"


@pytest.fixture(scope="module")
def homes() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="akp-") as directory:
        yield Path(directory)


@pytest.fixture
def machine(homes):
    """Makes machines; each is somebody else's."""

    def make(broker: Broker, token: Optional[str] = None, **variables: str) -> Machine:
        made = Machine(Path(tempfile.mkdtemp(dir=homes)), broker.url, **variables)
        if token is not None:
            made.log_in(token)
        return made

    return make


@pytest.fixture
def broker(shared_broker, sts) -> Broker:
    return shared_broker


def master(machine, broker: Broker) -> Machine:
    made = machine(broker)
    done = made.run("init", "--non-interactive")
    assert done.returncode == 0, done.stderr
    return made


def approve(approver: Machine, code: str, *more: str) -> dict:
    done = approver.run("approve", code, "--yes", "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def failure(done: subprocess.CompletedProcess, exit_code: int) -> dict:
    assert done.returncode == exit_code, done
    return json.loads(done.stderr.splitlines()[-1])["error"]


def whoami(machine: Machine, *more: str) -> dict:
    done = machine.run(*more, "whoami", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reach(sts, daemon: Daemon, action: str, wallet: str) -> bool:
    key = daemon.ask().json()["AccessKeyId"]
    return sts.authorize({"access_key_id": key}, action, f"bots/{wallet}/a")["allowed"]


# Let in


def test_a_device_serves_its_approvers_wallet_and_less_than_the_approver_may(broker, machine, sts):
    owner, device = master(machine, broker), machine(broker)
    wallet = whoami(owner)["wallet"]
    for service in ("openrouter", "other"):
        assert owner.run("store", service, stdin=f"key of {service}").returncode == 0
    proposal = ["--pair", "--pair-service", "openrouter", "--read-only", "--pair-ttl", "20m", "--label", "ci runner"]
    with device.daemon("--check-every", "1s", *proposal) as daemon:
        code = daemon.pairing_code()
        assert "ready" not in daemon.printed() and device.sessions() == []
        decision = approve(owner, code)
        assert decision["approved"] is True and decision["wallet"] == wallet
        assert decision["device"] == {"label": "ci runner", "source": "127.0.0.1"}
        assert decision["granted"] == "service:openrouter read_only"
        assert decision["scope"] == {"services": ["openrouter"], "read_only": True}

        daemon.wait_serving()
        own = broker.mint(_token(owner))
        assert sts.authorize(own, "s3:PutObject", f"bots/{wallet}/a")["allowed"]
        assert reach(sts, daemon, "s3:GetObject", wallet)
        assert not reach(sts, daemon, "s3:PutObject", wallet), "a reader writes nothing"
        assert not reach(sts, daemon, "s3:GetObject", new_wallet())

        child = whoami(device)
        assert (child["kind"], child["wallet"], child["label"]) == ("child", wallet, "ci runner")
        assert child["parent"] == whoami(owner)["session_id"]
        assert 0 < instant(child["expires_at"]) - time.time() <= 1200
        assert device.run("read", "openrouter").stdout.strip() == "key of openrouter"
        failure(device.run("read", "other", "--json"), REFUSED)
        failure(device.run("store", "openrouter", "--json", stdin="another"), REFUSED)

        # Whoever let it in puts it out again.
        broker.cli("session", "revoke", child["parent"])
        daemon.wait_health(503, "session_refused")
        no_credential(daemon.ask())


def test_a_person_sees_who_asks_for_what_and_decides(broker, machine):
    owner, device = machine(broker, broker.token()), machine(broker)
    wallet = whoami(owner)["wallet"]
    with device.daemon("--pair", "--read-only", "--label", "the \N{SNOWMAN} runner") as daemon:
        code = daemon.pairing_code()
        unasked = owner.run("approve", code)
        assert unasked.returncode == USAGE and "--yes" in unasked.stderr, "nobody is there to ask"
        said, exit_code = _at_a_terminal(owner, ["approve", code], "n\n")
        assert exit_code == 1 and "nothing was approved" in said and f"agentkeys deny {code}" in said
        for word in ("the \N{SNOWMAN} runner", "127.0.0.1", "read_only", wallet):
            assert word in said, said
        assert "ready" not in daemon.printed()
        said, exit_code = _at_a_terminal(owner, ["approve", code.lower().replace("-", "")], "y\n")
        assert exit_code == 0 and "approved" in said and "read_only" in said, said
        daemon.wait_serving()


def test_the_operator_lists_lets_in_and_turns_away(broker, machine, sts):
    wallet = new_wallet()
    with machine(broker).daemon("--pair", "--label", "one", "--read-only") as one:
        with machine(broker).daemon("--pair", "--label", "two") as two:
            codes = {"one": one.pairing_code(), "two": two.pairing_code()}
            waiting = {row["label"]: row for row in broker.cli_rows("pair", "list")}
            assert {label: waiting[label]["user_code"] for label in codes} == codes
            assert waiting["one"]["scope"] == {"read_only": True} and waiting["one"]["source"] == "127.0.0.1"
            told = broker.run_cli("pair", "list").stdout
            assert all(code in told for code in codes.values()) and "read_only" in told and "everything" in told
            decided = broker.cli("pair", "approve", codes["one"], "--wallet", wallet, "--role", "agent", "--ttl", "1h")
            assert decided["approved"] and decided["scope"]["roles"] == ["agent"]
            assert 3500 < instant(decided["expires_at"]) - time.time() <= 3600
            denied = broker.run_cli("pair", "deny", codes["two"])
            assert denied.exit_code == 0 and f"denied {codes['two']}" in denied.stdout
            assert broker.run_cli("pair", "approve", codes["two"]).exit_code != 0, "decided is decided"
            assert not set(codes.values()) & {row["user_code"] for row in broker.cli_rows("pair", "list")}
            one.wait_serving()
            assert reach(sts, one, "s3:GetObject", wallet)
            assert two.wait(20) == REFUSED
    actions = [row["action"] for row in broker.audit(100)]
    assert {"device_approve", "device_deny", "device_pair"} <= set(actions)


# Turned away


def test_a_code_counts_once_and_a_wrong_one_never(broker, machine):
    owner, device = machine(broker, broker.token()), machine(broker)
    assert owner.run("approve", "no code", "--yes").returncode == USAGE
    assert failure(owner.run("approve", A_CODE_THAT_NOBODY_SHOWS, "--yes", "--json"), NOT_FOUND)["code"] == "not_found"
    with device.daemon("--pair") as daemon, machine(broker).daemon("--pair") as unwanted:
        code, other = daemon.pairing_code(), unwanted.pairing_code()
        assert code != other
        approve(owner, code)
        for verb in ("approve", "deny"):
            more = ["--yes"] if verb == "approve" else []
            failure(owner.run(verb, code, "--json", *more), NOT_FOUND)
        assert owner.run("deny", other).returncode == 0
        failure(owner.run("approve", other, "--yes", "--json"), NOT_FOUND)
        daemon.wait_serving()
        assert unwanted.wait(20) == REFUSED, "a code of its own, for scripts"
        assert "denied" in unwanted.log_tail() and "ready" not in unwanted.printed()


def test_a_code_ends(role_broker, machine):
    broker = role_broker({"sessions": {"pairing_ttl": "10s"}})
    owner, device = machine(broker, broker.token()), machine(broker)
    with device.daemon("--pair") as daemon:
        code = daemon.pairing_code()
        assert "within 10s" in daemon.printed()
        began = time.monotonic()
        assert daemon.wait(20) == 1 and "has ended without an answer" in daemon.log_tail()
        wait_until(lambda: broker.cli_rows("pair", "list") == [], 15, "the code has ended")
        assert time.monotonic() - began < 12
        failure(owner.run("approve", code, "--yes", "--json"), NOT_FOUND)
        assert device.sessions() == []


def test_whoever_guesses_codes_is_locked_out_even_of_the_right_one(role_broker, machine):
    broker = role_broker({"limits": {**NO_LIMITS, "failed_auth": "5/min"}})
    guesser = machine(broker, broker.token(), AGENTKEYS_TIMEOUT="2s")
    with machine(broker).daemon("--pair") as daemon:
        code = daemon.pairing_code()
        guesses = [f"BCDF-GHJ{last}" for last in "BCDFGHJKLMNPQRST"]
        codes: List[str] = []
        for guess in guesses:
            done = guesser.run("approve", guess, "--yes", "--json")
            codes.append(json.loads(done.stderr.splitlines()[-1])["error"]["code"])
            if codes[-1] != "not_found":
                break
        assert codes == ["not_found"] * 5 + ["rate_limited"]
        locked = failure(guesser.run("approve", code, "--yes", "--json"), UNAVAILABLE)
        assert locked["code"] == "rate_limited" and "try again in" in locked["next"]
        assert "ready" not in daemon.printed()
        # The operator, who guesses nothing, still can.
        assert broker.run_cli("pair", "approve", code, "--read-only").exit_code == 0
        daemon.wait_serving()


def test_a_flood_of_devices_is_bounded(role_broker):
    broker = role_broker()
    statuses = [broker.post("/oauth/device_authorization", b"", headers=_FORM).status for _ in range(60)]
    assert statuses == [200] * 50 + [429] * 10
    assert len(broker.cli_rows("pair", "list")) == 50


_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


# No more than the approver


def test_a_device_never_gets_more_than_its_approver_has_or_says(role_broker, sts, machine):
    roles = {"agent": {"arn": sts.role_arn}, "admin": {"arn": sts.role_arn.replace("agentkeys-agent", "admin")}}
    broker = role_broker({"roles": roles})
    approver, named = machine(broker, broker.token(ttl="1h")), machine(broker)
    own = whoami(approver)
    with ExitStack() as stack:
        # A role that the approver's wallet has no grant for: a scope gives nothing, it only takes away.
        proud = stack.enter_context(machine(broker).daemon("--pair", "--role", "admin"))
        long = stack.enter_context(machine(broker).daemon("--pair", "--pair-ttl", "300d"))
        modest = stack.enter_context(named.daemon("--pair", "--pair-service", "openrouter"))
        assert approve(approver, proud.pairing_code())["granted"] == "role:admin"
        decision = approve(approver, long.pairing_code())
        assert decision["granted"] == "everything" and decision["wallet"] == own["wallet"]
        assert instant(decision["expires_at"]) <= instant(own["expires_at"])
        # What the approver names replaces what the device proposes.
        decision = approve(approver, modest.pairing_code(), "--read-only", "--role", "agent", "--ttl", "20m")
        assert decision["scope"] == {"roles": ["agent"], "read_only": True}
        for daemon in (long, modest):
            daemon.wait_serving()
        assert whoami(named)["scope"] == decision["scope"]
        proud.wait_listening()
        proud.wait_health(503, "forbidden")
        no_credential(proud.ask())
    assert {call["role_arn"] for call in sts.mint_calls()} == {sts.role_arn}


def test_a_narrowed_session_lets_nobody_in(broker, machine):
    narrowed = machine(broker, broker.token(read_only=True))
    with machine(broker).daemon("--pair") as daemon:
        code = daemon.pairing_code()
        assert failure(narrowed.run("approve", code, "--yes", "--json"), REFUSED)["code"] == "insufficient_scope"
        stranger = machine(broker)
        failure(stranger.run("approve", code, "--yes", "--json"), NOT_LOGGED_IN)
        assert "ready" not in daemon.printed()


# Again


def test_pairing_again_replaces_and_does_not_pile_up(broker, machine):
    owner, bare, shared = machine(broker, broker.token()), machine(broker), machine(broker, broker.token())
    own = shared.sessions()
    _pair_both(owner, bare, shared)
    (revoked,) = bare.sessions()
    assert revoked["identity"] == "daemon"
    (forgotten,) = [each for each in shared.sessions() if each not in own]
    # Started again with a session that counts, it asks nobody.
    with shared.daemon("--pair") as again:
        again.wait_serving()
        assert "pair " not in again.printed()
    # One was revoked. The other's machine takes it for ended, since its clock was wrong; the broker does not.
    broker.cli("session", "revoke", revoked["session_id"])
    _believe_ended(shared, forgotten["session_id"])
    for each in (bare, shared):
        # What is stored says which broker.
        each.environment.pop("AGENTKEYS_BROKER_URL")
    logs = _pair_both(owner, bare, shared)

    (paired,) = bare.sessions()
    assert paired["session_id"] != revoked["session_id"]
    assert whoami(bare)["session_id"] == paired["session_id"], "there is no second one to stumble over"
    assert shared.sessions()[0] == own[0], "a person's own is untouched"
    assert [each["identity"] for each in shared.sessions()] == ["default", "daemon"]
    assert whoami(shared, "--identity", "daemon")["session_id"] == shared.sessions()[1]["session_id"]
    assert revoked["session_id"] in logs[0] and forgotten["session_id"] in logs[1], "it says what was replaced"
    replaced = broker.cli("session", "show", forgotten["session_id"])
    assert replaced["revoked_at"], "nobody holds its token any more, so it counts no longer"


def _believe_ended(machine: Machine, session_id: str) -> None:
    path = machine.home / ".agentkeys" / "sessions.json"
    listed = json.loads(path.read_text())
    (record,) = [each for each in listed["sessions"] if each["session_id"] == session_id]
    record["expires_at"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(listed))


def _pair_both(owner: Machine, *devices: Machine) -> List[str]:
    """Pairs them side by side, until each serves; what each has logged."""
    with ExitStack() as stack:
        daemons = [stack.enter_context(device.daemon("--pair")) for device in devices]
        for daemon in daemons:
            approve(owner, daemon.pairing_code())
        for daemon in daemons:
            daemon.wait_serving()
        return [daemon.log_tail() for daemon in daemons]


def _token(machine: Machine) -> str:
    """The one stored token that starts so; a wallet's key does not."""
    found = [path.read_text() for path in machine.files() if path.parent.name == "secrets"]
    (token,) = [text for text in found if text.startswith("aks_")]
    return token


def _at_a_terminal(machine: Machine, arguments: List[str], typed: str) -> tuple:
    """What a person reads, and the exit code: the command has a terminal for all three streams."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [str(client_program()), *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**machine.environment, "TERM": "dumb"},
        cwd=machine.home,
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(ours)
    return said.decode(), child.wait(30)
