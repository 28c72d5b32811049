"""`scripts/stage6-demo-env.sh`: what a shell holds after it, and what it does not."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Dict, Optional

import pytest

from brokerlib import REPOSITORY
from clientlib import client_program
from expect import new_wallet

SCRIPT = REPOSITORY / "scripts" / "stage6-demo-env.sh"
DOMAIN = "bots.example.dev"


@pytest.fixture(scope="module")
def agentkeys() -> Path:
    return client_program()


@pytest.fixture
def shell(tmp_path: Path, agentkeys: Path, shared_broker):
    session = shared_broker.session_issue(new_wallet())
    base = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "AGENTKEYS_BIN": str(agentkeys),
        "AGENTKEYS_BROKER_URL": shared_broker.url,
    }
    subprocess.run(
        [str(agentkeys), "login", "--token-stdin"],
        env=base, input=session["token"], text=True, check=True, capture_output=True,
    )

    def run(script: str, more: Optional[Dict[str, str]] = None, shell: str = "bash") -> subprocess.CompletedProcess:
        return subprocess.run(
            [shell, "-c", script], env={**base, **(more or {})}, text=True, capture_output=True, timeout=60
        )

    run.wallet = session["wallet"]
    run.token = session["token"]
    return run


def variables(done: subprocess.CompletedProcess) -> Dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


@pytest.mark.parametrize("how", [f'eval "$({SCRIPT})"', f". {SCRIPT}"], ids=["eval", "source"])
def test_a_shell_gets_the_environment_and_no_credential(shell, sts, how):
    held = variables(shell(f"{how} && env -0"))
    wallet = shell.wallet
    assert held["REGION"] == "us-east-1" and held["BUCKET"] == sts.bucket and held["DOMAIN"] == DOMAIN
    assert held["AGENTKEYS_SIGNUP_EMAIL"] == f"{wallet}@{DOMAIN}"
    assert held["AGENTKEYS_SES_PREFIX"] == f"bots/{wallet}/inbound/"
    assert [name for name in held if name.startswith("AWS_")] == []
    assert shell.token not in "".join(held.values())


def test_legacy_env_gives_credentials_and_says_so(shell):
    done = shell(f'eval "$({SCRIPT} --legacy-env)" && env -0')
    held = variables(done)
    assert held["AWS_ACCESS_KEY_ID"] and held["AWS_SECRET_ACCESS_KEY"] and held["AWS_SESSION_TOKEN"]
    assert held["AWS_REGION"] == held["REGION"] and len(held["AGENTKEYS_SIGNUP_PASSWORD"]) == 32
    assert "every program of this shell can read them" in done.stderr


def test_a_broker_that_is_away_fails_and_leaves_the_shell_open(shell):
    away = {"AGENTKEYS_BROKER_URL": "http://127.0.0.1:9"}
    done = shell(f". {SCRIPT} || echo still here", more=away)
    assert done.stdout == "still here\n" and "export" not in done.stdout
    done = shell(f'eval "$({SCRIPT})" && echo went on', more=away)
    assert done.returncode == 1 and done.stdout == "" and "no session at http://127.0.0.1:9" in done.stderr


def test_a_daemon_key_is_not_needed_and_that_is_said(shell):
    done = shell(str(SCRIPT), more={"DAEMON_SECRET_ACCESS_KEY": "a-secret"})
    assert done.returncode == 0 and "DAEMON_SECRET_ACCESS_KEY is set here and not used" in done.stderr
    assert "a-secret" not in done.stdout + done.stderr


def test_an_answer_that_is_more_than_a_word_is_not_evaluated(shell, tmp_path):
    forged = tmp_path / "agentkeys"
    forged.write_text("#!/bin/sh\necho '{\"region\":\"x$(touch owned)\",\"bucket\":\"b\"}'\n")
    forged.chmod(0o755)
    done = shell(f'cd {tmp_path}; eval "$({SCRIPT})"', more={"AGENTKEYS_BIN": str(forged)})
    assert "is not a plain word" in done.stderr and not (tmp_path / "owned").exists()


def test_shellcheck_finds_nothing():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
