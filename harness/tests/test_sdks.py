"""Every AWS SDK on a developer's machine that has the broker's URL, a session, and no key.

Each client goes one round (harness/sdks) by each way to a credential: the profile that
`agentkeys aws configure` writes, the daemon's container endpoint, its metadata service.
The role on the far side may use the whole bucket, so what is refused, the session policy
refused. The tests' own environment and home are full of keys that must never be found.
"""
from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterator

import pytest

from brokerlib import Broker
from clientlib import Machine
from expect import new_wallet
from peers.relay import Relay
from peers.seaweedfs import SeaweedFS
from sdks import SDKS, Missing, Place

AMBIENT = "AKIAAMBIENTAMBIENT00"
AMBIENT_SECRET = "ambient-secret-that-opens-nothing"


@pytest.fixture(scope="module")
def relay(seaweedfs: SeaweedFS) -> Iterator[Relay]:
    with Relay(seaweedfs.endpoint) as running:
        yield running


@pytest.fixture(autouse=True)
def ambient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys around the tests: in their environment, and in the home that it names."""
    home = tmp_path / "home-of-the-tests"
    (home / ".aws").mkdir(parents=True)
    keys = f"aws_access_key_id = {AMBIENT}\naws_secret_access_key = {AMBIENT_SECRET}\n"
    (home / ".aws" / "credentials").write_text(f"[default]\n{keys}[ambient]\n{keys}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_PROFILE", "ambient")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", AMBIENT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AMBIENT_SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "ambient-token")


@pytest.fixture(scope="module")
def broker(
    broker_binary: Path, seaweedfs: SeaweedFS, seaweed_issuer_port: int, relay: Relay
) -> Iterator[Broker]:
    """One that tells its clients where S3 is, so that its URL is all that they need to be told."""
    config = {
        "aws": {"exchange": "web_identity", "sts_endpoint": seaweedfs.endpoint},
        "roles": {"agent": {"arn": seaweedfs.role_arn}},
        "environment": {"bucket": seaweedfs.bucket, "s3_endpoint": relay.url},
    }
    with Broker(config, port=seaweed_issuer_port) as running:
        yield running


class Developer(Machine):
    """A machine with the broker's URL and a stored session."""

    def __init__(self, home: Path, broker: Broker) -> None:
        super().__init__(home, broker.url)
        self.wallet = new_wallet()
        self.prefix = f"bots/{self.wallet}/"
        self.log_in(broker.token(self.wallet))

    def minted(self, broker: Broker) -> Dict[str, dict]:
        """What the audit says was granted to this wallet, by session name."""
        rows = broker.audit_all()
        mine = [row for row in rows if row.get("wallet") == self.wallet and row["phase"] == "outcome"]
        return {row["session_name"]: row for row in mine if row["outcome"] == "granted"}


@dataclass
class Way:
    """One way from a stored session to an SDK's credential."""

    name: str
    machine: Developer
    variables: Dict[str, str]


@pytest.fixture(scope="module")
def configured(tmp_path_factory, broker: Broker) -> Developer:
    machine = Developer(tmp_path_factory.mktemp("configured"), broker)
    done = machine.run("aws", "configure")
    assert done.returncode == 0, done.stderr
    return machine


@pytest.fixture(scope="module")
def served(tmp_path_factory, broker: Broker, relay: Relay) -> Iterator[tuple]:
    """The daemon gives credentials alone, so region and endpoint are in the developer's own file."""
    machine = Developer(tmp_path_factory.mktemp("served"), broker)
    (machine.home / ".aws").mkdir()
    place = f"region = us-east-1\nendpoint_url = {relay.url}\n"
    (machine.home / ".aws" / "config").write_text(f"[default]\n{place}")
    with machine.daemon("--imds", "127.0.0.1:0") as daemon:
        yield machine, daemon.wait_serving()


@pytest.fixture(params=["process", "container", "imds"])
def way(request) -> Way:
    if request.param == "process":
        return Way("process", request.getfixturevalue("configured"), {})
    machine, daemon = request.getfixturevalue("served")
    if request.param == "imds":
        return Way("imds", machine, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": daemon.addresses["imds"]})
    return Way(
        "container",
        machine,
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": daemon.addresses["container"],
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": daemon.addresses["token_file"],
        },
    )


@pytest.fixture
def other(seaweedfs: SeaweedFS) -> Iterator[str]:
    """Another wallet's prefix with an object in it, which must be as it was afterwards."""
    prefix = f"bots/{new_wallet()}/"
    admin = seaweedfs.admin()
    admin.put_object(Bucket=seaweedfs.bucket, Key=f"{prefix}secret", Body=b"theirs")
    yield prefix
    listed = admin.list_objects_v2(Bucket=seaweedfs.bucket, Prefix=prefix)["Contents"]
    assert [item["Key"] for item in listed] == [f"{prefix}secret"]
    assert admin.get_object(Bucket=seaweedfs.bucket, Key=f"{prefix}secret")["Body"].read() == b"theirs"


@pytest.mark.parametrize("sdk", SDKS, ids=lambda sdk: sdk.name)
def test_a_client_works_under_the_own_prefix_and_is_refused_another(
    sdk, way: Way, other: str, broker: Broker, seaweedfs: SeaweedFS, relay: Relay
):
    machine, body = way.machine, f"by {sdk.name} by way of {way.name}"
    relay.taken()
    try:
        seen = sdk.round(machine, way.variables, Place(seaweedfs.bucket, machine.prefix, other), body)
    except Missing as reason:
        pytest.skip(str(reason))

    assert (seen.read, seen.listed) == (body, ["mail"])
    kept = seaweedfs.admin().get_object(Bucket=seaweedfs.bucket, Key=f"{machine.prefix}mail")
    assert kept["Body"].read().decode() == body
    assert seen.refused == {"get": "AccessDenied", "put": "AccessDenied", "list": "AccessDenied"}

    assert seen.variables == sorted(way.variables), "nothing of the tests' environment is in the client's"
    assert seen.source == sdk.credentials[way.name]
    signed = relay.taken()
    assert len(signed) >= 6, "the round went by here"
    assert {request.session_name for request in signed} <= set(machine.minted(broker))
    keys = {request.access_key_id for request in signed}
    assert all(key.startswith("ASIA") for key in keys), keys
    if way.name != "process":
        assert keys == {key_of_the_daemon(machine)}
        assert len(machine.minted(broker)) == 1, "every client shares the daemon's one credential"


def key_of_the_daemon(machine: Machine) -> str:
    return json.loads(machine.run("aws", "credentials").stdout)["AccessKeyId"]


FOUND = "import boto3; c = boto3.session.Session().get_credentials(); print(c.method, c.access_key)"


@pytest.mark.parametrize("gone, method", [([], "env"), (["AWS_ACCESS_KEY_ID"], "shared-credentials-file")])
def test_the_keys_around_the_tests_would_be_found_by_a_client_that_saw_them(monkeypatch, gone, method):
    """Else the tests above would pass with a leaky environment too."""
    for name in gone:
        monkeypatch.delenv(name)
    done = subprocess.run([sys.executable, "-c", FOUND], env=dict(os.environ), capture_output=True, text=True)
    assert done.stdout.split() == [method, AMBIENT], done.stderr
