"""docs/stage6-aws-setup.md, as it is printed, on an account with nothing in it.

ministack takes the printed script and checks every signature; moto takes CloudFormation;
the strict double, which evaluates the printed policies, answers the doctor.
"""
from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Iterator

import pytest

import aws_setup
from brokerlib import Broker
from clientlib import Machine
from docs_as_code import Page, Terminal, short_directory
from http_client import Client
from peers.judged_s3 import JudgedS3
from peers.ministack import ACCOUNT
from peers.moto import Moto
from peers.ports import free_port

PAGE = Page("docs/stage6-aws-setup.md")


def administrator(home: Path, endpoint: str, key: str = "setup", secret: str = "setup", **more: str) -> Machine:
    return Machine(
        home, None,
        AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret,
        AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", **more,
    )


@pytest.fixture(scope="module")
def operator(account) -> Iterator[Terminal]:
    port = free_port()
    directory = short_directory()
    machine = administrator(
        directory, account.endpoint, account.root_access_key, account.root_secret_key,
        BROKER_ISSUER=f"http://localhost:{port}", BROKER_LISTENERS=f"127.0.0.1:{port}",
        BROKER_METRICS_ADDRESS=f"127.0.0.1:{free_port()}",
        BROKER_AWS_STS_ENDPOINT=account.endpoint, BROKER_ENVIRONMENT_S3_ENDPOINT=account.endpoint,
    )
    terminal = Terminal(machine, {"123456789012": ACCOUNT})
    terminal.url = f"http://localhost:{port}"
    yield terminal
    terminal.close()
    shutil.rmtree(directory)


@pytest.fixture
def home() -> Iterator[Path]:
    directory = short_directory()
    yield directory
    shutil.rmtree(directory)


@pytest.mark.slow
def test_from_nothing_to_a_mint(operator, account):
    """Sections 1 to 4, in one window."""
    chosen = operator.paste(PAGE["choose"]).stdout
    assert "exchange: assume_role, since" in chosen
    printed = operator.paste(PAGE["print"]).stdout
    assert "ACCOUNT_ID" not in printed and f"arn:aws:iam::{ACCOUNT}:user/agentkeys-daemon" in printed
    operator.paste(PAGE["write"])
    written = {path.name for path in (operator.directory / "aws-documents").iterdir()}
    documents = set(re.findall(r"^\| `([a-z-]+)` \|", section("| document |"), re.MULTILINE))
    assert {f"{name}.json" for name in documents - {"oidc-provider"}} <= written and "main.tf.json" in written, written
    operator.paste(PAGE["apply"])
    key = json.loads(operator.paste(PAGE["key"]).stdout)["AccessKey"]
    # What ministack cannot: read variables in a role's policy, and speak TLS.
    account.admin("iam").put_role_policy(
        RoleName="agentkeys-agent", PolicyName="ministack-knows-no-variables", PolicyDocument=json.dumps(everything())
    )
    aws_setup.allow_plain_http(account.admin("s3"), f"agentkeys-mail-{ACCOUNT}")
    operator.replace.update({"=AKIA…": f"={key['AccessKeyId']}", "=…": f"={key['SecretAccessKey']}"})
    operator.paste_and_leave(PAGE["serve"], until="ready public=")
    token = operator.paste("agentkeys-broker-server session issue --json --config broker.yaml")
    with Client(operator.url) as client:
        minted = client.request("POST", "/v1/mint-aws-creds", {}, token=json.loads(token.stdout)["token"])
    assert minted.status == 200, minted
    s3 = account.as_minted(minted.json())
    s3.put_object(Bucket=f"agentkeys-mail-{ACCOUNT}", Key=f"bots/{minted.json()['wallet']}/a", Body=b"a")


def everything() -> dict:
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


def test_mail(operator, account):
    tokens = json.loads(operator.paste(PAGE["mail"]).stdout)["DkimTokens"]
    assert len(tokens) == 3, "the records to publish"
    (operator.directory / "rule.json").write_text(operator.filled(PAGE.printed("json")))
    operator.paste(PAGE["mail rule"])
    ses = account.admin("ses")
    (rule,) = ses.describe_receipt_rule_set(RuleSetName="agentkeys")["Rules"]
    place = rule["Actions"][0]["S3Action"]
    # Where a mint may read, and where the client looks.
    assert place["BucketName"] == f"agentkeys-mail-{ACCOUNT}"
    assert place["ObjectKeyPrefix"] == f"bots/{rule['Recipients'][0].split('@')[0]}/inbound/"


@pytest.mark.slow
def test_cloudformation_makes_the_same(tmp_path, home):
    with Moto(tmp_path / "moto", provisioned=False) as moto:
        terminal = Terminal(administrator(home, moto.endpoint))
        for name in ("choose", "write", "apply by CloudFormation"):
            terminal.paste(PAGE[name])
        assert moto.admin("iam").get_role(RoleName="agentkeys-agent")
        assert moto.admin("iam").get_user(UserName="agentkeys-daemon")
        # moto makes no bucket policy of a template; that it is the same document is tested elsewhere.
        assert moto.admin("s3").head_bucket(Bucket="agentkeys-mail-123456789012")


# The doctor


NOBODY = 65534


@pytest.mark.parametrize("name", ["doctor", "doctor of the service"])
def test_the_doctor_is_green_as_printed(role_broker, sts, home, name):
    """By whoever runs the broker, with the key in the shell; and as a service, whose key is lent to one command."""
    another = NOBODY if os.getuid() == 0 and "service" in name else None
    with JudgedS3(sts) as s3:
        broker: Broker = role_broker({"environment": {"s3_endpoint": s3.endpoint}}, user=another)
        printed = aws_setup.documents(broker, home / "documents")
        sts.set_role_policy(printed["role-policy"], trust=printed["trust-policy"])
        key = {name: value for name, value in broker.environment.items() if name.startswith("BROKER_DAEMON")}
        (home / "broker.env").write_text("".join(f"{name}={value}\n" for name, value in key.items()))
        replace = {
            "/etc/agentkeys/broker.yaml": str(broker.config_file),
            "/etc/agentkeys": str(home),
            "--config broker.yaml": f"--config {broker.config_file}",
        }
        variables = key if name == "doctor" else {"SERVICE_USER": str(another or os.getuid())}
        terminal = Terminal(Machine(home, None), replace, ("sudo", "runuser"), **variables)
        table = terminal.paste(PAGE[name]).stdout
    rows = dict(re.findall(r"^([a-z_]+) +(pass|fail|skip|unknown)", table, re.MULTILINE))
    assert {"exchange", "isolation", "role_isolation", "daemon_key"} <= {r for r, s in rows.items() if s == "pass"}, table
    names = re.findall(r"^\| (`.+?) \|", section("| row |"), re.MULTILINE)
    assert set(rows) == set(re.findall(r"`(\w+)`", " ".join(names))), "each row of the doctor is explained"


def section(head: str) -> str:
    """The rows of the page's table with this head."""
    return PAGE.text.split(head)[1].split("\n\n")[0]
