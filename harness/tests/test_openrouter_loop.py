"""`agentkeys provision openrouter`, whole: broker, STS, S3, a real browser, a site and its mail.

The client starts from a stored session and AGENTKEYS_BROKER_URL alone.
"""
from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import pytest

from brokerlib import REPOSITORY, Broker
from clientlib import Machine, client_program
from expect import new_wallet
from http_client import Client
from lookalike.mail import Inbound, code_message, link_message
from lookalike.site import Lookalike
from peers.ports import free_port
from peers.process import http_answers, wait_until
from peers.seaweedfs import SeaweedFS
from watched import Watched

DOMAIN = "bots.example.dev"
RECIPE = REPOSITORY / "conf" / "recipes" / "openrouter.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def broker(broker_binary: Path, seaweedfs: SeaweedFS, seaweed_issuer_port: int) -> Iterator[Broker]:
    """The port that SeaweedFS trusts; no other broker of the session may hold it meanwhile."""
    config = {
        "aws": {"exchange": "web_identity", "sts_endpoint": seaweedfs.endpoint},
        "roles": {"agent": {"arn": seaweedfs.role_arn}},
        "environment": {
            "bucket": seaweedfs.bucket,
            "mail_domain": DOMAIN,
            "s3_endpoint": seaweedfs.endpoint,
        },
    }
    with Broker(config, port=seaweed_issuer_port) as running:
        yield running


class Post:
    """Delivers the site's code to its wallet, among messages that must not be taken for it."""

    def __init__(self, inbound: Inbound) -> None:
        self.inbound = inbound
        self.decoys: List[str] = []
        self.silent = False
        # Where a site that mails links has its own.
        self.link = ""

    def __call__(self, address: str, code: str) -> None:
        wallet = address.split("@")[0]
        if self.silent:
            return
        if self.link:
            self.inbound.deliver(wallet, link_message(f"{self.link}/confirm/{code}", address))
            return
        self.inbound.deliver(wallet, code_message(code, address))
        # S3's clock counts whole seconds: what follows is newer, and must still not win.
        second = int(time.time())
        wait_until(lambda: int(time.time()) > second, 2, "the next second")
        self.inbound.deliver(wallet, code_message(self._decoy(), f"{new_wallet()}@{DOMAIN}"))
        self.inbound.deliver(wallet, code_message(self._decoy(), address, sent_at=time.time() - 86400))
        self.inbound.deliver(wallet, code_message(self._decoy(), address), genuine=False)
        self.inbound.deliver(
            wallet, code_message(self._decoy(), address, sender="noreply@evil.example"), domain="evil.example"
        )
        other = new_wallet()
        self.inbound.deliver(other, code_message(self._decoy(), f"{other}@{DOMAIN}"))

    def before(self, wallet: str) -> None:
        """The code of an earlier attempt, and more messages than one page of a listing holds."""
        self.inbound.deliver(wallet, code_message(self._decoy(), f"{wallet}@{DOMAIN}"))
        self.inbound.fill(wallet, 1005)

    def _decoy(self) -> str:
        self.decoys.append(f"{secrets.randbelow(900000) + 100000}")
        return self.decoys[-1]


@pytest.fixture
def post(seaweedfs: SeaweedFS) -> Post:
    return Post(Inbound(seaweedfs.admin(), seaweedfs.bucket))


@pytest.fixture
def site(post: Post) -> Iterator[Lookalike]:
    with Lookalike(post) as running:
        yield running


class Developer(Machine):
    """A machine with the broker's URL, a stored session and the shipped recipe."""

    def __init__(self, home: Path, broker: Broker, site: Lookalike) -> None:
        super().__init__(home, broker.url)
        self.session = broker.session_issue(new_wallet())
        self.wallet = self.session["wallet"]
        self.recipe = home / "openrouter.yaml"
        # The shipped recipe; only the site's address is another.
        text = RECIPE.read_text()
        for real, local in (('"https://openrouter.ai"', site.url), ('"https://openrouter.ai/api"', f"{site.url}/api")):
            assert text.count(real) == 1
            text = text.replace(real, f'"{local}"')
        self.recipe.write_text(text)
        # The token into a file, not the keychain of whoever runs the tests; afterwards
        # the broker's URL is the only variable.
        self.log_in(self.session["token"])
        del self.environment["AGENTKEYS_SESSION_STORE"]

    def provision(self, *arguments: str, more: Optional[Dict[str, str]] = None) -> subprocess.CompletedProcess:
        process = subprocess.Popen(
            [str(client_program()), "provision", "openrouter", "--recipe", str(self.recipe), *arguments],
            env={**self.environment, **(more or {})}, cwd=self.home,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.pid = process.pid
        stdout, stderr = process.communicate(timeout=150)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture
def developer(tmp_path: Path, broker: Broker, site: Lookalike, chromium: str) -> Developer:
    return Developer(tmp_path, broker, site)


def models(site: Lookalike, key: str) -> int:
    with Client(site.url) as client:
        return client.request("GET", "/api/v1/models", token=key).status


def profiles(pid: int) -> set:
    """What this client's browser has for a home."""
    return set(Path(tempfile.gettempdir()).glob(f"agentkeys-browser-{pid}-*"))


def test_one_variable_and_a_session_end_in_a_stored_key_that_works(developer, site, post, broker, tmp_path, monkeypatch):
    # The machine around the test is full of keys; none may reach the client or its children.
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "ambient")
    assert set(developer.environment) == {"HOME", "PATH", "AGENTKEYS_BROKER_URL"}
    post.before(developer.wallet)
    pictures, used = tmp_path / "pictures", set()

    process = subprocess.Popen(
        [str(client_program()), "provision", "openrouter", "--recipe", str(developer.recipe), "--json",
         "--screenshots", str(pictures)],
        env=developer.environment, cwd=developer.home,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    seen = Watched(process.pid)
    while process.poll() is None:
        seen.look()
        used |= profiles(process.pid)
        time.sleep(0.05)
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    answer = json.loads(stdout)
    assert answer["stored"] and answer["verified"] and answer["service"] == "openrouter"
    assert answer["email"] == f"{developer.wallet}@{DOMAIN}"

    # What a person wanted: the key, read back, works.
    read = developer.run("read", "openrouter")
    assert read.returncode == 0, read.stderr
    assert re.fullmatch(r"sk-or-v1-[A-Za-z0-9]{20,}", read.stdout)
    assert read.stdout in site.keys() and models(site, read.stdout) == 200
    assert models(site, read.stdout[:-1] + "x") == 401, "the site accepts only what it issued"

    # No decoy was ever tried.
    assert site.wrong_codes == [] and len(post.decoys) >= 6

    # No secret anywhere: output, arguments and environment of every process, files.
    account = site.accounts[answer["email"]]
    secrets_ = [read.stdout, account.password, account.code, developer.session["token"]]
    for text in [stdout, stderr, *seen.arguments, *seen.environments]:
        assert not any(secret in text for secret in secrets_), text
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".png" and "secrets" not in p.parts]
    for path in kept:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in secrets_), path

    # The proof of the scrubbing: what actually ran saw no key of the machine.
    assert len(seen.environments) >= 2, "the client and a browser were looked at"
    for text in seen.environments:
        assert not re.search(r"(^|\0)(AWS_|OPENROUTER_|DAEMON_)", text), text

    # Nothing is left behind, and the pictures are the owner's alone.
    assert len(used) == 1 and profiles(process.pid) == set()
    taken = sorted(pictures.iterdir())
    assert len(taken) == 15, taken
    assert all(p.stat().st_mode & 0o077 == 0 for p in [pictures, *taken])

    # The mint that it took is in the audit, read-only, by its id.
    assert set(broker.audit_of(answer["mint_id"])) == {"intent", "outcome"}
    keep = os.environ.get("KEEP_PICTURES")
    if keep:
        shutil.copytree(pictures, keep, dirs_exist_ok=True)


def test_a_stored_key_is_not_replaced_unasked(developer, site):
    assert developer.run("store", "openrouter", stdin="sk-or-v1-mine").returncode == 0
    done = developer.provision()
    assert done.returncode == 1 and "--force" in done.stderr
    assert site.accounts == {}, "nothing was signed up for"


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_PROFILE", "OPENROUTER_API_KEY"])
def test_an_ambient_key_is_refused_by_name_and_never_by_value(developer, site, name):
    done = developer.provision(more={name: "ambient-value"})
    assert done.returncode == 78
    assert name in done.stderr and "--allow-ambient" in done.stderr and "ambient-value" not in done.stderr
    assert site.accounts == {}


def test_no_mail_ends_in_time_and_names_the_step(developer, site, post, tmp_path):
    post.silent = True
    developer.recipe.write_text(developer.recipe.read_text().replace("timeout: 120s", "timeout: 4s"))
    done = developer.provision("--screenshots", str(tmp_path / "p"))
    assert done.returncode == 1
    line = 1 + developer.recipe.read_text().splitlines().index("  - name: wait for the code by mail")
    assert f"openrouter.yaml:{line}: step 7" in done.stderr, done.stderr
    assert "no message came" in done.stderr and "07-wait-for-the-code-by-mail.png" in done.stderr
    assert profiles(developer.pid) == set(), "the browser's profile is removed after a failure too"
    assert developer.run("read", "openrouter").returncode == 5


def test_a_button_that_moved_is_named_and_mended_in_the_file(developer, site):
    developer.recipe.write_text(
        developer.recipe.read_text().replace("button.cl-formButtonPrimary\"", "button.moved\"\n    timeout: 1s", 1)
    )
    done = developer.provision()
    assert done.returncode == 1
    assert 'step 5 "sign up"' in done.stderr and "button.moved was not seen" in done.stderr, done.stderr


def test_a_key_that_cannot_be_proved_is_not_stored_and_not_lost(developer, site):
    text = developer.recipe.read_text().replace("${api}/v1/models", "${api}/v1/nothing")
    developer.recipe.write_text(text)
    done = developer.provision()
    assert done.returncode == 1 and "answers 404" in done.stderr, done.stderr
    kept = developer.home / ".agentkeys" / "unstored" / "openrouter"
    assert str(kept) in done.stderr and kept.stat().st_mode & 0o077 == 0
    assert [kept.read_text()] == site.keys() and kept.read_text() not in done.stdout + done.stderr
    assert developer.run("read", "openrouter").returncode == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_browser_and_no_profile(developer, site, post, number):
    post.silent = True
    process = subprocess.Popen(
        [str(client_program()), "provision", "openrouter", "--recipe", str(developer.recipe)],
        env=developer.environment, cwd=developer.home, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    while "wait for the code by mail" not in process.stderr.readline():
        assert process.poll() is None
    seen = Watched(process.pid)
    children = seen.descendants()
    assert len(children) > 2 and len(profiles(process.pid)) == 1, "a browser runs"
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 1 and "interrupted" in stderr
    assert profiles(process.pid) == set()
    wait_until(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in children), 10, "the browser is gone")


def test_nothing_is_typed_on_another_origin(developer, site, post):
    """The site sends the browser elsewhere: neither the password nor anything else goes there."""
    with Lookalike(post) as elsewhere:
        text = developer.recipe.read_text()
        text = text.replace('open: "${site}/sign-up"', f'open: "{elsewhere.url}/sign-up"')
        developer.recipe.write_text(text)
        done = developer.provision()
        assert done.returncode == 1 and "not among the recipe's origins" in done.stderr, done.stderr
        assert elsewhere.accounts == {} and elsewhere.user_agents == []


def test_dry_run_explains_every_step_and_does_nothing(developer, site):
    done = developer.provision("--dry-run")
    assert done.returncode == 0
    assert len(re.findall(r"(?m)^\d+\. ", done.stdout)) == 15
    assert "wait for mail from ${sender}" in done.stdout and "/api/v1/models" not in done.stdout.split("GET")[0]
    assert site.accounts == {}


def test_it_drives_the_users_own_browser_and_leaves_it_running(developer, site, post, chromium, tmp_path):
    port = free_port()
    flags = ["--headless=new", "--no-first-run", f"--user-data-dir={tmp_path / 'own'}", f"--remote-debugging-port={port}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")
    own = subprocess.Popen(
        [chromium, *flags, "data:text/html,<title>mine</title>"],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: http_answers(port, "/json/version", [200]), 30, "the user's browser")
        done = developer.provision(more={"CDP_URL": f"http://127.0.0.1:{port}"})
        assert done.returncode == 0, done.stderr
        with Client(f"http://127.0.0.1:{port}") as client:
            tabs = client.request("GET", "/json/list").json()
        assert own.poll() is None and [tab["title"] for tab in tabs if tab["type"] == "page"] == ["mine"]
    finally:
        own.terminate()
        own.wait(20)


def test_another_machines_browser_is_refused(developer, site):
    done = developer.provision(more={"CDP_URL": "http://192.0.2.1:9222"})
    assert done.returncode == 1 and "CDP_URL must be this machine's" in done.stderr
    assert site.accounts == {}


# Another site: a link by mail, other origins, other steps. Only this file is written for it.
ROUTELLM = """
service: routellm
names:
  - {{ name: site, value: "{site}" }}
origins: ["${{site}}"]
steps:
  - name: open the form
    open: "${{site}}/sign-up"
  - name: address
    fill: {{ element: 'input[type="email"]', text: "${{email}}" }}
  - name: password
    fill: {{ element: 'input[type="password"]', text: "${{password}}" }}
  - name: terms
    click: 'input[type="checkbox"]'
  - name: send
    click: "form button"
  - name: the link by mail
    mail:
      from: noreply@openrouter.ai
      subject: "(?i)confirm"
      find: '(http://[a-z0-9.:-]+/confirm/[0-9]+)'
      save: link
    timeout: 60s
  - name: follow it
    open: "${{link}}"
  - name: keys
    open: "${{site}}/settings/keys"
  - name: begin
    click: "button >> Create"
  - name: name it
    fill: {{ element: '[role="dialog"] input', text: "agent" }}
  - name: make it
    click: '[role="dialog"] button >> Create'
  - name: take it
    read: {{ element: "code", find: '(sk-or-v1-[0-9a-f]+)', save: key }}
verify:
  - get: "${{site}}/api/v1/models"
"""


def test_a_second_service_is_a_second_recipe_in_the_users_home(developer, site, post):
    own = developer.home / ".agentkeys" / "recipes" / "routellm.yaml"
    done = developer.run("provision", "routellm")
    assert done.returncode == 5 and str(own) in done.stderr, "the error says where a recipe would be"
    own.parent.mkdir(exist_ok=True)
    own.write_text(ROUTELLM.format(site=site.url))
    post.link = site.url
    done = developer.run("provision", "routellm", timeout=150)
    assert done.returncode == 0, done.stderr
    assert [developer.run("read", "routellm").stdout] == site.keys()
    assert developer.run("read", "openrouter").returncode == 5


def test_a_mailed_link_to_another_origin_is_not_opened(developer, site, post):
    own = developer.home / ".agentkeys" / "recipes" / "routellm.yaml"
    own.parent.mkdir(exist_ok=True)
    own.write_text(ROUTELLM.format(site=site.url))
    with Lookalike(post) as elsewhere:
        post.link = elsewhere.url
        done = developer.run("provision", "routellm", timeout=150)
        assert done.returncode == 1 and "not among the recipe's origins" in done.stderr, done.stderr
        assert 'step 7 "follow it"' in done.stderr and elsewhere.user_agents == []
