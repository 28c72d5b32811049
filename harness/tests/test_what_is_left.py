"""What a developer's whole session leaves on their machine: one token in one file, and no key.

The session keeps its token in a file, which is the worse of the two places: a keychain
would leave less.
"""
from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from brokerlib import Broker
from clientlib import Daemon, Machine, client_program
from expect import TOKEN, new_wallet
from peers.seaweedfs import SeaweedFS
from peers.tools import require_tool

KEY_ID = re.compile(r"(?:ASIA|AKIA)[0-9A-Za-z]{12,}")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
CONTAINER = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")


class DevelopersDaemon(Daemon):
    """As a developer starts it: its token file where it puts it itself, its words on a terminal."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine, ())
        at = self.argv.index("--token-file")
        del self.argv[at : at + 2]
        terminal = machine.home.parent / "terminal"
        terminal.mkdir()
        self.log, self.stdout = terminal / "stderr", terminal / "stdout"

    def wait_serving(self, *named: float) -> "Daemon":
        super().wait_serving(*named)
        self.token_file = Path(self.addresses["token_file"])
        return self


@dataclass
class Day:
    """A developer's session, and each credential that it came by."""

    machine: Machine
    token: str = field(repr=False)
    prefix: str
    bucket: str
    minted: List[Dict[str, str]] = field(default_factory=list, repr=False)
    # What the daemon's directory held while it ran.
    while_serving: Dict[str, str] = field(default_factory=dict)
    daemon_said: str = ""

    def run(self, *arguments: str, **named) -> str:
        done = self.machine.run(*arguments, **named)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def aws(self, *arguments: str, **named) -> str:
        done = self.machine.command([require_tool("aws", "awscli"), *arguments], **named)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stdout

    def secrets(self) -> List[str]:
        return [part for one in self.minted for part in one.values()]


@pytest.fixture(scope="module")
def place(seaweed_broker: Broker, seaweedfs: SeaweedFS) -> tuple:
    return seaweed_broker, seaweedfs


def developer(home: Path, place: tuple, config: str) -> Day:
    broker, seaweedfs = place
    machine = Machine(home, broker.url, AGENTKEYS_SESSION_STORE="file")
    # The home of an account that was made a minute ago; pytest's own is 0700.
    home.chmod(0o755)
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(config.format(endpoint=seaweedfs.endpoint))
    wallet = new_wallet()
    session = broker.session_issue(wallet)
    day = Day(machine, session["token"], f"bots/{wallet}/", seaweedfs.bucket)
    machine.log_in(session["token"])
    return day


@pytest.fixture(scope="module")
def day(tmp_path_factory, place: tuple) -> Iterator[Day]:
    """Log in, configure, copy, serve, stop, exec, console-env."""
    day = developer(tmp_path_factory.mktemp("day") / "home", place, "[default]\nendpoint_url = {endpoint}\n")
    machine, there = day.machine, f"s3://{day.bucket}/{day.prefix}"
    day.run("aws", "configure")
    (machine.home / "mail").write_text("hello")
    day.aws("s3", "cp", "mail", f"{there}mail")

    with DevelopersDaemon(machine) as daemon:
        daemon.wait_serving()
        day.while_serving = tree(machine.home / ".agentkeys" / "run")
        answer = daemon.ask().json()
        day.minted.append({name: answer[name] for name in ("AccessKeyId", "SecretAccessKey", "Token")})
        variables = dict(zip(CONTAINER, (daemon.addresses["container"], daemon.addresses["token_file"])))
        assert "mail" in day.aws("s3", "ls", there, more=variables)
        assert daemon.terminate() == 0
        day.daemon_said = daemon.log_tail()

    executed = json.loads(day.run("aws", "exec", "--", "python3", "-c", "import os, json; print(json.dumps(dict(os.environ)))"))
    day.minted.append({name: executed[name] for name in KEYS})
    printed = json.loads(day.run("aws", "console-env", "--json"))
    day.minted.append({name: printed[name] for name in KEYS})
    process = json.loads(day.run("aws", "credentials"))
    day.minted.append({name: process[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")})
    yield day


def tree(directory: Path) -> Dict[str, str]:
    """Every name below, with its kind and mode as `ls -l` shows them."""
    return {
        str(path.relative_to(directory)): stat.filemode(path.lstat().st_mode)
        for path in sorted(directory.rglob("*"))
    }


def holding(directory: Path, *patterns: "re.Pattern[str]") -> List[str]:
    found = []
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        text = path.read_bytes().decode("utf-8", "replace")
        if any(pattern.search(text) for pattern in patterns):
            found.append(str(path.relative_to(directory)))
    return found


def credential_patterns(day: Day) -> List["re.Pattern[str]"]:
    # By what is known to have been minted, by the shape of a key id, and by the names of the rest.
    names = re.compile(r"(?i)aws_?secret_?access_?key|aws_?session_?token|secret_?access_?key")
    return [KEY_ID, names, *(re.compile(re.escape(secret)) for secret in day.secrets())]


def test_the_home_holds_these_files_and_no_other(day: Day):
    left = tree(day.machine.home)
    (secret,) = [name for name in left if re.fullmatch(r"\.agentkeys/secrets/[0-9a-f]{32}", name)]
    mine = {".aws": "drwxr-xr-x", ".aws/config": "-rw-r--r--", "mail": "-rw-r--r--"}
    assert left == {
        **mine,
        ".agentkeys": "drwx------",
        ".agentkeys/run": "drwx------",
        ".agentkeys/secrets": "drwx------",
        secret: "-rw-------",
        ".agentkeys/sessions.json": "-rw-------",
        ".agentkeys/sessions.lock": "-rw-------",
    }


def test_a_running_daemon_adds_a_socket_and_a_token_for_its_user_alone(day: Day):
    assert {Path(name).suffix: mode for name, mode in day.while_serving.items()} == {
        ".sock": "srw-------",
        ".token": "-rw-------",
    }


def test_no_file_holds_a_credential(day: Day):
    assert len({one for one in day.secrets()}) == 12, "four credentials were seen, each of its own"
    assert all(KEY_ID.search(secret) for secret in day.secrets() if secret.startswith("ASIA"))
    assert holding(day.machine.home, *credential_patterns(day)) == []


def test_the_search_finds_what_a_careless_developer_writes_down(day: Day, tmp_path: Path):
    patterns = credential_patterns(day)
    (tmp_path / "env.sh").write_text(day.run("aws", "console-env"))
    for number, secret in enumerate(day.secrets()):
        (tmp_path / f"{number}").write_bytes(b"\xff" + secret.encode())
    assert len(holding(tmp_path, *patterns)) == 13


def test_the_bearer_token_is_in_one_file_that_only_its_owner_reads(day: Day):
    token = re.compile(re.escape(day.token))
    (where,) = holding(day.machine.home, TOKEN, token)
    assert where.startswith(".agentkeys/secrets/")
    assert stat.S_IMODE((day.machine.home / where).stat().st_mode) == 0o600


def test_the_daemon_says_nothing_secret(day: Day):
    assert "ready container=" in day.daemon_said
    for pattern in (TOKEN, *credential_patterns(day)):
        assert not pattern.search(day.daemon_said), pattern.pattern[:8]


def test_exec_gives_its_parent_nothing(day: Day):
    """A shell before and after: its variables, its home, and what it can see of the child's arguments."""
    before = tree(day.machine.home)
    script = """
        set > "$1/before"
        "$2" aws exec -- sh -c 'cat /proc/$$/cmdline > "$0/arguments"; env > "$0/child"' "$1"
        code=$?
        unset code
        set > "$1/after"
    """
    outside = day.machine.home.parent / "seen"
    outside.mkdir()
    done = day.machine.command(["sh", "-c", script, "sh", str(outside), str(client_program())])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    seen = {path.name: path.read_text(errors="replace") for path in outside.iterdir()}
    assert all(f"{name}=" in seen["child"] for name in KEYS)
    given = dict(line.split("=", 1) for line in seen["child"].splitlines() if "=" in line)
    assert stable(seen["after"]) == stable(seen["before"])
    for name in KEYS:
        assert given[name] not in seen["arguments"] + seen["after"]
    assert tree(day.machine.home) == before


def stable(variables: str) -> List[str]:
    """Without what a shell changes by itself: the last argument, the last exit code, a line count."""
    return [line for line in variables.splitlines() if not re.match(r"(_|PIPESTATUS|LINENO|BASH_\w+)=", line)]


CONFIGS = {
    "plain": "[default]\nendpoint_url = {endpoint}\n",
    "no line end": "# mine\n[profile other]\nrole_arn = arn:aws:iam::000000000000:role/x\n\n[default]\nendpoint_url = {endpoint}",
    "carriage returns": "; mine\r\n[default]\r\n  \r\nendpoint_url = {endpoint}\r\ns3 =\r\n  addressing_style = path\r\n\r\n",
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_configure_twice_is_once_and_undo_gives_the_bytes_back(tmp_path: Path, place: tuple, config: str):
    day = developer(tmp_path / "home", place, "")
    file, there = day.machine.home / ".aws" / "config", f"s3://{day.bucket}/{day.prefix}"
    original = config.format(endpoint=place[1].endpoint).encode()
    file.write_bytes(original)

    day.run("aws", "configure")
    once = file.read_bytes()
    day.run("aws", "configure")
    assert file.read_bytes() == once != original
    (day.machine.home / "mail").write_text("hello")
    day.aws("s3", "cp", "mail", f"{there}mail")

    day.run("aws", "configure", "--undo")
    assert file.read_bytes() == original
    # No endpoint for EC2's metadata either: only that nothing was left is of interest.
    alone = {"AWS_EC2_METADATA_DISABLED": "true"}
    after = day.machine.command([require_tool("aws", "awscli"), "s3", "ls", there], more=alone)
    assert after.returncode != 0 and "credentials" in after.stderr, after.stderr
