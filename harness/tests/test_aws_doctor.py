"""`aws doctor`: green where all is right, and the right row red for each fault alone.

A doctor that is always green is worse than none, so each test breaks one thing
and looks at every row, not only at the one it broke.
"""
from __future__ import annotations

import json

import pytest

import aws_setup
from brokerlib import _overlay
from peers import ministack as ministack_peer
from peers.front import Front
from peers.judged_s3 import JudgedS3
from peers.ports import free_port
from peers.tools import find_tool

ROWS = [
    "issuer_url",
    "discovery",
    "issuer_bytes",
    "jwks",
    "signing_key",
    "clock",
    "daemon_key",
    "provider",
    "trust_policy",
    "exchange",
    "isolation",
    "role_isolation",
]
ISSUER_ROWS = ROWS[:5]
# IAM takes no issuer on loopback, which every diagnosis here says beside what it is about.
LOOPBACK = "issuer_url"


class Diagnosis:
    def __init__(self, done) -> None:
        self.done = done
        self.rows = {row["name"]: row for row in done.rows()}
        assert list(self.rows) == ROWS, done
        assert done.exit_code == (1 if self.named("fail") else 0), done
        for row in self.rows.values():
            assert set(row) == {"name", "status", "detail", "fix"}, row
            assert row["detail"], row
            if row["status"] in ("fail", "unknown"):
                assert row["fix"], f"it does not say what to change: {row}"

    def named(self, status: str) -> set:
        return {name for name, row in self.rows.items() if row["status"] == status}

    def fails(self, *names: str) -> None:
        assert self.named("fail") == set(names), json.dumps(self.rows, indent=1)

    def says(self, name: str, *texts: str) -> None:
        row = self.rows[name]
        for text in texts:
            assert text in row["detail"] + " " + (row["fix"] or ""), row


def doctor(broker, *arguments) -> Diagnosis:
    done = broker.run_cli("aws", "doctor", "--json", *arguments, timeout=60)
    for secret in ("BROKER_DAEMON_SECRET_ACCESS_KEY",):
        value = broker.environment.get(secret)
        assert not value or value not in done.output
    for mark in ("ASIA", "eyJ", "aks_"):
        assert mark not in done.output, done
    return Diagnosis(done)


# The tag and the role's own policy, as the strict double judges them


@pytest.fixture
def s3(sts):
    with JudgedS3(sts) as running:
        yield running


@pytest.fixture(params=["assume_role", "web_identity"])
def judged(request, role_broker, web_broker, sts, s3, tmp_path):
    """A broker whose role has the printed policies; the double decides over each write."""
    make = {"assume_role": role_broker, "web_identity": web_broker}[request.param]
    broker = make({"environment": {"bucket": sts.bucket, "s3_endpoint": s3.endpoint}})
    printed = aws_setup.documents(broker, tmp_path)
    sts.set_role_policy(printed["role-policy"], trust=printed["trust-policy"])
    broker.expected = {LOOPBACK} if request.param == "web_identity" else set()
    return broker


def test_the_printed_policies_keep_wallets_apart_twice(judged, s3):
    found = doctor(judged)
    found.fails(*judged.expected)
    assert {"exchange", "isolation", "role_isolation"} <= found.named("pass")
    assert len(s3.written) == 2 and not s3.objects, "one write per ceiling, each removed again"
    # What it minted is in the audit like any mint, and the chain still holds.
    records = [row for row in judged.audit() if row["action"] == "aws_doctor"]
    assert sorted(row["phase"] for row in records) == ["intent", "intent", "outcome", "outcome"]
    assert judged.audit_verify()["ok"]


def test_a_role_as_wide_as_the_bucket(judged, sts, s3):
    """The session policy still isolates each mint; the role must too."""
    sts.set_role_policy("whole_bucket")
    found = doctor(judged)
    found.fails("role_isolation", *judged.expected)
    found.says("role_isolation", "another wallet's prefix", "aws policies")
    assert not s3.objects, "what should not have been written is removed all the same"


def test_a_bucket_that_lets_everybody_in(judged, s3):
    """A public bucket policy: no policy of the role or the session is asked."""
    s3.open_to_everybody = True
    found = doctor(judged)
    found.fails("isolation", "role_isolation", *judged.expected)
    found.says("isolation", "stop minting", "another wallet's prefix")
    assert not s3.objects


def test_what_cannot_be_removed_again_is_named(judged, s3):
    s3.keeps_everything = True
    found = doctor(judged)
    found.fails(*judged.expected)
    assert s3.objects
    found.says("isolation", *(f"s3://{s3.sts.bucket}/{key}" for key in s3.objects))


# assume_role, on an IAM and an S3 that check every signature: ministack. It knows
# no variables in policies, so the role there is as wide as the bucket, and each
# diagnosis says that beside what it is about.
WIDE = "role_isolation"


@pytest.fixture(scope="module")
def account(tmp_path_factory):
    """An account as the documents would have it."""
    if not find_tool("ministack"):
        pytest.skip("ministack needs Python 3.10 or newer")
    with ministack_peer.Ministack(tmp_path_factory.mktemp("ministack")) as running:
        yield running


@pytest.fixture
def local(make_broker, account, tmp_path):
    """A broker in assume_role mode, on an account that was just put right."""
    owner = account.account
    broker = make_broker(
        {
            "aws": {"exchange": "assume_role", "sts_endpoint": account.endpoint},
            "roles": {"agent": {"arn": owner.role_arn}},
            "environment": {"bucket": owner.bucket, "s3_endpoint": account.endpoint},
        },
        daemon_key=(owner.access_key_id, owner.secret_access_key),
    )
    printed = aws_setup.documents(broker, tmp_path)
    iam, s3 = account.admin("iam"), account.admin("s3")
    iam.update_assume_role_policy(
        RoleName="agentkeys-agent", PolicyDocument=json.dumps(printed["trust-policy"])
    )
    for name in iam.list_role_policies(RoleName="agentkeys-agent")["PolicyNames"]:
        iam.delete_role_policy(RoleName="agentkeys-agent", PolicyName=name)
    put_role_policy(account, whole_bucket(account))
    for name in iam.list_user_policies(UserName="agentkeys-daemon")["PolicyNames"]:
        iam.delete_user_policy(UserName="agentkeys-daemon", PolicyName=name)
    put_user_policy(account, "assume", printed["daemon-policy"])
    put_user_policy(
        account,
        "look",
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "iam:GetRole", "Resource": owner.role_arn}],
        },
    )
    s3.put_bucket_policy(Bucket=owner.bucket, Policy=json.dumps(printed["bucket-policy"]))
    aws_setup.allow_plain_http(s3, owner.bucket)
    broker.printed = printed
    return broker


def put_role_policy(account, document, name="agentkeys-own-prefix") -> None:
    account.admin("iam").put_role_policy(
        RoleName="agentkeys-agent", PolicyName=name, PolicyDocument=json.dumps(document)
    )


def put_user_policy(account, name, document) -> None:
    account.admin("iam").put_user_policy(
        UserName="agentkeys-daemon", PolicyName=name, PolicyDocument=json.dumps(document)
    )


def examine(broker, account) -> Diagnosis:
    return doctor(broker, "--iam-endpoint", account.endpoint)


def test_a_sound_account_is_left_as_it_was(local, account):
    before = objects(account)
    found = examine(local, account)
    found.fails(WIDE)
    assert found.named("skip") == {*ISSUER_ROWS, "provider"}
    assert found.named("pass") == set(ROWS) - {*ISSUER_ROWS, "provider", WIDE}
    assert objects(account) == before, "test objects are left behind"


def objects(account) -> list:
    listed = account.admin("s3").list_objects_v2(Bucket=account.account.bucket)
    return [entry["Key"] for entry in listed.get("Contents", [])]


def test_without_an_exchange_nothing_is_minted(local, account):
    found = doctor(local, "--iam-endpoint", account.endpoint, "--no-exchange")
    found.fails()
    assert {"exchange", "isolation", "role_isolation"} <= found.named("skip")
    assert not [row for row in local.audit() if row["action"] == "aws_doctor"]


def test_a_person_gets_a_table_and_what_to_change(local, account):
    done = local.run_cli("aws", "doctor", "--iam-endpoint", account.endpoint, timeout=60)
    assert done.exit_code == 1
    assert done.stdout.startswith("CHECK") and "role_isolation: stop minting" in done.stdout, done


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda s: s.update(Action=["sts:AssumeRole"]), "sts:TagSession"),
        (lambda s: s.pop("Condition"), "name no wallet"),
        (
            lambda s: s.update(Condition={"StringNotEquals": {"aws:RequestTag/agentkeys_user_wallet": ""}}),
            "name no wallet",
        ),
    ],
    ids=["no TagSession", "no condition", "the operator that an absent tag satisfies"],
)
def test_a_loose_or_broken_trust_policy(local, account, change, told):
    trust = local.printed["trust-policy"]
    change(trust["Statement"][0])
    account.admin("iam").update_assume_role_policy(RoleName="agentkeys-agent", PolicyDocument=json.dumps(trust))
    found = examine(local, account)
    found.says("trust_policy", told, "update-assume-role-policy")
    assert "trust_policy" in found.named("fail") and "daemon_key" in found.named("pass")
    if told == "sts:TagSession":
        assert "exchange" in found.named("fail")
    else:
        found.fails("trust_policy", WIDE)


def test_a_trust_policy_of_somebody_else(local, account):
    trust = local.printed["trust-policy"]
    trust["Statement"][0]["Principal"] = {"AWS": "arn:aws:iam::999999999999:user/else"}
    account.admin("iam").update_assume_role_policy(RoleName="agentkeys-agent", PolicyDocument=json.dumps(trust))
    found = examine(local, account)
    found.fails("trust_policy", "exchange")
    found.says("trust_policy", "does not trust")
    assert {"isolation", "role_isolation"} <= found.named("skip")


def whole_bucket(account) -> dict:
    bucket = f"arn:aws:s3:::{account.account.bucket}"
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": [bucket, f"{bucket}/*"]}
    return {"Version": "2012-10-17", "Statement": [statement]}


def test_a_role_that_may_do_nothing(local, account):
    iam = account.admin("iam")
    iam.delete_role_policy(RoleName="agentkeys-agent", PolicyName="agentkeys-own-prefix")
    account.admin("s3").delete_bucket_policy(Bucket=account.account.bucket)
    found = examine(local, account)
    found.fails("isolation", "role_isolation")
    found.says("isolation", "its own wallet's prefix")


def test_a_bucket_that_is_not_there(make_broker, local, account):
    broker = make_broker(_overlay(local.settings, {"environment": {"bucket": "agentkeys-nowhere"}}), start=False)
    broker.environment.update(local.environment)
    broker.data_dir = local.data_dir
    found = examine(broker, account)
    assert {"isolation", "role_isolation"} <= found.named("fail")
    assert "exchange" in found.named("pass")


def test_a_key_that_aws_does_not_know(local, account):
    local.environment["BROKER_DAEMON_ACCESS_KEY_ID"] = "AKIAAAAAAAAAAAAAAAAA"
    found = examine(local, account)
    found.fails("daemon_key", "exchange")
    found.says("daemon_key", "InvalidClientTokenId", "operator-runbook")


def test_a_key_that_is_not_set(local, account):
    for name in ("BROKER_DAEMON_ACCESS_KEY_ID", "BROKER_DAEMON_SECRET_ACCESS_KEY"):
        del local.environment[name]
    found = examine(local, account)
    assert "daemon_key" in found.named("fail")
    found.says("daemon_key", "BROKER_DAEMON_ACCESS_KEY_ID")


def test_a_key_that_may_not_look_is_no_failure(local, account):
    account.admin("iam").delete_user_policy(UserName="agentkeys-daemon", PolicyName="look")
    found = examine(local, account)
    found.fails(WIDE)
    assert found.named("unknown") == {"trust_policy"}
    found.says("trust_policy", "iam:GetRole")


def test_the_key_of_another_sts_is_never_shown_to_aws(local, account):
    """Without --iam-endpoint the doctor must not fall back to the IAM of AWS."""
    found = doctor(local)
    found.fails(WIDE)
    assert "trust_policy" in found.named("skip")
    found.says("trust_policy", "not AWS")


@pytest.mark.parametrize("offset, status", [(120, "pass"), (-120, "pass"), (900, "fail"), (-900, "fail")])
def test_a_clock_that_is_off(make_broker, local, account, offset, status):
    with Front(account.endpoint) as sts:
        sts.date_offset_seconds = offset
        broker = make_broker(_overlay(local.settings, {"aws": {"sts_endpoint": sts.url}}), start=False)
        broker.environment.update(local.environment)
        found = doctor(broker, "--iam-endpoint", account.endpoint, "--no-exchange")
        assert found.rows["clock"]["status"] == status
        found.says("clock", "ahead of" if offset > 0 else "behind", "NTP")
        assert found.named("fail") == ({"clock"} if status == "fail" else set())


# web_identity: the issuer as AWS sees it


@pytest.fixture
def public(make_broker, sts):
    """A broker in web_identity mode behind a front that is its public URL."""
    port = free_port()
    with Front(f"http://127.0.0.1:{port}") as front:
        broker = make_broker(
            {
                "issuer": front.url,
                "aws": {"exchange": "web_identity", "sts_endpoint": sts.endpoint},
                "roles": {"agent": {"arn": sts.role_arn}},
                "environment": {"bucket": sts.bucket},
            },
            port=port,
        )
        sts.trust_issuer(front.url, cooldown_seconds=0.2)
        broker.front = front
        yield broker


def test_what_a_sound_issuer_shows(public):
    found = doctor(public)
    found.fails(LOOPBACK)
    assert {"discovery", "issuer_bytes", "jwks", "signing_key", "clock", "exchange"} <= found.named("pass")
    assert "daemon_key" in found.named("skip")
    # There is no key to ask IAM with.
    assert found.named("unknown") == {"provider", "trust_policy"}


def test_an_issuer_with_other_bytes(public):
    public.front.edit = lambda path, body: edited(body, issuer=lambda v: v + "/")
    found = doctor(public)
    found.fails(LOOPBACK, "issuer_bytes", "exchange")
    found.says("issuer_bytes", public.front.url + "/", "byte by byte")


def edited(body: bytes, **changes) -> bytes:
    document = json.loads(body)
    for name, change in changes.items():
        if name in document:
            document[name] = change(document[name])
    return json.dumps(document).encode()


def test_a_slow_discovery(public):
    public.front.delay_seconds = 5.5
    found = doctor(public, "--no-exchange")
    found.fails(LOOPBACK, "discovery")
    found.says("discovery", "5s", "within 5 s")
    assert {"issuer_bytes", "jwks", "signing_key"} <= found.named("skip")


def test_a_redirect(public):
    public.front.redirect_to = "https://elsewhere.example/"
    found = doctor(public, "--no-exchange")
    found.fails(LOOPBACK, "discovery")
    found.says("discovery", "redirects")


def test_an_issuer_that_does_not_answer(public):
    public.terminate()
    found = doctor(public, "--no-exchange")
    found.fails(LOOPBACK, "discovery")


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda keys: [dict(key, kid="another") for key in keys], "lacks the current key"),
        (lambda keys: [dict(key, x=key["x"][:-2]) for key in keys], "coordinate x"),
        (lambda keys: [dict(key, alg="RS256") for key in keys], "alg"),
    ],
    ids=["without the current kid", "with a short coordinate", "with another algorithm"],
)
def test_a_key_set(public, change, told):
    public.front.edit = lambda path, body: edited(body, keys=change)
    found = doctor(public, "--no-exchange")
    found.fails(LOOPBACK, "signing_key")
    found.says("signing_key", told)


def test_an_empty_key_set(public):
    public.front.edit = lambda path, body: edited(body, keys=lambda keys: [])
    found = doctor(public, "--no-exchange")
    found.fails(LOOPBACK, "jwks")


def test_a_provider_that_is_not_registered_and_one_that_is(make_broker, account, tmp_path):
    """Asked of ministack's IAM with the key that a web_identity broker may have."""
    owner, port = account.account, free_port()
    root = (account.root_access_key, account.root_secret_key)
    with Front(f"http://127.0.0.1:{port}") as front:
        broker = make_broker(
            {
                "issuer": front.url,
                "aws": {"exchange": "web_identity", "sts_endpoint": account.endpoint},
                "roles": {"agent": {"arn": owner.role_arn}},
                "environment": {"bucket": owner.bucket},
            },
            port=port,
            daemon_key=root,
        )
        arguments = ("--iam-endpoint", account.endpoint, "--no-exchange")
        found = doctor(broker, *arguments)
        assert "provider" in found.named("fail")
        found.says("provider", "not registered", "aws policies")
        found.says("trust_policy", "does not trust")
        printed = aws_setup.documents(broker, tmp_path)
        iam = account.admin("iam")
        # IAM takes https alone; the name under which the provider goes is the same.
        url = front.url.replace("http://", "https://")

        def register(client_id):
            answer = iam.create_open_id_connect_provider(Url=url, ClientIDList=[client_id], ThumbprintList=[])
            return answer["OpenIDConnectProviderArn"]

        arn = register("another")
        try:
            iam.update_assume_role_policy(
                RoleName="agentkeys-agent", PolicyDocument=json.dumps(printed["trust-policy"])
            )
            found = doctor(broker, *arguments)
            found.says("provider", "lacks the client id", "add-client-id-to-open-id-connect-provider")
            iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
            register("sts.amazonaws.com")
            assert {"provider", "trust_policy"} <= doctor(broker, *arguments).named("pass")
        finally:
            iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)


def test_a_private_certificate_needs_to_be_named(make_broker, sts):
    broker = make_broker(
        {
            "aws": {"exchange": "web_identity", "sts_endpoint": sts.endpoint},
            "roles": {"agent": {"arn": sts.role_arn}},
            "environment": {"bucket": sts.bucket},
        },
        tls=True,
    )
    found = doctor(broker, "--no-exchange")
    found.fails(LOOPBACK, "discovery")
    found.says("discovery", "certificate")
    found = doctor(broker, "--no-exchange", "--ca-file", str(broker.ca))
    found.fails(LOOPBACK)
    nonsense = broker.run_cli("aws", "doctor", "--ca-file", str(broker.config_file))
    assert nonsense.exit_code == 1 and "no PEM certificate" in nonsense.stderr


@pytest.mark.slow
def test_a_real_sts_and_a_real_s3(seaweed_broker, seaweedfs, make_broker):
    """SeaweedFS knows no tags, and its role is as wide as the bucket: the session policy alone isolates."""
    settings = _overlay(seaweed_broker.settings, {"environment": {"s3_endpoint": seaweedfs.endpoint}})
    broker = make_broker(settings, start=False)
    broker.data_dir = seaweed_broker.data_dir
    found = doctor(broker)
    found.fails(LOOPBACK, "role_isolation")
    assert {"exchange", "isolation", "signing_key"} <= found.named("pass")
