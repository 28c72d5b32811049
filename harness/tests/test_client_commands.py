"""The commands of `agentkeys` and its daemon, each as a person or a script uses it."""
from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import urllib.parse

import pytest

from clientlib import Machine, client_program
from expect import TOKEN, WALLET, instant, new_wallet, refused
from http_client import Client
from peers.process import wait_until


@pytest.fixture
def broker(shared_broker):
    return shared_broker


@pytest.fixture
def machine(tmp_path, broker) -> Machine:
    """Of somebody who has nothing yet."""
    return Machine(tmp_path / "home", broker.url, AGENTKEYS_SESSION_STORE="file")


@pytest.fixture
def issued(broker) -> dict:
    return broker.session_issue(new_wallet())


@pytest.fixture
def developer(machine, issued) -> Machine:
    """With a session that the operator issued."""
    machine.log_in(issued["token"])
    return machine


@pytest.fixture
def owner(machine) -> Machine:
    """With a wallet of their own."""
    done = machine.run("init", "--non-interactive")
    assert done.returncode == 0, done.stderr
    return machine


def document(done: subprocess.CompletedProcess) -> dict:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(done: subprocess.CompletedProcess) -> list:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# Sessions


def test_init_makes_a_wallet_and_a_month_of_session(machine, broker):
    made = document(machine.run("init", "--non-interactive", "--json"))
    assert WALLET.fullmatch(made["wallet"]) and made["kind"] == "master"
    shown = broker.cli("session", "show", made["session_id"])
    assert shown["wallet"] == made["wallet"] and shown["expires_at"] == made["expires_at"]
    assert instant(shown["expires_at"]) - instant(shown["created_at"]) == 30 * 86400
    assert document(machine.run("whoami", "--json"))["wallet"] == made["wallet"], "and it is kept"


def test_login_keeps_a_token_that_is_never_shown_again(machine, issued):
    done = machine.run("login", "--token-stdin", stdin=issued["token"])
    assert done.returncode == 0, done.stderr
    assert issued["token"] not in done.stdout + done.stderr
    assert document(machine.run("whoami", "--json"))["session_id"] == issued["session_id"]


def test_whoami_names_wallet_session_and_broker(developer, issued, broker):
    told = document(developer.run("whoami", "--json"))
    assert told["wallet"] == issued["wallet"] and told["broker_url"] == broker.url


def test_logout_ends_the_session_here_and_at_the_broker(developer, issued, broker):
    assert developer.run("logout").returncode == 0
    refused(broker.get("/v1/session", token=issued["token"]), 401, "invalid_token")
    assert developer.run("whoami").returncode == 3


def test_a_child_session_is_narrow_and_revocable(owner, broker):
    made = document(owner.run("session", "child", "--read-only", "--ttl", "10m", "--json"))
    assert TOKEN.fullmatch(made["token"]) and made["scope"]["read_only"] is True
    assert broker.get("/v1/session", token=made["token"]).json()["scope"]["read_only"] is True


def test_session_list_shows_what_descends_from_mine(owner):
    made = document(owner.run("session", "child", "--label", "ci", "--json"))
    listed = {row["session_id"]: row for row in rows(owner.run("session", "list", "--json"))}
    assert listed[made["session_id"]]["label"] == "ci" and len(listed) == 2


def test_session_revoke_ends_a_child(owner, broker):
    made = document(owner.run("session", "child", "--json"))
    assert owner.run("session", "revoke", made["session_id"]).returncode == 0
    refused(broker.get("/v1/session", token=made["token"]), 401, "invalid_token")


# Devices


def pairing(broker) -> tuple:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    device = broker.request("POST", "/oauth/device_authorization", "label=robot", headers=headers).json()
    poll = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": device["device_code"]}
    return device["user_code"], lambda: broker.request("POST", "/oauth/token", urllib.parse.urlencode(poll), headers=headers)


def test_approve_lets_a_device_in_as_a_child_of_mine(owner, broker):
    code, poll = pairing(broker)
    done = owner.run("approve", code, "--read-only", "--yes")
    assert done.returncode == 0, done.stderr
    paired = poll().json()
    session = broker.get("/v1/session", token=paired["access_token"]).json()
    assert session["scope"]["read_only"] is True
    assert session["wallet"] == document(owner.run("whoami", "--json"))["wallet"]


def test_deny_turns_a_device_away(owner, broker):
    code, poll = pairing(broker)
    assert owner.run("deny", code).returncode == 0
    answer = poll()
    assert answer.status == 400 and answer.json()["error"] == "access_denied"


# Stored keys


@pytest.fixture
def key() -> str:
    return "sk-or-v1-" + secrets.token_hex(16)


def test_store_takes_a_key_from_stdin_and_read_gives_it_back(owner, key):
    done = owner.run("store", "openrouter", stdin=key)
    assert done.returncode == 0 and key not in done.stdout + done.stderr, done
    assert owner.run("read", "openrouter").stdout.strip() == key


def test_list_names_services_and_no_keys(owner, key):
    owner.run("store", "openrouter", stdin=key)
    done = owner.run("list", "--json")
    assert [row["service"] for row in rows(done)] == ["openrouter"] and key not in done.stdout


def test_rm_removes_a_key(owner, key):
    owner.run("store", "openrouter", stdin=key)
    assert owner.run("rm", "openrouter").returncode == 0
    assert owner.run("read", "openrouter").returncode == 5


def test_run_gives_a_key_to_one_command(owner, key):
    owner.run("store", "openrouter", stdin=key)
    done = owner.run("run", "--env", "OPENROUTER_API_KEY=openrouter", "--", "sh", "-c", 'echo "$OPENROUTER_API_KEY"; exit 7')
    assert done.stdout.strip() == key and done.returncode == 7


# What the broker tells


def test_environment_is_what_the_broker_says(developer, issued, broker):
    told = document(developer.run("environment", "--json"))
    assert told == broker.get("/v1/environment", token=issued["token"]).json()


# AWS


def test_configure_writes_a_profile_that_undo_takes_out(developer):
    file = developer.home / ".aws" / "config"
    file.parent.mkdir()
    file.write_text("[profile other]\nregion = eu-west-1\n")
    assert developer.run("aws", "configure").returncode == 0
    assert "credential_process" in file.read_text() and "AKIA" not in file.read_text()
    assert developer.run("aws", "configure", "--undo").returncode == 0
    assert file.read_text().strip() == "[profile other]\nregion = eu-west-1"


def test_credentials_are_what_a_credential_process_prints(developer, sts):
    made = document(developer.run("aws", "credentials"))
    assert made["Version"] == 1 and made["SessionToken"] and made["Expiration"].endswith("Z")
    assert sts.mint_calls()[-1]["outcome"] == "ok"


def test_exec_gives_credentials_to_one_command(developer, sts):
    done = developer.run("aws", "exec", "--", "sh", "-c", 'echo "$AWS_ACCESS_KEY_ID $AWS_SESSION_TOKEN"; exit 7')
    assert done.returncode == 7 and done.stdout.startswith("ASIA"), done


def test_console_env_is_for_a_shell_to_evaluate(developer, sts):
    done = developer.run("aws", "console-env")
    assert done.returncode == 0, done.stderr
    held = developer.command(["sh", "-c", f'eval {shlex.quote(done.stdout)}; echo "$AWS_ACCESS_KEY_ID"'])
    assert held.stdout.startswith("ASIA"), held


# About itself


def test_config_says_where_each_value_came_from(machine, broker):
    done = machine.run("config")
    line = next(line for line in done.stdout.splitlines() if line.startswith("broker_url"))
    assert broker.url in line and "environment" in line


def test_completions_complete(machine):
    done = machine.run("completions", "bash")
    assert done.returncode == 0
    script = done.stdout + '\nCOMP_WORDS=(agentkeys session ""); COMP_CWORD=2; _agentkeys agentkeys "" session; echo "${COMPREPLY[@]}"'
    offered = machine.command([shutil.which("bash"), "-c", script]).stdout
    assert {"list", "revoke", "child"} <= set(offered.split()), offered


def test_there_is_a_manual_page_for_every_command(machine):
    assert ".TH agentkeys 1" in machine.run("man").stdout
    pages = machine.home / "man"
    pages.mkdir()
    assert machine.run("man", "--directory", str(pages)).returncode == 0
    names = {page.name for page in pages.iterdir()}
    assert {"agentkeys.1", "agentkeys-login.1", "agentkeys-aws-exec.1", "agentkeys-daemon.1"} <= names


# The daemon


def test_the_daemon_serves_credentials_to_sdks(developer, sts):
    with developer.daemon() as daemon:
        daemon.wait_serving()
        where = urllib.parse.urlsplit(daemon.addresses["container"])
        with Client(f"http://{where.netloc}") as client:
            given = client.request("GET", where.path, headers={"Authorization": daemon.token()})
            assert given.status == 200 and given.json()["AccessKeyId"].startswith("ASIA"), given
            assert client.request("GET", where.path).status in (401, 403), "not without the token"


def test_the_daemon_pairs_where_there_is_no_session(machine, broker):
    with machine.daemon("--pair") as daemon:

        def code_shown():
            assert daemon.running, daemon.log_tail()
            return re.search(r"pair ([A-Z]{4}-[A-Z]{4})", daemon.log_tail())

        code = wait_until(code_shown, 20, "it shows a code")
        broker.cli("pair", "approve", code.group(1))
        daemon.wait_serving()
        assert os.stat(daemon.addresses["token_file"]).st_mode & 0o077 == 0


def test_each_program_says_its_version(machine, broker):
    for name in ("agentkeys", "agentkeys-daemon"):
        done = machine.command([str(client_program(name)), "--version"])
        assert done.returncode == 0 and done.stdout.split()[0] in ("agentkeys", "agentkeys-daemon")
