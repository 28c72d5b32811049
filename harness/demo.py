"""The story of scripts/demo: operator, two clients, and the isolation between them."""
from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Dict, List, Optional

sys.path.insert(0, str(Path(__file__).resolve().parent))

from peers.ports import free_port  # noqa: E402
from peers.seaweedfs import ROLE_ARN, SeaweedFS  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
BROKER = ROOT / "target" / "debug" / "agentkeys-broker-server"
BUCKET = "agentkeys-mail"


class Failed(Exception):
    """The demo did not show what it promises."""


class Demo:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"https://localhost:{self.port}"
        self.config = directory / "broker.yaml"
        self.data = directory / "data"
        self.log = directory / "broker.log"
        self.process: Optional[subprocess.Popen] = None
        self.step_number = 0

    # What a reader sees

    def step(self, text: str) -> None:
        self.step_number += 1
        print(f"\n{self.step_number}. {text}", flush=True)

    def show(self, command: str, result: str) -> None:
        print(f"   $ {command}")
        for line in result.strip().splitlines():
            print(f"     {line}")

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise Failed(what)

    # The broker

    def environment(self) -> Dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.directory)}

    def start(self, seaweed: SeaweedFS) -> None:
        self.config.write_text(
            f"""issuer: {self.url}
data_dir: {self.data}
listeners:
  - address: 127.0.0.1:{self.port}
    tls: development
metrics: {{ address: 127.0.0.1:{free_port()} }}
aws:
  exchange: web_identity
  sts_endpoint: {seaweed.endpoint}
roles:
  agent: {{ arn: "{ROLE_ARN}" }}
environment: {{ bucket: {BUCKET}, s3_endpoint: {seaweed.endpoint} }}
"""
        )
        self.process = subprocess.Popen(
            [str(BROKER), "--config", str(self.config)],
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
        )
        line = self.process.stdout.readline() if self.process.stdout else ""
        self.expect(line.startswith("ready"), "the broker did not start")
        self.show(f"agentkeys-broker-server --config {self.config.name}", line)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()

    def cli(self, *arguments: str) -> dict:
        done = subprocess.run(
            [str(BROKER), *arguments, "--json", "--config", str(self.config)],
            env=self.environment(), capture_output=True, text=True,
        )
        self.expect(done.returncode == 0, f"{' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout.splitlines()[0])

    def mint(self, token: str) -> dict:
        request = urllib.request.Request(
            f"{self.url}/v1/mint-aws-creds", method="POST", headers={"Authorization": f"Bearer {token}"}
        )
        context = ssl.create_default_context(cafile=str(self.data / "tls" / "ca.crt"))
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            return {"status": error.code, "code": problem["code"], "detail": problem["detail"]}

    # The AWS CLI, as a client would run it

    def aws(self, minted: dict, *arguments: str) -> subprocess.CompletedProcess:
        environment = {
            **self.environment(),
            "AWS_ACCESS_KEY_ID": minted["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": minted["secret_access_key"],
            "AWS_SESSION_TOKEN": minted["session_token"],
            "AWS_DEFAULT_REGION": minted["region"],
            "AWS_ENDPOINT_URL": minted["environment"]["s3_endpoint"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        aws = shutil.which("aws", path=os.environ["PATH"]) or "aws"
        return subprocess.run([aws, *arguments], env=environment, capture_output=True, text=True, timeout=60)

    def allowed(self, minted: dict, *arguments: str) -> None:
        done = self.aws(minted, *arguments)
        self.show("aws " + " ".join(arguments), done.stdout or done.stderr or "done")
        self.expect(done.returncode == 0, f"aws {' '.join(arguments)} should succeed: {done.stderr.strip()}")

    def denied(self, minted: dict, *arguments: str) -> None:
        done = self.aws(minted, *arguments)
        self.show("aws " + " ".join(arguments), done.stderr or done.stdout)
        refused = any(word in done.stderr for word in ("AccessDenied", "Forbidden", "403"))
        self.expect(done.returncode != 0 and refused, f"aws {' '.join(arguments)} should be denied")


def story(demo: Demo) -> None:
    authority = demo.data / "tls" / "ca.crt"
    seaweed = SeaweedFS(demo.directory / "seaweedfs", demo.url, bucket=BUCKET, tls_ca_cert=authority)
    demo.step("The operator starts the broker, over TLS.")
    demo.start(seaweed)

    demo.step("Beside it a real STS and object store, SeaweedFS. Its role may reach the whole bucket.")
    # After the broker: it reads the certificate authority that the broker makes.
    with seaweed:
        print(f"   it answers at {seaweed.endpoint}")

        demo.step("The operator issues a session for each of two wallets.")
        sessions: List[dict] = []
        for label in ("wallet-a", "wallet-b"):
            issued = demo.cli("session", "issue", "--label", label)
            sessions.append(issued)
            demo.show(
                f"agentkeys-broker-server session issue --label {label}",
                f"session {issued['session_id']}\nwallet  {issued['wallet']}\ntoken   {issued['token'][:8]}… (shown once)",
            )
        session_a, session_b = sessions

        demo.step("Each client turns nothing but its bearer token into temporary AWS credentials.")
        minted: List[dict] = []
        for session in sessions:
            answer = demo.mint(session["token"])
            demo.expect("access_key_id" in answer, f"the mint was refused: {answer}")
            minted.append(answer)
            demo.show(
                f"curl -X POST {demo.url}/v1/mint-aws-creds -H 'Authorization: Bearer aks_…'",
                f"access_key_id {answer['access_key_id'][:8]}…   expires {answer['expiration']}\n"
                f"prefix        {answer['environment']['prefix']}\nmint_id       {answer['mint_id']}",
            )
        a, b = minted
        home_a, home_b = (f"s3://{BUCKET}/{m['environment']['prefix']}" for m in minted)
        note = demo.directory / "note.txt"
        note.write_text("written with temporary credentials\n")

        demo.step("A writes and reads under its own prefix; so does B.")
        demo.allowed(a, "s3", "cp", "--no-progress", str(note), home_a + "note.txt")
        demo.allowed(a, "s3", "cp", "--no-progress", home_a + "note.txt", "-")
        demo.allowed(a, "s3", "ls", home_a)
        demo.allowed(b, "s3", "cp", "--no-progress", str(note), home_b + "note.txt")

        demo.step("A is denied B's prefix, and B is denied A's.")
        demo.denied(a, "s3", "cp", "--no-progress", home_b + "note.txt", "-")
        demo.denied(a, "s3", "cp", "--no-progress", str(note), home_b + "stolen.txt")
        demo.denied(a, "s3", "ls", home_b)
        demo.denied(b, "s3", "cp", "--no-progress", home_a + "note.txt", "-")
        demo.denied(b, "s3", "ls", f"s3://{BUCKET}/")

        demo.step("The operator revokes A's session: the next mint is refused.")
        revoked = demo.cli("session", "revoke", session_a["session_id"])
        demo.show(f"agentkeys-broker-server session revoke {session_a['session_id']}", f"{revoked['revoked']} revoked")
        demo.expect(revoked["revoked"] == 1, "one session should have been revoked")
        refusal = demo.mint(session_a["token"])
        demo.show("curl -X POST …/v1/mint-aws-creds", json.dumps(refusal))
        demo.expect(refusal.get("status") == 401, "a revoked session must get 401")
        demo.expect("access_key_id" in demo.mint(session_b["token"]), "B's session must still work")

        demo.step("The audit has every mint and every refusal, and its hash chain holds.")
        verified = demo.cli("audit", "verify")
        demo.show("agentkeys-broker-server audit verify", json.dumps(verified))
        demo.expect(verified["ok"] is True and verified["records"] >= 9, "the audit must verify")


def main() -> int:
    began = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="agentkeys-demo-"))
    demo = Demo(directory)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    try:
        story(demo)
    except (Failed, Exception) as error:  # noqa: BLE001: whatever went wrong, the verdict says so
        print(f"\ndemo: FAIL: {error}\n      logs: {directory}")
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted")
        return 130
    finally:
        demo.stop()
    shutil.rmtree(directory, ignore_errors=True)
    seconds = time.monotonic() - began
    print(f"\ndemo: PASS: credentials in use, isolation holds, revocation works, the audit verifies ({seconds:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
