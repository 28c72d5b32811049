"""`aws policies`: the documents, taken by emulated IAM and S3 and judged by the strict double.

What an emulator takes AWS may still refuse; docs/stage6-aws-setup.md says what
only real AWS proves.
"""
from __future__ import annotations

import json
import shutil
import subprocess

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config

import aws_setup
from brokerlib import REPOSITORY
from expect import new_wallet
from peers import ministack as ministack_peer
from peers import moto as moto_peer
from peers.tools import find_tool
from tiny_issuer import WALLET, TinyIssuer

TAG = "agentkeys_user_wallet"
WEB_ISSUER = "https://broker.example.dev"


@pytest.fixture(scope="module")
def fresh_ministack(tmp_path_factory):
    if not find_tool("ministack"):
        pytest.skip("ministack needs Python 3.10 or newer")
    with ministack_peer.Ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running


@pytest.fixture(scope="module")
def fresh_moto(tmp_path_factory):
    with moto_peer.Moto(tmp_path_factory.mktemp("moto")) as running:
        running.stop_enforcing()
        yield running


def local_config(endpoint, account, **more):
    return {
        "aws": {"exchange": "assume_role", "sts_endpoint": endpoint},
        "roles": {"agent": {"arn": f"arn:aws:iam::{account}:role/agentkeys-agent"}},
        "environment": {"bucket": f"agentkeys-mail-{account}", "s3_endpoint": endpoint},
        **more,
    }


def hosted_config(account):
    return {
        "issuer": WEB_ISSUER,
        "aws": {"exchange": "web_identity"},
        "sessions": {"enrolment": "closed"},
        "roles": {"agent": {"arn": f"arn:aws:iam::{account}:role/hosted-agent"}},
        "environment": {"bucket": f"agentkeys-hosted-{account}"},
    }


@pytest.mark.slow
def test_the_script_sets_an_account_up_and_the_broker_then_isolates(make_broker, fresh_ministack, tmp_path):
    """From the printed script to a denied write, on an IAM that enforces users, trust and session policies."""
    account = fresh_ministack.account
    broker = make_broker(
        local_config(fresh_ministack.endpoint, account.account_id),
        daemon_key=(account.access_key_id, account.secret_access_key),
        start=False,
    )
    root = (fresh_ministack.root_access_key, fresh_ministack.root_secret_key)
    text = aws_setup.script(broker)
    # What the fixture gave is broader than what is printed.
    iam = fresh_ministack.admin("iam")
    iam.delete_role_policy(RoleName="agentkeys-agent", PolicyName="WholeBucket")
    aws_setup.run_script(text, fresh_ministack.endpoint, root, tmp_path)
    broker.start()
    mine, theirs = new_wallet(), new_wallet()
    s3 = fresh_ministack.as_minted(broker.mint(broker.token(mine)))
    # The emulator is spoken to in the clear, which the bucket refuses to everybody.
    with pytest.raises(Exception, match="explicit deny"):
        s3.put_object(Bucket=account.bucket, Key=f"bots/{mine}/x", Body=b"1")
    aws_setup.allow_plain_http(fresh_ministack.admin("s3"), account.bucket)
    # It expands no variable in a policy either: a role as wide as all wallets, which
    # leaves the session policy. The printed role policy is judged further below.
    printed = aws_setup.documents(broker, tmp_path / "documents")["role-policy"]
    wide = json.dumps(printed).replace(f"${{aws:PrincipalTag/{TAG}}}", "*")
    iam.put_role_policy(RoleName="agentkeys-agent", PolicyName="agentkeys-own-prefix", PolicyDocument=wide)
    s3.put_object(Bucket=account.bucket, Key=f"bots/{mine}/x", Body=b"1")
    with pytest.raises(Exception, match="AccessDenied|Forbidden|403"):
        s3.put_object(Bucket=account.bucket, Key=f"bots/{theirs}/x", Body=b"1")
    # The daemon key itself reaches no data at all.
    daemon = ministack_peer.s3.client(
        "s3", fresh_ministack.endpoint, account.access_key_id, account.secret_access_key
    )
    with pytest.raises(Exception, match="AccessDenied|Forbidden|403"):
        daemon.get_object(Bucket=account.bucket, Key=f"bots/{mine}/x")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["web_identity", "assume_role"])
def test_iam_and_s3_hold_exactly_what_was_printed(make_broker, fresh_moto, tmp_path, mode):
    account = moto_peer.ACCOUNT
    config = hosted_config(account) if mode == "web_identity" else local_config(fresh_moto.endpoint, account)
    key = None if mode == "web_identity" else ("AKIDEXAMPLE", "example")
    broker = make_broker(config, daemon_key=key, start=False)
    role = config["roles"]["agent"]["arn"].rsplit("/", 1)[1]
    bucket = config["environment"]["bucket"]
    wanted = aws_setup.documents(broker, tmp_path / "documents")
    for _ in range(2):
        aws_setup.run_script(aws_setup.script(broker), fresh_moto.endpoint, ("setup", "setup"), tmp_path)
    iam, s3 = fresh_moto.admin("iam"), fresh_moto.admin("s3")
    found = iam.get_role(RoleName=role)["Role"]
    assert found["AssumeRolePolicyDocument"] == wanted["trust-policy"]
    assert found["MaxSessionDuration"] == 3600
    inline = iam.get_role_policy(RoleName=role, PolicyName="agentkeys-own-prefix")
    assert inline["PolicyDocument"] == wanted["role-policy"]
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"]) == wanted["bucket-policy"]
    assert s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]["RestrictPublicBuckets"]
    if mode == "web_identity":
        arn = f"arn:aws:iam::{account}:oidc-provider/broker.example.dev"
        provider = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
        assert provider["Url"].removeprefix("https://") == "broker.example.dev"
        assert provider["ClientIDList"] == ["sts.amazonaws.com"]
        assert set(wanted) == {"oidc-provider", "trust-policy", "role-policy", "bucket-policy"}
    else:
        daemon = iam.get_user_policy(UserName="agentkeys-daemon", PolicyName="agentkeys-assume-roles")
        assert daemon["PolicyDocument"] == wanted["daemon-policy"]
        assert "oidc-provider" not in wanted


def test_the_printed_trust_lets_in_tagged_calls_of_the_user_alone(role_broker, sts, tmp_path):
    broker = role_broker()
    printed = aws_setup.documents(broker, tmp_path)
    sts.set_role_policy(printed["role-policy"], trust=printed["trust-policy"])
    wallet, other = new_wallet(), new_wallet()
    minted = broker.mint(broker.token(wallet))
    for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
        assert sts.authorize(minted, action, f"bots/{wallet}/x")["allowed"], action
        # The layer that was printed, apart from the session policy.
        assert sts.authorize(minted, action, f"bots/{other}/x")["role_policy"] != "allow", action
    assert sts.authorize(minted, "s3:ListBucket", prefix=f"bots/{wallet}/inbound/")["allowed"]
    for prefix in (f"bots/{other}/", "bots/", "", None):
        assert sts.authorize(minted, "s3:ListBucket", prefix=prefix)["role_policy"] != "allow", prefix
    with pytest.raises(Exception, match="AccessDenied"):
        sts.client().assume_role(RoleArn=sts.role_arn, RoleSessionName="untagged")


def test_the_printed_trust_lets_in_tagged_tokens_of_the_issuer_alone(make_broker, sts, tmp_path):
    with TinyIssuer() as issuer:
        config = {
            "issuer": issuer.url,
            "aws": {"exchange": "web_identity", "sts_endpoint": sts.endpoint},
            "roles": {"agent": {"arn": sts.role_arn}},
            "environment": {"bucket": sts.bucket},
        }
        printed = aws_setup.documents(make_broker(config, start=False), tmp_path)
        sts.trust_issuer(issuer.url, client_ids=["sts.amazonaws.com", "another.example"])
        sts.set_role_policy(printed["role-policy"], trust=printed["trust-policy"])
        client = boto3.client(
            "sts", endpoint_url=sts.endpoint, region_name="us-east-1", config=Config(signature_version=UNSIGNED)
        )

        def assume(**changes):
            return client.assume_role_with_web_identity(
                RoleArn=sts.role_arn, RoleSessionName="test", WebIdentityToken=issuer.token(**changes)
            )

        answer = assume()["Credentials"]
        minted = {"access_key_id": answer["AccessKeyId"]}
        # No session policy is in the way here: what isolates is what was printed.
        assert sts.authorize(minted, "s3:PutObject", f"bots/{WALLET}/x")["allowed"]
        assert not sts.authorize(minted, "s3:PutObject", f"bots/{new_wallet()}/x")["allowed"]
        assert not sts.authorize(minted, "s3:GetObject", "AMAZON_SES_SETUP_NOTIFICATION")["allowed"]
        for changes in ({"https://aws.amazon.com/tags": None}, {"aud": "another.example"}):
            with pytest.raises(Exception, match="AccessDenied"):
                assume(**changes)
        # A source identity needs its own permission, which is printed only where it is configured.
        named = {"https://aws.amazon.com/source_identity": "someone"}
        with pytest.raises(Exception, match="AccessDenied"):
            assume(**named)
        config["aws"]["source_identity"] = "wallet"
        printed = aws_setup.documents(make_broker(config, start=False), tmp_path)
        sts.set_role_policy(printed["role-policy"], trust=printed["trust-policy"])
        assume(**named)


def test_an_unknown_account_is_told(make_broker):
    broker = make_broker({"aws": {"exchange": "assume_role"}}, daemon_key=("AKIDEXAMPLE", "example"), start=False)
    done = broker.run_cli("aws", "policies", "--json")
    assert done.exit_code == 0 and "--account" in done.stderr, done
    assert done.document()["account"] == "ACCOUNT_ID"
    named = broker.cli("aws", "policies", "--account", "123456789012")
    assert "ACCOUNT_ID" not in json.dumps(named)
    assert broker.run_cli("aws", "policies", "--account", "12").exit_code != 0


@pytest.mark.parametrize("mode", ["web_identity", "assume_role"])
def test_cloudformation_passes_its_linter(mode):
    lint = find_tool("cfn-lint")
    if lint is None:
        pytest.skip("cfn-lint is not installed")
    template = REPOSITORY / "conf" / "aws" / mode / "cloudformation.json"
    done = subprocess.run([lint, "--regions", "us-east-1", "--", str(template)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mode", ["web_identity", "assume_role"])
def test_terraform_and_cloudformation_say_what_the_documents_say(mode):
    directory = REPOSITORY / "conf" / "aws" / mode
    read = lambda name: json.loads((directory / f"{name}.json").read_text())  # noqa: E731
    terraform, template = read("main.tf")["resource"], read("cloudformation")["Resources"]
    plain = lambda text: json.loads(text.replace("$${", "${"))  # noqa: E731
    (role,) = terraform["aws_iam_role"].values()
    (inline,) = terraform["aws_iam_role_policy"].values()
    assert plain(role["assume_role_policy"]) == read("trust-policy")
    assert plain(inline["policy"]) == read("role-policy")
    assert plain(terraform["aws_s3_bucket_policy"]["agentkeys"]["policy"]) == read("bucket-policy")
    assert template["Role1"]["Properties"]["AssumeRolePolicyDocument"] == read("trust-policy")
    assert template["BucketPolicy"]["Properties"]["PolicyDocument"] == read("bucket-policy")


def test_the_scripts_are_plain_shell():
    shellcheck = shutil.which("shellcheck")
    for path in (REPOSITORY / "conf" / "aws").glob("*/setup.sh"):
        done = subprocess.run(["sh", "-n", str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        if shellcheck:
            done = subprocess.run([shellcheck, str(path)], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout
