"""docs/dev-setup.md, top to bottom: three people, three homes, every block as it is printed.

One broker serves the page: the operator's section starts it from nothing, and the
other two sections use it. What each section calls success is looked for in what it prints.
"""
from __future__ import annotations

import json
import re
import secrets
import shutil
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Dict, Iterator

import pytest

from brokerlib import REPOSITORY
from clientlib import Machine
from docs_as_code import STAND_INS, Page, Terminal, link, short_directory
from http_client import Client
from lookalike.mail import Inbound, code_message
from lookalike.site import Lookalike
from peers.ministack import Ministack
from peers.ports import free_port
from peers.process import http_answers, wait_until
from peers.tools import find_tool

PAGE = Page("docs/dev-setup.md")
RECIPE = REPOSITORY / "conf" / "recipes" / "openrouter.yaml"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


class Laptop(Terminal):
    """A terminal of a machine on which nothing of ours is installed."""

    debugging = 0

    def __init__(self, machine: Machine, replace=(), **more) -> None:
        super().__init__(machine, replace, ("cargo", "op"), installed=False, **more)


class Operator:
    """Holds the AWS key; its machine's broker listens where the test found free ports."""

    def __init__(self, home: Path, account: Ministack) -> None:
        assert account.account
        self.key = (account.account.access_key_id, account.account.secret_access_key)
        self.items = home / "1password.json"
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self.machine = Machine(
            home, None,
            BROKER_ISSUER=self.url,
            BROKER_LISTENERS=f"127.0.0.1:{self.port}",
            BROKER_METRICS_ADDRESS=f"127.0.0.1:{free_port()}",
            BROKER_AWS_STS_ENDPOINT=account.endpoint,
            BROKER_ENVIRONMENT_S3_ENDPOINT=account.endpoint,
        )
        self.items.write_text(json.dumps(dict(zip(
            ("op://AgentKeys/daemon/access-key-id", "op://AgentKeys/daemon/secret-access-key"), self.key
        ))))
        # Two windows of one machine: the second has none of the first's variables.
        self.first, self.second = self.terminal(), self.terminal()

    def terminal(self) -> Laptop:
        replace = {
            "http://localhost:8090": self.url,
            "ACCESS_KEY_ID=AKIA…": f"ACCESS_KEY_ID={self.key[0]}",
            "SECRET_ACCESS_KEY=…": f"SECRET_ACCESS_KEY={self.key[1]}",
        }
        return Laptop(self.machine, replace, OP_ITEMS=str(self.items))

    def issue(self) -> Dict[str, str]:
        printed = self.second.paste(PAGE["operator issue"]).output
        return dict(re.findall(r"^(\w+) +(\S+)$", printed, re.MULTILINE))

    def ready(self) -> dict:
        with Client(self.url) as client:
            return client.request("GET", "/readyz").json()


@pytest.fixture(scope="module")
def account(tmp_path_factory) -> Iterator[Ministack]:
    if not find_tool("ministack"):
        pytest.skip("ministack needs Python 3.10 or newer")
    with Ministack(tmp_path_factory.mktemp("aws")) as running:
        yield running


@contextmanager
def another_operator(account: Ministack) -> Iterator[Operator]:
    made = Operator(short_directory(), account)
    try:
        yield made
    finally:
        made.first.close()
        made.second.close()
        shutil.rmtree(made.machine.home, ignore_errors=True)


@pytest.fixture(scope="module")
def operator(account) -> Iterator[Operator]:
    with another_operator(account) as made:
        yield made


@pytest.fixture(scope="module")
def serving(operator) -> Operator:
    """The operator's section up to its start."""
    installed = operator.first.paste(PAGE["operator install"]).output
    assert re.search(r"^agentkeys-broker-server \d+\.\d+\.\d+$", installed, re.MULTILINE), installed
    operator.first.paste_and_leave(PAGE["operator start"], until="ready public=")
    return operator


@pytest.fixture(scope="module")
def site(account) -> Iterator[Lookalike]:
    inbound = Inbound(account.admin("s3"), account.account.bucket)
    with Lookalike(lambda to, code: inbound.deliver(to.split("@")[0], code_message(code, to))) as running:
        yield running


@pytest.fixture(scope="module")
def recipe(site, tmp_path_factory) -> Path:
    """The shipped recipe; only the site's address is another."""
    text = RECIPE.read_text()
    for real, here in (('"https://openrouter.ai"', site.url), ('"https://openrouter.ai/api"', f"{site.url}/api")):
        assert text.count(real) == 1
        text = text.replace(real, f'"{here}"')
    path = tmp_path_factory.mktemp("recipe") / "openrouter.yaml"
    path.write_text(text)
    return path


def developer(home: Path, operator: Operator, site: Lookalike, recipe: Path, chromium: str) -> Laptop:
    debugging = free_port()
    replace = {
        "http://localhost:8090": operator.url,
        "provision openrouter": f"provision openrouter --recipe {recipe}",
        "https://openrouter.ai": site.url,
        "9222": str(debugging),
    }
    terminal = Laptop(Machine(home, None), replace, REAL_CHROMIUM=chromium)
    terminal.debugging = debugging
    return terminal


# Operator


def test_the_operators_section(serving):
    issued = serving.issue()
    assert issued["token"].startswith("aks_") and issued["wallet"].startswith("0x"), issued
    with Client(serving.url) as client:
        assert client.request("POST", "/v1/mint-aws-creds", {}, token=issued["token"]).status == 200
    success = serving.second.paste(PAGE["operator success"]).output
    assert '"status":"ready"' in success
    rows = [line for line in success.splitlines() if issued["wallet"] in line and "mint_aws_creds" in line]
    assert any(" intent " in row for row in rows) and any(" outcome " in row for row in rows), success
    assert re.search(r"^ok: \d+ records, head [0-9a-f]{64}$", success, re.MULTILINE), success


def test_the_key_from_1password_starts_it_too(account):
    with another_operator(account) as other:
        other.first.paste(PAGE["operator install"])
        other.first.paste_and_leave(PAGE["operator start from 1Password"], until="ready public=")
        other.issue()
        # Only a key that AWS knows tells the account.
        wait_until(lambda: other.ready()["status"] == "ready", 20, "/readyz ready")


# App developer


def test_the_app_developers_section(serving, site, recipe, chromium, tmp_path):
    token = serving.issue()["token"]
    terminal = developer(tmp_path, serving, site, recipe, chromium)
    try:
        assert re.search(r"^agentkeys \d+\.\d+\.\d+$", terminal.paste(PAGE["developer install"]).output, re.MULTILINE)
        said = terminal.paste(PAGE["developer start"], stdin=token + "\n").output
        assert "0x" in said and token not in said
        provisioned = terminal.paste(PAGE["developer provision"], timeout=120).output
        assert re.search(r"^stored +openrouter", provisioned, re.MULTILINE), provisioned
        success = terminal.paste(PAGE["developer success"]).stdout
        assert success.split() == [f"{site.keys()[-1]}200"], success
        # What the page says beside the block.
        assert "`env | grep ^AWS_` prints nothing" in PAGE.text
        assert terminal.paste("env | grep ^AWS_", fails=True).output == ""
    finally:
        terminal.close()


def test_the_app_developers_own_browser(serving, site, recipe, chromium, tmp_path):
    terminal = developer(tmp_path, serving, site, recipe, chromium)
    try:
        terminal.paste(PAGE["developer install"])
        terminal.paste(PAGE["developer start"], stdin=serving.issue()["token"] + "\n")
        # The page says `chromium`, which a window system would show.
        link(terminal.machine.home / ".cargo" / "bin" / "chromium", STAND_INS / "chromium")
        terminal.paste(PAGE["developer browser"])
        wait_until(lambda: http_answers(terminal.debugging, "/json/version", [200]), 30, "the developer's browser")
        done = terminal.paste(PAGE["developer provision in that browser"], timeout=120).output
        assert re.search(r"^stored +openrouter", done, re.MULTILINE), done
    finally:
        terminal.close()


# End user


def test_the_end_users_section(serving, tmp_path):
    key = "sk-or-v1-" + secrets.token_hex(16)
    terminal = Laptop(Machine(tmp_path, None), {"http://localhost:8090": serving.url})
    try:
        terminal.paste(PAGE["user install"])
        started = terminal.paste(PAGE["user start"], stdin=key).output
        assert key not in started
        success = terminal.paste(PAGE["user success"]).stdout
        assert success.startswith(key) and "openrouter" in success, success
        wallet, = set(re.findall(r"0x[0-9a-f]{40}", success))
        whoami = json.loads(terminal.paste("agentkeys whoami --json").stdout)
        ends = datetime.fromisoformat(whoami["expires_at"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
        assert ends.total_seconds() / 86400 == pytest.approx(30, abs=0.1), whoami
        # "After a restart of either machine `read` still works."
        serving.first.interrupt()
        serving.first.paste_and_leave(PAGE["operator start"], until="ready public=")
        assert terminal.paste("agentkeys read openrouter").stdout == key
        # "`agentkeys logout` ends the session; `agentkeys init` starts the next with the same wallet."
        terminal.paste("agentkeys logout; agentkeys init")
        assert wallet in terminal.paste("agentkeys whoami").stdout
    finally:
        terminal.close()
