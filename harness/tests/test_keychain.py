"""Secrets in the system's keychain: gnome-keyring on a bus of its own, with secret-tool as the witness."""
from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Iterator

import pytest
from eth_account import Account

from brokerlib import Broker, timed
from clientlib import Machine
from expect import TOKEN
from peers import secret_service
from peers.process import wait_until
from peers.secret_service import SecretService

LOCAL_STORE = 8
# Two seconds for one call of the keychain; a command may need two of them.
BOUND_SECONDS = 7

pytestmark = pytest.mark.skipif(
    bool(secret_service.missing()),
    reason=f"{', '.join(secret_service.missing())} not installed (Debian: apt-get install gnome-keyring dbus libsecret-tools)",
)


@pytest.fixture
def bus() -> Iterator[SecretService]:
    """A bus without a keychain on it."""
    with tempfile.TemporaryDirectory(prefix="akk-") as directory:
        with SecretService(Path(directory)) as running:
            yield running


@pytest.fixture
def keychain(bus) -> SecretService:
    return bus.start()


@pytest.fixture
def broker(shared_broker, sts) -> Broker:
    return shared_broker


@pytest.fixture
def machine(broker, bus, home) -> Machine:
    return Machine(home, broker.url, AGENTKEYS_SESSION_STORE="auto", **bus.environment)


def done(machine: Machine, *arguments: str, **more: str):
    result = machine.run(*arguments, **more)
    assert result.returncode == 0, result.stderr
    return result


def records(machine: Machine) -> list:
    listed = json.loads((machine.home / ".agentkeys" / "sessions.json").read_text())
    return listed["sessions"] + listed["wallets"]


def on_disk(machine: Machine, secret: str) -> list:
    return [path for path in machine.home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


# There


def test_what_init_makes_is_in_the_keychain_and_in_no_file(broker, keychain, machine):
    made = done(machine, "init", "--non-interactive", "--json")
    assert "Note:" not in made.stderr, "nothing was second best"
    entries = keychain.entries()
    assert set(entries) == {f"session:default@{broker.url}", "wallet:default"}
    token, key = entries[f"session:default@{broker.url}"], entries["wallet:default"]
    wallet = json.loads(made.stdout)["wallet"]
    assert TOKEN.fullmatch(token)
    assert Account.from_key(key).address.lower() == wallet, "it is the key of that very wallet"
    assert {record["kept_in"] for record in records(machine)} == {"keychain"}
    assert not (machine.home / ".agentkeys" / "secrets").exists()
    for secret in (token, token.removeprefix("aks_"), key, key.removeprefix("0x")):
        assert on_disk(machine, secret) == []
        assert secret not in made.stdout + made.stderr


def test_every_command_works_from_the_keychain(broker, keychain, machine):
    done(machine, "init", "--non-interactive")
    wallet = json.loads(done(machine, "whoami", "--json").stdout)["wallet"]
    done(machine, "store", "openrouter", stdin="sk-or-v1-of-this-test")
    assert done(machine, "read", "openrouter").stdout.strip() == "sk-or-v1-of-this-test"
    with machine.daemon() as daemon:
        daemon.wait_serving()
        assert daemon.health().json()["wallet"] == wallet
        # A new login in the keychain is taken up as one in a file is.
        before = daemon.health().json()["session_id"]
        machine.log_in(broker.token(wallet))
        after = json.loads(done(machine, "whoami", "--json").stdout)["session_id"]
        assert after != before
        wait_until(lambda: daemon.health().json()["session_id"] == after, 10, "the new session is taken up")


def test_logout_removes_the_session_and_leaves_the_wallet(broker, keychain, machine):
    wallet = json.loads(done(machine, "init", "--non-interactive", "--json").stdout)["wallet"]
    token = keychain.entries()[f"session:default@{broker.url}"]
    done(machine, "logout")
    assert set(keychain.entries()) == {"wallet:default"}
    assert broker.get("/v1/session", token=token).status == 401
    assert machine.run("whoami").returncode == 3
    again = json.loads(done(machine, "init", "--non-interactive", "--json").stdout)
    assert again["wallet"] == wallet, "the key that is there is used again"


def test_each_identity_has_an_entry_of_its_own(broker, keychain, machine):
    for name in ("one", "two"):
        done(machine, "--identity", name, "login", "--token-stdin", stdin=broker.token())
    assert set(keychain.entries()) == {f"session:{name}@{broker.url}" for name in ("one", "two")}
    done(machine, "--identity", "one", "logout")
    assert set(keychain.entries()) == {f"session:two@{broker.url}"}


def test_a_session_moves_from_a_file_into_the_keychain(broker, keychain, machine):
    token = broker.token()
    done(machine, "--session-store", "file", "login", "--token-stdin", stdin=token)
    assert keychain.entries() == {} and on_disk(machine, token)
    done(machine, "login", "--token-stdin", stdin=token)
    assert list(keychain.entries().values()) == [token] and on_disk(machine, token) == []


# Not there, locked, or silent


def arrange(bus: SecretService, state: str) -> None:
    if state == "absent":
        return
    bus.start()
    if state == "locked":
        # Started anew and not unlocked, as after a boot without a login: there is nobody to ask.
        bus.stop()
        bus.start(unlocked=False)
    if state == "silent":
        bus.hang()


STATES = ["absent", "locked", "silent"]


@pytest.mark.parametrize("state", STATES)
def test_without_a_keychain_a_file_is_used_and_that_is_said_once(bus, machine, state):
    arrange(bus, state)
    made, seconds = timed(machine.run, "init", "--non-interactive")
    assert made.returncode == 0, made.stderr
    assert seconds < BOUND_SECONDS
    assert made.stderr.count("Note:") == 1, made.stderr
    assert "the keychain" in made.stderr and "AGENTKEYS_SESSION_STORE=file" in made.stderr
    assert {record["kept_in"] for record in records(machine)} == {"file"}
    for path in (machine.home / ".agentkeys" / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    told, seconds = timed(machine.run, "whoami")
    assert told.returncode == 0 and "Note:" not in told.stderr and seconds < 2, "a file needs no keychain"
    assert "the keychain" not in machine.run("init", "--non-interactive").stderr, "it was said"


@pytest.mark.parametrize("state", STATES)
def test_a_keychain_that_was_demanded_is_not_replaced_by_a_file(broker, bus, machine, state):
    arrange(bus, state)
    token = broker.token()
    refused, seconds = timed(machine.run, "--session-store", "keychain", "login", "--token-stdin", stdin=token)
    assert refused.returncode == LOCAL_STORE, refused
    assert seconds < BOUND_SECONDS
    assert "the keychain" in refused.stderr and "AGENTKEYS_SESSION_STORE=file" in refused.stderr
    assert on_disk(machine, token) == [] and token not in refused.stderr
    made = machine.run("--session-store", "keychain", "init", "--non-interactive", "--json")
    assert made.returncode == LOCAL_STORE
    assert json.loads(made.stderr.splitlines()[-1])["error"]["exit_code"] == LOCAL_STORE
    assert machine.sessions() == [] and not (machine.home / ".agentkeys" / "secrets").exists()


@pytest.mark.parametrize("state", STATES)
def test_a_session_in_a_keychain_that_is_gone_is_an_error_and_not_a_guess(broker, bus, machine, state):
    bus.start()
    token = broker.token()
    done(machine, "login", "--token-stdin", stdin=token)
    if state == "silent":
        bus.hang()
    else:
        bus.stop()
        if state == "locked":
            bus.start(unlocked=False)
    told, seconds = timed(machine.run, "whoami")
    assert told.returncode == LOCAL_STORE, told
    assert seconds < BOUND_SECONDS and "unlock it and try again" in told.stderr
    if state == "locked":
        bus.stop()
        bus.start()
        done(machine, "whoami")


def test_without_any_bus_the_same_holds(broker, home):
    for address in (None, "unix:path=/nonexistent/bus"):
        variables = {} if address is None else {"DBUS_SESSION_BUS_ADDRESS": address}
        machine = Machine(home / str(address is None), broker.url, AGENTKEYS_SESSION_STORE="auto", **variables)
        refused, seconds = timed(machine.run, "--session-store", "keychain", "login", "--token-stdin", stdin=broker.token())
        assert refused.returncode == LOCAL_STORE and seconds < BOUND_SECONDS, refused
        made = done(machine, "login", "--token-stdin", stdin=broker.token())
        assert made.stderr.count("Note:") == 1
