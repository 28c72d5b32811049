"""What the daemon does while its broker is away, slow, busy, or says no.

Whatever happens, an SDK gets a credential that is valid, or an answer that it
understands as none: never a 200 with something stale or empty.
"""
from __future__ import annotations

import signal
import stat
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import pytest
from botocore.exceptions import CredentialRetrievalError

from brokerlib import Broker, timed
from clientlib import SDK_SECONDS, Daemon, Machine
from expect import instant, new_wallet, no_credential
from http_client import Answer
from peers.process import wait_until

# The daemon hands nothing out with less than 5 s left: this is served for about 3 s.
SHORT_SECONDS = 8
UNAVAILABLE = 6


@pytest.fixture
def broker(role_broker) -> Broker:
    return role_broker()


@pytest.fixture
def machine(broker, home) -> Machine:
    machine = Machine(home, broker.url)
    machine.log_in(broker.token())
    return machine


def none_for_now(answer: Answer) -> dict:
    """503, with a reason and a time to come back."""
    assert answer.status == 503, answer
    no_credential(answer)
    assert int(answer.header("retry-after") or "0") >= 1
    return answer.json()


def whole(answer: Answer) -> dict:
    assert answer.status == 200, answer
    body = answer.json()
    assert all(body[name] for name in ("AccessKeyId", "SecretAccessKey", "Token")), sorted(body)
    assert instant(body["Expiration"]) > time.time()
    return body


@contextmanager
def silent(broker: Broker) -> Iterator[None]:
    """It accepts connections and answers none."""
    broker.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        broker.signal(signal.SIGCONT)


# Away


def test_a_broker_that_is_away_at_the_start_is_waited_for(broker, machine):
    assert broker.terminate() == 0
    with machine.daemon() as daemon:
        daemon.wait_listening()
        answer, seconds = timed(daemon.ask)
        assert none_for_now(answer)["code"] in ("starting", "broker_unavailable")
        assert seconds < SDK_SECONDS
        health = daemon.wait_health(503, "broker_unavailable")
        assert broker.url in health["detail"], "it says which broker"
        assert "ready" not in daemon.printed()
        broker.start()
        daemon.wait_serving()
        whole(daemon.ask())


def test_what_is_valid_is_served_while_the_broker_is_away_and_nothing_after_that(broker, machine, sts):
    sts.short_life(SHORT_SECONDS)
    with machine.daemon() as daemon:
        daemon.wait_serving()
        held = whole(daemon.ask())
        broker.kill9()
        sts.short_life(None)
        served_while_away = 0
        answer = daemon.ask()
        while answer.status == 200:
            assert whole(answer)["AccessKeyId"] == held["AccessKeyId"]
            served_while_away += 1
            answer = daemon.ask()
        assert served_while_away, "what was valid was not served"
        assert none_for_now(answer)["code"] == "broker_unavailable"
        # And so it stays, past the end, however often one asks.
        wait_until(lambda: time.time() > instant(held["Expiration"]) + 0.5, 15, "the end has passed")
        none_for_now(daemon.ask())
        assert daemon.health().status == 503
        broker.start()
        wait_until(lambda: daemon.ask().status == 200, 40, "it serves again")
        assert whole(daemon.ask())["AccessKeyId"] != held["AccessKeyId"]


# Slow


def test_a_silent_broker_holds_nobody_up(broker, machine):
    limits = {"AGENTKEYS_TIMEOUT": "2s"}
    with machine.daemon(more=limits) as daemon, silent(broker):
        daemon.wait_listening()
        answer, seconds = timed(daemon.ask)
        none_for_now(answer)
        assert seconds < SDK_SECONDS, "an SDK would have given up"
        done, seconds = timed(machine.run, "whoami", more=limits)
        assert done.returncode == UNAVAILABLE, done
        assert "did not answer in time" in done.stderr
        assert 1.5 < seconds < 5
        detail = daemon.wait_health(503, "broker_unavailable")["detail"]
        assert "did not answer in time" in detail
        # The wait between attempts grows with the silence, so end it early.
        broker.signal(signal.SIGCONT)
        daemon.wait_serving(40)
        whole(daemon.ask())


def test_a_broker_that_falls_silent_takes_nothing_away(broker, machine):
    with machine.daemon("--check-every", "1s", more={"AGENTKEYS_TIMEOUT": "1s"}) as daemon:
        daemon.wait_serving()
        held = whole(daemon.ask())
        with silent(broker):
            # Past several looks at the session, none of which is answered.
            until = time.monotonic() + 4
            while time.monotonic() < until:
                answer, seconds = timed(daemon.ask)
                assert whole(answer) == held and seconds < SDK_SECONDS


# Busy


def test_a_503_of_the_broker_is_a_503_here_and_its_time_is_kept(broker, machine, sts):
    sts.fault("http_503")
    # Less than the broker asks to wait, so that no attempt is one of a single operation's own.
    with machine.daemon(more={"AGENTKEYS_TIMEOUT": "4s"}) as daemon:
        daemon.wait_listening()
        daemon.wait_health(503, "broker_unavailable")
        assert none_for_now(daemon.ask())["code"] == "broker_unavailable"
        busy = broker.try_mint(broker.token())
        wait = int(busy.header("retry-after") or "0")
        assert busy.status == 503 and wait >= 1
        with pytest.raises(CredentialRetrievalError) as raised:
            daemon.sdk_provider().load()
        assert "503" in str(raised.value)
        # Many who ask at once do not make it ask the broker more often than that.
        session = machine.sessions()[0]["session_id"]

        def attempts() -> list:
            return [
                row["at_ms"] / 1000
                for row in broker.audit(200)
                if row["action"] == "mint_aws_creds" and row["session_id"] == session and row["phase"] == "intent"
            ]

        before = len(attempts())
        daemon.ask_many(30)
        wait_until(lambda: len(attempts()) > before, 60, "it tries again")
        times = sorted(attempts())
        gaps = [later - earlier for earlier, later in zip(times, times[1:])]
        assert min(gaps) >= wait * 0.95, (wait, gaps)
        sts.clear_faults()
        daemon.wait_serving(60)
        whole(daemon.ask())


def test_a_refusal_of_the_broker_is_told_as_one(role_broker, home):
    broker = role_broker({"grants": {"default_role": None}})
    machine = Machine(home, broker.url)
    machine.log_in(broker.token())
    with machine.daemon() as daemon:
        daemon.wait_listening()
        daemon.wait_health(503, "forbidden")
        answer = daemon.ask()
        assert answer.status == 403 and answer.json()["code"] == "forbidden", answer
        no_credential(answer)
        assert "ready" not in daemon.printed()


# Revoked, and logged in anew


def test_a_revoked_session_takes_its_credential_along_and_a_new_login_is_taken_up(broker, machine):
    with machine.daemon("--check-every", "1s") as daemon:
        daemon.wait_serving()
        held = whole(daemon.ask())
        (record,) = machine.sessions()
        broker.cli("session", "revoke", record["session_id"])
        daemon.wait_health(503, "session_refused")
        answer = daemon.ask()
        assert answer.status == 403, "not a thing to try again"
        no_credential(answer)
        assert answer.json()["code"] == "session_refused" and "agentkeys login" in answer.json()["message"]
        with pytest.raises(CredentialRetrievalError) as raised:
            daemon.sdk_provider().load()
        assert "agentkeys login" in str(raised.value), "an SDK's user reads what to do"

        wallet = new_wallet()
        machine.log_in(broker.token(wallet))
        wait_until(lambda: daemon.ask().status == 200, 10, "the new session is taken up")
        assert whole(daemon.ask())["AccessKeyId"] != held["AccessKeyId"]
        assert daemon.health().json()["wallet"] == wallet


def test_another_wallets_login_leaves_nothing_of_the_first(broker, machine, sts):
    first = machine.sessions()[0]["wallet"]
    with machine.daemon() as daemon:
        daemon.wait_serving()
        held = whole(daemon.ask())
        second = new_wallet()
        token = broker.token(second)
        # There is nothing to be had for the second, and the first's is still good: it is let go all the same.
        sts.fault("access_denied")
        machine.log_in(token)
        wait_until(lambda: daemon.ask().status == 503, 10, "the first wallet's is let go")
        assert _key(daemon) != held["AccessKeyId"]
        sts.clear_faults()
        wait_until(lambda: daemon.ask().status == 200, 10, "the second is served")
        health = daemon.health().json()
        assert health["wallet"] == second != first
        minted = {"access_key_id": _key(daemon)}
        assert sts.authorize(minted, "s3:GetObject", f"bots/{second}/a")["allowed"]
        assert not sts.authorize(minted, "s3:GetObject", f"bots/{first}/a")["allowed"]


def test_a_logout_is_the_end_of_it(machine):
    with machine.daemon() as daemon:
        daemon.wait_serving()
        whole(daemon.ask())
        assert machine.run("logout").returncode == 0
        daemon.wait_health(503, "no_session")
        answer = daemon.ask()
        assert answer.status == 403, answer
        no_credential(answer)


def _key(daemon: Daemon) -> str:
    answer = daemon.ask()
    return answer.json()["AccessKeyId"] if answer.status == 200 else ""


# The token file, the socket, and the end


def test_a_restart_gives_another_token_and_the_old_one_opens_nothing(machine):
    daemon = machine.daemon()
    with daemon:
        daemon.wait_serving()
        assert stat.S_IMODE(daemon.token_file.stat().st_mode) == 0o600
        before = daemon.token()
        assert before == before.strip() and len(before) == 64, "SDKs send it as it stands"
        assert daemon.terminate() == 0
        assert not daemon.token_file.exists()
        daemon.start()
        wait_until(lambda: daemon.token_file.exists() and daemon.running, 10, "it has started again")
        wait_until(lambda: daemon.health().status == 200, 10, "it serves")
        assert daemon.token() != before
        refusal = daemon.ask(token=before)
        assert refusal.status == 401, refusal
        no_credential(refusal)
        provider = daemon.sdk_provider()
        assert provider.load().access_key == _key(daemon), "an SDK reads the file anew"


def test_a_removed_token_file_opens_no_door(machine):
    with machine.daemon() as daemon:
        daemon.wait_serving()
        token = daemon.token()
        daemon.token_file.unlink()
        for given in ("", "None", "null"):
            answer = daemon.ask(token=given)
            assert answer.status == 401, (given, answer)
            no_credential(answer)
        with pytest.raises(FileNotFoundError):
            daemon.sdk_provider().load()
        whole(daemon.ask(token=token))
        assert daemon.terminate() == 0, "what is gone already is not missed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_cleanly(machine, number):
    with machine.daemon() as daemon:
        daemon.wait_serving()
        socket = Path(daemon.addresses["socket"])
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        daemon.signal(number)
        assert daemon.wait(5) == 0
        assert not socket.exists() and not daemon.token_file.exists()
        with pytest.raises(OSError):
            daemon.health()


def test_a_signal_ends_it_while_the_broker_is_silent(broker, machine):
    with machine.daemon() as daemon, silent(broker):
        daemon.wait_listening()
        assert timed(daemon.terminate)[0] == 0
        assert not daemon.token_file.exists()


def test_what_a_killed_daemon_left_behind_is_no_hindrance(machine):
    with machine.daemon() as killed:
        killed.wait_serving()
        left = Path(killed.addresses["socket"])
        killed.kill()
        assert left.exists()
        with machine.daemon() as daemon:
            daemon.wait_serving()
            assert Path(daemon.addresses["socket"]) == left
            whole(daemon.ask())
