"""The commands of the pages that have a block or two: docs/client.md and the concepts."""
from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Iterator

import pytest

from clientlib import Machine
from docs_as_code import Page, Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(Machine(tmp_path, None))
    yield made
    made.close()


def test_a_minute_with_the_client(terminal, seaweed_broker, seaweedfs):
    PAGE = Page("docs/client.md")
    session = seaweed_broker.session_issue()
    seaweedfs.admin().put_object(Bucket=seaweedfs.bucket, Key=f"bots/{session['wallet']}/mine", Body=b"1")
    terminal.replace.update({
        "https://broker.example.com": seaweed_broker.url,
        "agentkeys-mail-123456789012": seaweedfs.bucket,
        "0x…": session["wallet"],
    })
    # S3 is not at AWS here, and the client gives no address of one that is.
    terminal.environment["AWS_ENDPOINT_URL"] = seaweedfs.endpoint
    said = terminal.paste(PAGE["in a minute"], stdin=session["token"] + "\n").stdout
    assert session["wallet"] in said and re.search(r" mine$", said, re.MULTILINE), said
    assert (terminal.machine.home / ".aws" / "config").exists()
    assert not (terminal.machine.home / ".aws" / "credentials").exists()


def test_the_sessions_of_a_wallet_are_listed_and_revoked(terminal, shared_broker):
    PAGE = Page("docs/concepts/session-token.md")
    terminal.environment["AGENTKEYS_BROKER_URL"] = shared_broker.url
    session = shared_broker.session_issue()
    terminal.paste("agentkeys login --token-stdin", stdin=session["token"])
    child = json.loads(terminal.paste("agentkeys session child --json").stdout)
    terminal.replace["SESSION_ID"] = child["session_id"]
    said = terminal.paste(PAGE["sessions"]).stdout
    assert child["session_id"] in said
    assert shared_broker.get("/v1/session", token=child["token"]).status == 401
    assert shared_broker.get("/v1/session", token=session["token"]).status == 200


def test_the_audit_of_one_mint(terminal, shared_broker):
    PAGE = Page("docs/concepts/serve-and-audit.md")
    minted = shared_broker.mint(shared_broker.token())["mint_id"]
    terminal.environment["BROKER_CONFIG"] = str(shared_broker.config_file)
    # The id is after the option, and not in the options of the others.
    terminal.replace["--mint-id ID"] = f"--mint-id {minted}"
    said = terminal.paste(PAGE["audit"]).stdout
    assert said.count(minted) >= 6, "two records, in the newest, in the mint's own and in the export"
    assert re.search(r"^ok: \d+ records", said, re.MULTILINE)
