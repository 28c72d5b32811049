"""The story that `scripts/demo` tells: one broker, two wallets, a real STS and a real S3.

Each step prints the command that it runs and what came back. Secrets are cut
before they are printed. Whatever happens, what was started is stopped by its
pid, and the last line is the verdict.
"""
from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from http_client import Client
from peers.ports import free_port
from peers.process import ManagedProcess, wait_until
from peers.seaweedfs import SeaweedFS
from peers.tools import require_tool

REPOSITORY = Path(__file__).resolve().parent.parent
BUCKET = "agentkeys-mail"
# What a test or a person may have exported: none of it may make the demo pass.
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TERM", "TMPDIR")


class DemoFailed(Exception):
    """One sentence for the verdict line."""


@dataclass
class Ran:
    exit_code: int
    stdout: str
    stderr: str


class Story:
    """Numbers the steps, prints commands and results, and cuts secrets."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._number = 0
        self._secrets: List[str] = []
        self._names: Dict[str, str] = {}

    def hide(self, secret: str) -> None:
        self._secrets.append(secret)

    def name(self, path: Path, short: str) -> None:
        """Long paths of this run read as a word."""
        self._names[str(path)] = short

    def step(self, title: str, *why: str) -> None:
        self._number += 1
        print()
        print(self._paint("1", f"{self._number}. {title}"))
        for line in why:
            print(f"   {line}")

    def command(self, text: str) -> None:
        print(self._paint("36", f"   $ {self.clean(text)}"))

    def result(self, text: str, limit: int = 12) -> None:
        lines = [line for line in self.clean(text).splitlines() if line.strip()]
        for line in lines[:limit]:
            print(f"     {line}")
        if len(lines) > limit:
            print(f"     … {len(lines) - limit} more lines")

    def proved(self, text: str) -> None:
        print(self._paint("32", f"   ok: {text}"))
        sys.stdout.flush()

    def clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, cut(secret))
        for path, short in sorted(self._names.items(), key=lambda item: -len(item[0])):
            text = text.replace(path, short)
        return text

    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text


def cut(secret: str) -> str:
    return f"{secret[:4]}…({len(secret)} characters, cut)"


class Broker:
    """The broker as an operator runs it: a file, no AWS key, TLS from a local authority."""

    def __init__(self, story: Story, directory: Path, binaries: Path) -> None:
        self._story = story
        self.program = binaries / "agentkeys-broker-server"
        self.port = free_port()
        self.metrics_port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.data_dir = directory / "broker"
        self.config_file = directory / "broker.yaml"
        self.log = directory / "broker.log"
        self.ca = self.data_dir / "tls" / "ca.crt"
        self._stdout = directory / "broker.stdout"
        self._process: Optional[ManagedProcess] = None

    def configure(self, sts: SeaweedFS) -> None:
        settings = {
            "issuer": self.url,
            "data_dir": str(self.data_dir),
            "listeners": [{"address": f"127.0.0.1:{self.port}", "tls": "development"}],
            "metrics": {"address": f"127.0.0.1:{self.metrics_port}"},
            "aws": {"exchange": "web_identity", "sts_endpoint": sts.endpoint},
            "roles": {"agent": {"arn": sts.role_arn}},
            "environment": {"bucket": BUCKET, "s3_endpoint": sts.endpoint},
        }
        # JSON is YAML; the demo's few Python packages include no YAML writer.
        self.config_file.write_text(json.dumps(settings, indent=2) + "\n")

    def start(self) -> None:
        arguments = [str(self.program), "serve", "--config", str(self.config_file)]
        self._story.command(shlex.join(arguments))
        self._process = ManagedProcess(arguments, log=self.log, stdout=self._stdout, env=plain_environment()).start()
        self._process.wait_ready(lambda: self._announcement() is not None, timeout=30)
        self._story.result(self._announcement() or "")

    def wait_ready(self) -> None:
        def ready() -> bool:
            with Client(self.url, self.ca) as client:
                return client.request("GET", "/readyz").status == 200

        wait_until(ready, 20, "the broker's /readyz answers 200")

    def operator(self, *arguments: str) -> Any:
        """An admin command, over the Unix socket."""
        shown = [self.program.name, *arguments]
        self._story.command(shlex.join(shown))
        done = run([str(self.program), *arguments, "--json", "--config", str(self.config_file)], plain_environment())
        if done.exit_code != 0:
            raise DemoFailed(f"'{shlex.join(shown)}' ended with {done.exit_code}: {last_line(done)}")
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        return rows if len(rows) > 1 else json.loads(done.stdout)

    def stop(self) -> None:
        if self._process:
            self._process.stop(grace=35)

    def _announcement(self) -> Optional[str]:
        if not self._stdout.exists():
            return None
        lines = self._stdout.read_text(errors="replace").splitlines()
        return next((line for line in lines if line.startswith("ready")), None)


class Developer:
    """One wallet's holder, on a machine of their own: a home, a URL, no AWS variable."""

    def __init__(self, story: Story, name: str, directory: Path, broker: Broker, binaries: Path) -> None:
        self._story = story
        self.name = name
        self._program = str(binaries / "agentkeys")
        home = directory / f"home-{name}"
        home.mkdir()
        story.name(home, f"~{name}")
        self._environment = {
            **plain_environment(),
            "HOME": str(home),
            "AGENTKEYS_HOME": str(home / ".agentkeys"),
            "AGENTKEYS_BROKER_URL": broker.url,
            # Two more than a developer sets: this authority is not a public one,
            # and this machine may have no keychain.
            "AGENTKEYS_CA_FILE": str(broker.ca),
            "AGENTKEYS_SESSION_STORE": "file",
        }
        self.session: Dict[str, str] = {}
        self.wallet = ""
        self.prefix = ""

    def receive(self, session: Dict[str, str]) -> None:
        self.session = session
        self.wallet = session["wallet"]
        self.prefix = f"s3://{BUCKET}/bots/{self.wallet}"

    def agentkeys(self, *arguments: str, stdin: str = "", shown: Optional[str] = None) -> Ran:
        self._story.command(f"[{self.name}] {shown or 'agentkeys ' + shlex.join(arguments)}")
        return run([self._program, *arguments], self._environment, stdin)

    def aws(self, *arguments: str, stdin: str = "", shown: Optional[str] = None) -> Ran:
        command = ["aws", *arguments]
        self._story.command(f"[{self.name}] {shown or ''}agentkeys aws exec -- {shlex.join(command)}")
        command[0] = require_tool("aws", "awscli")
        return run([self._program, "aws", "exec", "--", *command], self._environment, stdin)

    def must(self, done: Ran, what: str) -> Ran:
        if done.exit_code != 0:
            raise DemoFailed(f"{self.name} could not {what}: {last_line(done)}")
        return done


def plain_environment() -> Dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, "HOME": "/nonexistent", "AWS_EC2_METADATA_DISABLED": "true"}


def run(argv: Sequence[str], environment: Dict[str, str], stdin: str = "") -> Ran:
    done = subprocess.run(
        argv, env=environment, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def last_line(done: Ran) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {done.exit_code}, no message"


def tell(story: Story, directory: Path, binaries: Path, stop: List[Any]) -> int:
    broker = Broker(story, directory, binaries)
    sts = SeaweedFS(directory / "seaweedfs", broker.url, bucket=BUCKET, tls_ca_cert=broker.ca)
    broker.configure(sts)

    story.step(
        "The operator starts the broker",
        "Over TLS, from one file. It is given no AWS key at all: its signed tokens are enough for STS.",
    )
    stop.append(broker.stop)
    broker.start()
    broker.wait_ready()
    story.proved(f"it answers at {broker.url}, which is also the issuer in its tokens")

    story.step(
        "AWS's part is played by SeaweedFS: a real STS and a real S3 on this machine",
        "It fetches the broker's public keys over https and verifies each token, as AWS does. Its role may",
        "read and write the WHOLE bucket, so what keeps the wallets apart below is the broker's doing.",
    )
    stop.append(lambda: sts.__exit__())
    story.command(f"weed server -s3 -s3.port={sts.port} …")
    sts.__enter__()
    story.proved(f"STS and S3 answer at {sts.endpoint}; role {sts.role_arn}")

    story.step(
        "The operator issues one session to each of two developers",
        "A bearer token, shown once. It is all that they will ever hold.",
    )
    a = Developer(story, "A", directory, broker, binaries)
    b = Developer(story, "B", directory, broker, binaries)
    for developer in (a, b):
        issued = broker.operator("session", "issue", "--label", f"demo-{developer.name}", "--ttl", "1h")
        story.hide(issued["token"])
        developer.receive(issued)
        story.result(f"session {issued['session_id']}   wallet {issued['wallet']}\ntoken   {issued['token']}")
    if a.wallet == b.wallet:
        raise DemoFailed("two sessions got one wallet")
    story.proved("two wallets, two tokens")

    story.step(
        "The developers log in",
        f"They set one variable, AGENTKEYS_BROKER_URL={broker.url}, and no AWS_* at all.",
        "(On this machine also the local authority's certificate: AGENTKEYS_CA_FILE.)",
    )
    for developer in (a, b):
        done = developer.agentkeys("login", "--token-stdin", stdin=developer.session["token"] + "\n")
        story.result(developer.must(done, "log in").stdout, limit=3)
    story.proved("the broker knows both")

    story.step(
        "Each mints AWS credentials",
        "The broker signs a token for the wallet, exchanges it at STS under a policy for the wallet's own",
        "prefix, records that durably, and only then answers.",
    )
    keys = set()
    for developer in (a, b):
        done = developer.must(developer.agentkeys("aws", "credentials"), "mint")
        minted = json.loads(done.stdout)
        for field in ("SecretAccessKey", "SessionToken"):
            story.hide(minted[field])
        keys.add(minted["AccessKeyId"])
        story.result(json.dumps(minted, indent=1).strip("{}\n"))
    if len(keys) != 2:
        raise DemoFailed("both wallets got the same credentials")
    story.proved("temporary credentials for at most an hour, one set each")

    story.step("Each writes and reads under its own prefix, with the ordinary AWS CLI")
    for developer in (a, b):
        message = f"written by {developer.name}"
        key = f"{developer.prefix}/note.txt"
        done = developer.aws("s3", "cp", "-", key, stdin=message, shown=f"echo {shlex.quote(message)} | ")
        developer.must(done, "write its own prefix")
        done = developer.must(developer.aws("s3", "cp", key, "-"), "read its own prefix")
        story.result(done.stdout)
        if done.stdout != message:
            raise DemoFailed(f"{developer.name} read something else than it wrote")
    story.proved("both have their data")

    story.step("Neither reaches the other's: read, write, list", "These must fail, and S3 says why.")
    for me, other in ((a, b), (b, a)):
        for arguments in (
            ("s3api", "get-object", "--bucket", BUCKET, "--key", f"bots/{other.wallet}/note.txt", "/dev/null"),
            ("s3api", "put-object", "--bucket", BUCKET, "--key", f"bots/{other.wallet}/planted"),
            ("s3api", "list-objects-v2", "--bucket", BUCKET, "--prefix", f"bots/{other.wallet}/"),
        ):
            done = me.aws(*arguments)
            story.result(done.stderr or done.stdout, limit=2)
            if done.exit_code == 0:
                raise DemoFailed(f"{me.name} was let into {other.name}'s prefix: {arguments[1]}")
            if "AccessDenied" not in done.stderr:
                raise DemoFailed(f"{me.name}'s {arguments[1]} failed for another reason: {last_line(done)}")
        story.proved(f"{me.name} is denied {other.name}'s prefix")

    story.step(
        "The operator revokes A's session",
        "Its next request is refused. (Credentials that it already holds live out their hour: STS cannot",
        "take them back. docs/threat-model.md says how to cut them off as well.)",
    )
    revoked = broker.operator("session", "revoke", a.session["session_id"])
    story.result(json.dumps(revoked))
    story.command("[A] POST /v1/mint-aws-creds   Authorization: Bearer " + a.session["token"])
    with Client(broker.url, broker.ca) as client:
        answer = client.request("POST", "/v1/mint-aws-creds", {}, token=a.session["token"])
    story.result(f"{answer.status}\n{answer.text}")
    if answer.status != 401:
        raise DemoFailed(f"a revoked session was answered {answer.status} instead of 401")
    still = b.must(b.aws("s3", "ls", f"{b.prefix}/"), "go on after A's revocation")
    story.result(still.stdout)
    story.proved("A is refused with 401; B goes on")

    story.step(
        "Everything is in the audit, and the audit proves itself",
        "Granted and refused; each record carries the hash of the one before.",
    )
    records = broker.operator("audit", "list", "--limit", "200")
    mints = [r for r in records if r["phase"] != "intent" and r["action"].startswith("mint_")]
    for record in mints[-3:]:
        story.result("  ".join(str(record.get(key) or "-") for key in ("seq", "action", "outcome", "wallet", "mint_id")))
    verified = broker.operator("audit", "verify")
    story.result(json.dumps(verified))
    if not verified["ok"] or verified["records"] < len(records):
        raise DemoFailed("the audit does not verify")
    granted = sum(1 for record in mints if record["outcome"] == "granted")
    if granted < 2 or granted == len(mints):
        raise DemoFailed(f"the audit shows {granted} of {len(mints)} mints granted: a grant or the refusal is missing")
    log = broker.log.read_text(errors="replace")
    if any(developer.session["token"] in log for developer in (a, b)):
        raise DemoFailed("a session token stands in the broker's log")
    story.proved(f"{verified['records']} records, an unbroken chain, no token in the broker's log")
    return granted


def main() -> int:
    options = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.splitlines()[0])
    options.add_argument("--keep", action="store_true", help="leave the directory of the run behind")
    options.add_argument("--build-seconds", type=int, default=0, help=argparse.SUPPRESS)
    options.add_argument("--binaries", type=Path, default=REPOSITORY / "target" / "debug", help="where the binaries are")
    given = options.parse_args()
    # What wants to end us ends what we started first.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    started = time.monotonic()
    # Short, since a Unix socket's path has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="agentkeys-demo-", dir="/tmp"))
    story = Story(colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    story.name(given.binaries, "target/debug")
    story.name(directory, "$DEMO")
    print(f"\nAgentKeys broker, the demo. $DEMO is {directory}; everything listens on loopback only.")
    stop: List[Any] = []
    verdict, granted = "", 0
    try:
        granted = tell(story, directory, given.binaries, stop)
    except KeyboardInterrupt:
        verdict = "interrupted"
    except Exception as error:  # The verdict line is owed for whatever goes wrong.
        verdict = story.clean(str(error)).strip().splitlines()[0] if str(error) else type(error).__name__
        (directory / "failure.txt").write_text(story.clean(f"{type(error).__name__}: {error}\n"))
    # A second ^C must not leave a server behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for end in reversed(stop):
        end()
    seconds = time.monotonic() - started
    timing = f"{seconds:.0f} s, after {given.build_seconds} s of building"
    print()
    if verdict:
        print(f"demo: FAIL {verdict}; logs in {directory} ({timing})")
        return 130 if verdict == "interrupted" else 1
    if given.keep:
        print(f"The run's files are in {directory}")
    else:
        shutil.rmtree(directory, ignore_errors=True)
    print(f"demo: PASS {granted} mints granted, both wallets isolated, revocation and audit hold ({timing})")
    return 0


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
