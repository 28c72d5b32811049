"""The README's tour, run as it is printed: a newcomer who pastes it gets what it says.

Against a live broker with a real STS and S3. Only what the README cannot know is put
in: addresses, the bucket, the wallet, the token.
"""
from __future__ import annotations

import json
import re
import secrets
import shutil
from pathlib import Path
from typing import Callable, Iterator

import pytest

from clientlib import Machine
from docs_as_code import Page, Terminal, short_directory
from peers.ports import free_port

PAGE = Page("README.md")


@pytest.fixture
def terminal(tmp_path: Path, seaweed_broker, seaweedfs) -> Iterator[Callable[..., Terminal]]:
    """Makes a terminal of a new home; `session` is one that the operator issued."""
    made = []

    def make(session: dict, **variables: str) -> Terminal:
        replace = {
            "http://localhost:8090": seaweed_broker.url,
            "http://127.0.0.1:9464": seaweed_broker.metrics_url,
            "agentkeys-mail-123456789012": seaweedfs.bucket,
            "aks_…": session.get("token", ""),
            "0x…": session.get("wallet", ""),
        }
        # A bucket that is not at AWS.
        machine = Machine(tmp_path, None, AWS_ENDPOINT_URL=seaweedfs.endpoint, AWS_EC2_METADATA_DISABLED="true")
        made.append(Terminal(machine, replace, ("cargo",), **variables))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def session(seaweed_broker) -> dict:
    return seaweed_broker.session_issue()


def test_the_operator_installs_and_starts_it():
    home = short_directory()
    port = free_port()
    machine = Machine(
        home, None,
        BROKER_ISSUER=f"http://localhost:{port}", BROKER_LISTENERS=f"127.0.0.1:{port}",
        BROKER_METRICS_ADDRESS=f"127.0.0.1:{free_port()}",
        # Nobody there: what comes after the start is another test's.
        BROKER_AWS_STS_ENDPOINT="http://127.0.0.1:9",
    )
    replace = {"ACCESS_KEY_ID=…": "ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "SECRET_ACCESS_KEY=…": f"SECRET_ACCESS_KEY={secrets.token_hex(20)}"}
    terminal = Terminal(machine, replace, ("cargo",), installed=False)
    try:
        said = terminal.paste_and_leave(PAGE["install and start"], until="agentkeys login")
        # "says what to run next": the same as the README's next block.
        assert PAGE["operator"].strip() in said
    finally:
        terminal.close()
        shutil.rmtree(home, ignore_errors=True)


def test_the_operator_issues_a_session(terminal, seaweed_broker):
    done = terminal({}, BROKER_CONFIG=str(seaweed_broker.config_file)).paste(PAGE["operator"])
    token = re.search(r"^token +(aks_\S+)$", done.output, re.MULTILINE)
    assert token, done
    assert seaweed_broker.try_mint_jwt(token.group(1)).status == 200


def test_the_developer_sets_one_variable_and_uses_the_aws_cli(terminal, session, seaweed_broker, seaweedfs):
    window = terminal(session, installed=False)
    window.paste(PAGE["install the client"])
    done = window.paste(PAGE["developer"], stdin=session["token"] + "\n")
    assert "hello.txt" in done.output and seaweedfs.bucket in done.output
    stored = seaweedfs.admin().get_object(Bucket=seaweedfs.bucket, Key=f"bots/{session['wallet']}/hello.txt")
    assert stored["Body"].read() == b"hello\n"
    # In the same window, as the README goes on: AGENTKEYS_BROKER_URL is still there.
    answer = window.paste(PAGE["mint"])
    shown = json.loads(PAGE.printed("json"))
    given = json.loads(answer.stdout)
    assert set(given) == set(shown)
    assert set(shown["environment"]) <= set(given["environment"])


def test_the_end_user_stores_and_reads_a_key(terminal, seaweed_broker):
    key = "sk-or-v1-" + secrets.token_hex(16)
    done = terminal({}, AGENTKEYS_BROKER_URL=seaweed_broker.url).paste(PAGE["end user"], stdin=key)
    assert done.stdout.rstrip().endswith(key)


def test_the_probes_answer(terminal):
    done = terminal({}).paste(PAGE["probes"])
    assert "agentkeys_broker_mints_total" in done.output and '"ready"' in done.output
