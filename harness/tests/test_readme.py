"""The README's tour, run as it is printed: a newcomer who pastes it gets what it says.

A block after `<!-- test: NAME -->` is run by bash against a live broker with a real
STS and S3. Only what the README cannot know is put in: addresses, the bucket, the
wallet, the token.
"""
from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
from pathlib import Path
from typing import Dict

import pytest

from brokerlib import REPOSITORY, binary

BLOCK = re.compile(r"<!-- test: (.+?) -->\n```sh\n(.*?)```", re.DOTALL)
BLOCKS = dict(BLOCK.findall((REPOSITORY / "README.md").read_text()))
VENV = REPOSITORY / ".tools" / "venv" / "bin"
RUN = {"operator", "developer", "mint", "end user", "probes"}


class Machine:
    """A home of its own, the programs on PATH, and nothing else."""

    def __init__(self, home: Path, broker, seaweedfs) -> None:
        self._broker, self._seaweedfs = broker, seaweedfs
        self.wallet = self.token = ""
        self.environment: Dict[str, str] = {
            "HOME": str(home),
            "PATH": os.pathsep.join((str(binary().parent), str(VENV), os.environ["PATH"])),
            # A machine without a keychain, and a bucket that is not at AWS.
            "AGENTKEYS_SESSION_STORE": "file",
            "AWS_ENDPOINT_URL": seaweedfs.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def run(self, name: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess:
        script = BLOCKS[name]
        for printed, real in (
            ("http://localhost:8090", self._broker.url),
            ("http://127.0.0.1:9464", self._broker.metrics_url),
            ("agentkeys-mail-123456789012", self._seaweedfs.bucket),
            ("aks_…", self.token),
            ("0x…", self.wallet),
        ):
            script = script.replace(printed, real)
        return subprocess.run(
            ["bash", "-euc", script],
            input=stdin, capture_output=True, text=True, timeout=90, env={**self.environment, **more},
        )


@pytest.fixture
def machine(tmp_path, seaweed_broker, seaweedfs) -> Machine:
    return Machine(tmp_path, seaweed_broker, seaweedfs)


@pytest.fixture
def holder(machine, seaweed_broker) -> Machine:
    """Of a session that the operator issued."""
    issued = seaweed_broker.session_issue()
    machine.wallet, machine.token = issued["wallet"], issued["token"]
    return machine


def test_every_marked_block_is_run():
    assert set(BLOCKS) == RUN


def test_the_operator_issues_a_session(machine, seaweed_broker):
    done = machine.run("operator", BROKER_CONFIG=str(seaweed_broker.config_file))
    assert done.returncode == 0, done.stderr
    token = re.search(r"^token +(aks_\S+)$", done.stdout, re.MULTILINE)
    assert token, done.stdout
    assert seaweed_broker.try_mint_jwt(token.group(1)).status == 200


def test_the_developer_sets_one_variable_and_uses_the_aws_cli(holder, seaweedfs):
    done = holder.run("developer", stdin=holder.token + "\n")
    assert done.returncode == 0, done.stderr
    assert "hello.txt" in done.stdout and seaweedfs.bucket in done.stdout
    stored = seaweedfs.admin().get_object(Bucket=seaweedfs.bucket, Key=f"bots/{holder.wallet}/hello.txt")
    assert stored["Body"].read() == b"hello\n"


def test_a_mint_by_hand_answers_what_is_printed_below_it(holder, seaweed_broker):
    done = holder.run("mint", AGENTKEYS_BROKER_URL=seaweed_broker.url)
    assert done.returncode == 0, done.stderr
    printed = re.search(r"```json\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)
    assert printed, "the README shows no answer"
    answer, shown = json.loads(done.stdout), json.loads(printed.group(1))
    assert set(answer) == set(shown)
    assert set(shown["environment"]) <= set(answer["environment"])


def test_the_end_user_stores_and_reads_a_key(machine, seaweed_broker):
    key = "sk-or-v1-" + secrets.token_hex(16)
    done = machine.run("end user", stdin=key, AGENTKEYS_BROKER_URL=seaweed_broker.url)
    assert done.returncode == 0, done.stderr
    assert key in done.stdout


def test_the_probes_answer(machine):
    done = machine.run("probes")
    assert done.returncode == 0, done.stderr
    assert "agentkeys_broker_mints_total" in done.stdout and '"ready"' in done.stdout
