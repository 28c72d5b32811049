"""The strict STS double refuses what AWS refuses, and grants what AWS grants.

A double that is too kind makes every test against it worthless, so each rule
has a token or a request that breaks that rule and nothing else.
"""
from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jwt as pyjwt
import pytest
from botocore.exceptions import ClientError

from peers import s3
from peers.process import wait_until
from sts_double import account as accounts
from sts_double.providers import Provider
from sts_double.server import Double, serve
from tiny_issuer import WALLET, SigningKey, TinyIssuer, decode, encode

ACCOUNT = "111122223333"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/agentkeys-agent"
BUCKET = "agentkeys-mail"
OTHER = "0x" + "b2" * 20
KEY, SECRET = "AKIAUNITTESTUNITTEST", base64.b64encode(bytes(range(30))).decode()
TAG = "agentkeys_user_wallet"


class Sts:
    """A double in this process, with one provider, and the calls to it."""

    def __init__(self, issuer: TinyIssuer) -> None:
        self.issuer = issuer
        self.account = accounts.Account(ACCOUNT, BUCKET, KEY, SECRET)
        self.provider = Provider(issuer.url, cooldown_seconds=0.2)
        self.account.add_provider(self.provider)
        self.account.add_role("agentkeys-agent", accounts.tag_policy(BUCKET))
        self.double = Double(self.account)
        self.server = serve(self.double)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.double.faults.clear()
        self.server.shutdown()
        self.server.server_close()

    def raw(self, form: dict, headers: dict = {}, timeout: float = 5) -> tuple:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            body = urllib.parse.urlencode(form)
            sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
            connection.request("POST", "/", body, sent)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def web_identity(self, token: str, headers: dict = {}, **changes: str) -> "Answer":
        form = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE_ARN,
            "RoleSessionName": "ak-01TEST",
            "WebIdentityToken": token,
            **changes,
        }
        return Answer(*self.raw({k: v for k, v in form.items() if v is not None}, headers))

    def client(self, key: str = KEY, secret: str = SECRET, session_token: str = None):
        return s3.client("sts", f"http://127.0.0.1:{self.port}", key, secret, session_token)


class Answer:
    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        self.root = ElementTree.fromstring(text)

    def __getitem__(self, name: str) -> str:
        found = next((e for e in self.root.iter() if e.tag.split("}")[-1] == name), None)
        assert found is not None, f"no {name} in {self.text}"
        return found.text

    @property
    def code(self) -> str:
        return self["Code"]


@pytest.fixture
def issuer():
    with TinyIssuer() as running:
        yield running


@pytest.fixture
def sts(issuer):
    running = Sts(issuer)
    yield running
    running.close()


# What is granted


def test_a_good_token_gets_credentials_in_awss_shape(sts, issuer):
    answer = sts.web_identity(issuer.token(), DurationSeconds="900")
    assert answer.status == 200, answer.text
    assert answer["SubjectFromWebIdentityToken"] == f"agentkeys:agent:{WALLET}"
    assert answer["Audience"] == "sts.amazonaws.com"
    assert answer["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/agentkeys-agent/ak-01TEST"
    assert answer["Provider"] == f"arn:aws:iam::{ACCOUNT}:oidc-provider/{sts.provider.name}"
    assert answer["AccessKeyId"].startswith("ASIA") and answer["SecretAccessKey"] and answer["SessionToken"]
    ends = time.mktime(time.strptime(answer["Expiration"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert abs(ends - (time.time() + 900)) < 5


def test_a_token_signed_by_another_library_passes(sts, issuer):
    token = pyjwt.encode(issuer.claims(), issuer.key.private, "ES256", headers={"kid": issuer.key.kid})
    assert sts.web_identity(token).status == 200


# The token


def refused_tokens(issuer: TinyIssuer) -> dict:
    now = int(time.time())
    stranger = SigningKey()
    claims = issuer.claims()
    tags = "https://aws.amazon.com/tags"
    hs256 = pyjwt.encode(claims, "k" * 32, "HS256", headers={"kid": issuer.key.kid})
    unsigned = f"{encode(json.dumps({'alg': 'none', 'kid': issuer.key.kid, 'typ': 'JWT'}).encode())}.{encode(json.dumps(claims).encode())}."
    twice = json.dumps(claims)[:-1] + ', "sub": "agentkeys:agent:other"}'
    good = issuer.token()
    return {
        "alg none": unsigned,
        "HS256": hs256,
        "alg ES384 over an ES256 signature": issuer.token({"alg": "ES384"}),
        "all-zero signature": issuer.token(signature=bytes(64)),
        "r of the curve's order": issuer.token(
            signature=bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2
        ),
        "short signature": issuer.token(signature=bytes(63)),
        "another key's signature": issuer.token(key=stranger),
        "changed payload": good.split(".")[0] + "." + encode(json.dumps(issuer.claims(sub="x" * 9)).encode()) + "." + good.split(".")[2],
        "no kid": issuer.token({"kid": None}),
        "unknown kid": issuer.token({"kid": stranger.kid}),
        "kid as a path": issuer.token({"kid": "../../dev/null"}),
        "jwk in the header": issuer.token({"jwk": stranger.jwk, "kid": stranger.kid}, key=stranger),
        "jku in the header": issuer.token({"jku": "http://127.0.0.1:1/"}),
        "no typ": issuer.token({"typ": None}),
        "crit": issuer.token({"crit": ["exp"]}),
        "two parts": ".".join(good.split(".")[:2]),
        "padded base64": good + "=",
        "claim twice": issuer.token(payload=twice.encode()),
        "payload not an object": issuer.token(payload=b"[]"),
        "trailing slash issuer": issuer.token(iss=issuer.url + "/"),
        "another issuer": issuer.token(iss="http://127.0.0.1:1"),
        "no iss": issuer.token(iss=None),
        "aud array": issuer.token(aud=["sts.amazonaws.com"]),
        "aud unknown": issuer.token(aud="sts.amazonaws.com.evil"),
        "aud absent": issuer.token(aud=None),
        "exp absent": issuer.token(exp=None),
        "exp string": issuer.token(exp=str(now + 300)),
        "exp float": issuer.token(exp=now + 300.5),
        "iat absent": issuer.token(iat=None),
        "iat bool": issuer.token(iat=True),
        "iat in the future": issuer.token(iat=now + 400, nbf=None, exp=now + 900),
        "nbf in the future": issuer.token(nbf=now + 400, exp=now + 900),
        "nbf string": issuer.token(nbf=str(now)),
        "exp before iat": issuer.token(exp=now - 10),
        "sub too short": issuer.token(sub="short"),
        "sub too long": issuer.token(sub="s" * 256),
        "sub with a space": issuer.token(sub="agentkeys agent"),
        "sub beyond ASCII": issuer.token(sub="agentkeys:é"),
        "tag as a plain string": issuer.token(**{tags: {"principal_tags": {TAG: WALLET}}}),
        "tag with two values": issuer.token(**{tags: {"principal_tags": {TAG: [WALLET, OTHER]}}}),
        "tag with no value": issuer.token(**{tags: {"principal_tags": {TAG: []}}}),
        "tags claim with a stray member": issuer.token(**{tags: {"principal_tags": {TAG: [WALLET]}, "x": 1}}),
        "transitive key without tag": issuer.token(
            **{tags: {"principal_tags": {TAG: [WALLET]}, "transitive_tag_keys": ["other"]}}
        ),
        "the same tag in two cases": issuer.token(
            **{tags: {"principal_tags": {TAG: [WALLET], TAG.upper(): [OTHER]}}}
        ),
        "another role in the roles claim": issuer.token(
            **{"https://aws.amazon.com/roles": "arn:aws:iam::111122223333:role/other"}
        ),
    }


def test_every_broken_token_is_refused(sts, issuer):
    assert sts.web_identity(issuer.token()).status == 200, "the unbroken one must pass"
    passed, wrong = [], []
    for what, token in refused_tokens(issuer).items():
        answer = sts.web_identity(token)
        if answer.status == 200:
            passed.append(what)
        elif answer.code != "InvalidIdentityToken":
            wrong.append((what, answer.code))
    assert not passed, f"accepted: {passed}"
    assert not wrong, f"refused with another code: {wrong}"


def test_an_expired_token_has_its_own_code(sts, issuer):
    now = int(time.time())
    answer = sts.web_identity(issuer.token(iat=now - 1000, nbf=None, exp=now - 301))
    assert (answer.status, answer.code) == (400, "ExpiredTokenException")


def test_clock_tolerance_is_the_configured_one(sts, issuer):
    now = int(time.time())
    assert sts.web_identity(issuer.token(iat=now + 250, nbf=None, exp=now + 600)).status == 200
    sts.double.tolerance = 60
    assert sts.web_identity(issuer.token(iat=now + 250, nbf=None, exp=now + 600)).status == 400


# The issuer, fetched over the network


def unpad_x(issuer: TinyIssuer) -> None:
    """A key whose x begins with a zero byte, published without it: the same number, the wrong length."""
    while decode(issuer.key.x)[0] != 0:
        issuer.key = SigningKey()
    issuer.jwks = {"keys": [{**issuer.key.jwk, "x": encode(decode(issuer.key.x)[1:])}]}


def test_keys_are_cached_and_an_unknown_kid_refetches_once_per_cooldown(sts, issuer):
    sts.web_identity(issuer.token())
    for _ in range(20):
        sts.web_identity(issuer.token({"kid": "forged"}))
    assert issuer.requests.count("/jwks") <= 2
    fresh = SigningKey()
    issuer.jwks = {"keys": [issuer.key.jwk, fresh.jwk]}
    token = issuer.token({"kid": fresh.kid}, key=fresh)
    deadline = time.monotonic() + 3
    while sts.web_identity(token).status != 200:
        assert time.monotonic() < deadline, "a newly published key is never picked up"
        time.sleep(0.05)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda i: setattr(i, "discovery", {**i.well_known(), "issuer": i.url + "/"}),
        lambda i: setattr(i, "jwks", {"keys": []}),
        lambda i: setattr(i, "jwks", None),
        lambda i: setattr(i, "jwks", {"keys": [{**i.key.jwk, "d": "AAAA"}]}),
        lambda i: setattr(i, "jwks", {"keys": [{**i.key.jwk, "alg": None}]}),
        lambda i: unpad_x(i),
        lambda i: setattr(i, "jwks", {"keys": [i.key.jwk] * 101}),
    ],
    ids=["issuer differs", "no keys", "404", "private key", "no alg", "unpadded x", "101 keys"],
)
def test_an_issuer_that_breaks_the_rules_has_no_verification_key(sts, issuer, break_it):
    break_it(issuer)
    answer = sts.web_identity(issuer.token())
    assert answer.code == "InvalidIdentityToken"
    assert "Couldn't retrieve verification key" in answer["Message"]


def test_an_issuer_that_is_slower_than_five_seconds_is_not_waited_for(sts, issuer):
    released = threading.Event()
    issuer.before_answer = lambda: released.wait(20) and None
    started = time.monotonic()
    status, text = sts.raw(
        {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE_ARN,
            "RoleSessionName": "slow",
            "WebIdentityToken": issuer.token(),
        },
        timeout=15,
    )
    took = time.monotonic() - started
    released.set()
    assert status == 400 and "Couldn't retrieve verification key" in text
    assert 4.5 < took < 7


# The request


def test_credentials_on_the_unsigned_operation_are_refused(sts, issuer):
    for name in ("Authorization", "X-Amz-Security-Token"):
        answer = sts.web_identity(issuer.token(), headers={name: "anything"})
        assert (answer.status, answer.code) == (403, "InvalidClientTokenId")


@pytest.mark.parametrize(
    "change",
    [
        {"RoleSessionName": "x"},
        {"RoleSessionName": "x" * 65},
        {"RoleSessionName": "has space"},
        {"RoleSessionName": "né"},
        {"RoleSessionName": None},
        {"RoleArn": "arn:aws:iam::1:role/x"},
        {"DurationSeconds": "899"},
        {"DurationSeconds": "43201"},
        {"DurationSeconds": "3601"},
        {"DurationSeconds": "9e2"},
        {"Policy": json.dumps({"Version": "2012-10-17", "Statement": [], "pad": "x" * 2100})},
        {"Policy": "\u20ac"},
        {"WebIdentityToken": "x" * 20001},
        {"Tags.member.1.Key": TAG, "Tags.member.1.Value": WALLET},
    ],
    ids=str,
)
def test_limits_of_the_service_model(sts, issuer, change):
    answer = sts.web_identity(issuer.token(), **change)
    assert (answer.status, answer.code) == (400, "ValidationError")


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "[]",
        json.dumps({"Version": "2008-10-17", "Statement": []}),
        json.dumps({"Version": "2012-10-17", "Statement": []}),
        json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*"}]}),
        json.dumps(
            {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Principal": "*"}]}
        ),
        json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"Sounds": {"a": "b"}}}],
            }
        ),
    ],
)
def test_a_policy_that_does_not_parse(sts, issuer, document):
    assert sts.web_identity(issuer.token(), Policy=document).code == "MalformedPolicyDocument"


def test_unknown_operations_and_versions(sts, issuer):
    assert sts.web_identity(issuer.token(), Action="GetSessionToken").code == "InvalidAction"
    assert sts.web_identity(issuer.token(), Version="2010-01-01").code == "InvalidAction"


# The trust policy


def test_without_the_wallet_tag_the_trust_policy_refuses(sts, issuer):
    bare = issuer.token(**{"https://aws.amazon.com/tags": None})
    assert (sts.web_identity(bare).status, sts.web_identity(bare).code) == (403, "AccessDenied")
    empty = issuer.token(**{"https://aws.amazon.com/tags": {"principal_tags": {}}})
    assert sts.web_identity(empty).code == "AccessDenied"


def test_without_tag_session_in_the_trust_policy_a_tagged_token_is_refused(sts, issuer):
    trust = sts.account.trust_policy(sts.account.roles[ROLE_ARN])
    for statement in trust["Statement"]:
        statement["Action"] = [a for a in statement["Action"] if a != "sts:TagSession"]
    sts.account.roles[ROLE_ARN].trust = trust
    assert sts.web_identity(issuer.token()).code == "AccessDenied"


def test_the_audience_condition_is_evaluated(sts, issuer):
    trust = sts.account.trust_policy(sts.account.roles[ROLE_ARN])
    trust["Statement"][0]["Condition"]["StringEquals"] = {f"{sts.provider.name}:aud": "another"}
    sts.account.roles[ROLE_ARN].trust = trust
    assert sts.web_identity(issuer.token()).code == "AccessDenied"


def test_a_source_identity_needs_its_own_permission(sts, issuer):
    claim = {"https://aws.amazon.com/source_identity": "ses_01"}
    assert sts.web_identity(issuer.token(**claim))["SourceIdentity"] == "ses_01"
    trust = sts.account.trust_policy(sts.account.roles[ROLE_ARN])
    trust["Statement"][0]["Action"].remove("sts:SetSourceIdentity")
    sts.account.roles[ROLE_ARN].trust = trust
    assert sts.web_identity(issuer.token(**claim)).code == "AccessDenied"


def test_an_unknown_role_is_told_like_an_untrusting_one(sts, issuer):
    other = sts.web_identity(issuer.token(), RoleArn=f"arn:aws:iam::{ACCOUNT}:role/no-such-role")
    assert (other.status, other.code) == (403, "AccessDenied")


# The signed operations, judged against botocore's own signatures


def assume(client, **changes):
    arguments = {
        "RoleArn": ROLE_ARN,
        "RoleSessionName": "ak-01TEST",
        "Tags": [{"Key": TAG, "Value": WALLET}],
        "TransitiveTagKeys": [TAG],
        **changes,
    }
    return client.assume_role(**{k: v for k, v in arguments.items() if v is not None})


def refusal(call) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.response["Error"]["Code"]


def test_a_signed_assume_role_with_tags(sts):
    answer = assume(sts.client())
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/agentkeys-agent/ak-01TEST"
    credentials = answer["Credentials"]
    mine = sts.client(credentials["AccessKeyId"], credentials["SecretAccessKey"], credentials["SessionToken"])
    assert mine.get_caller_identity()["Arn"].endswith("assumed-role/agentkeys-agent/ak-01TEST")


def test_signatures_that_do_not_hold(sts):
    assert refusal(sts.client(secret="x" * 40).get_caller_identity) == "SignatureDoesNotMatch"
    assert refusal(sts.client(key="AKIANOSUCHKEYNOSUCH0").get_caller_identity) == "InvalidClientTokenId"
    answer = assume(sts.client())["Credentials"]
    without_token = sts.client(answer["AccessKeyId"], answer["SecretAccessKey"])
    assert refusal(without_token.get_caller_identity) == "InvalidClientTokenId"
    unsigned = Answer(*sts.raw({"Action": "GetCallerIdentity", "Version": "2011-06-15"}))
    assert (unsigned.status, unsigned.code) == (403, "MissingAuthenticationToken")


def test_a_signature_covers_the_body(sts):
    """The same signed headers over another body."""
    client, seen = sts.client(), {}
    client.meta.events.register(
        "before-send.sts.*", lambda request, **_: seen.update(headers=dict(request.headers), body=request.body)
    )
    client.get_caller_identity()
    headers = {k: (v.decode() if isinstance(v, bytes) else v) for k, v in seen["headers"].items()}
    headers.pop("Content-Length")
    form = {"Action": "AssumeRole", "Version": "2011-06-15", "RoleArn": ROLE_ARN, "RoleSessionName": "stolen"}
    replayed = Answer(*sts.raw(form, headers))
    assert replayed.code == "SignatureDoesNotMatch"


def test_assume_role_needs_the_tag_and_obeys_the_limits(sts):
    client = sts.client()
    assert refusal(lambda: assume(client, Tags=None, TransitiveTagKeys=None)) == "AccessDenied"
    assert refusal(lambda: assume(client, TransitiveTagKeys=["other"])) == "ValidationError"
    assert refusal(lambda: assume(client, Tags=[{"Key": TAG, "Value": 'a"b'}])) == "ValidationError"
    assert refusal(lambda: assume(client, Tags=[{"Key": TAG, "Value": "v" * 257}])) == "ValidationError"
    assert refusal(lambda: assume(client, Tags=[{"Key": "aws:x", "Value": "v"}])) == "ValidationError"
    assert refusal(lambda: assume(client, DurationSeconds=7200)) == "ValidationError"


# What the credentials reach


def reach(sts, credentials, action, key="", prefix=None):
    resource = f"arn:aws:s3:::{BUCKET}" + (f"/{key}" if key else "")
    return accounts.authorize(sts.account, credentials, action, resource, prefix)


def test_the_tag_alone_isolates_under_the_tag_policy(sts, issuer):
    key = sts.web_identity(issuer.token())["AccessKeyId"]
    assert reach(sts, key, "s3:GetObject", f"bots/{WALLET}/mail")["allowed"]
    assert not reach(sts, key, "s3:GetObject", f"bots/{OTHER}/mail")["allowed"]
    assert reach(sts, key, "s3:ListBucket", prefix=f"bots/{WALLET}/")["allowed"]
    assert not reach(sts, key, "s3:ListBucket", prefix="bots/")["allowed"]
    assert not reach(sts, key, "s3:ListBucket")["allowed"]


def test_without_tag_the_variable_expands_to_nothing(sts, issuer):
    sts.account.roles[ROLE_ARN].trust = {
        "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRoleWithWebIdentity"}]
    }
    key = sts.web_identity(issuer.token(**{"https://aws.amazon.com/tags": None}))["AccessKeyId"]
    assert not reach(sts, key, "s3:GetObject", "bots//mail")["allowed"]
    assert not reach(sts, key, "s3:GetObject", f"bots/{WALLET}/mail")["allowed"]


def test_a_tag_with_a_wildcard_reaches_nothing_more(sts):
    key = assume(sts.client(), Tags=[{"Key": TAG, "Value": "="}])["Credentials"]["AccessKeyId"]
    sts.account.session(key).tags[TAG] = "*"
    assert not reach(sts, key, "s3:GetObject", f"bots/{WALLET}/mail")["allowed"]


def test_a_session_policy_restricts_and_cannot_widen(sts, issuer):
    only_read = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}],
    }
    key = sts.web_identity(issuer.token(), Policy=json.dumps(only_read))["AccessKeyId"]
    assert reach(sts, key, "s3:GetObject", f"bots/{WALLET}/mail")["allowed"]
    assert not reach(sts, key, "s3:PutObject", f"bots/{WALLET}/mail")["allowed"]
    assert not reach(sts, key, "s3:GetObject", f"bots/{OTHER}/mail")["allowed"]


def test_an_explicit_deny_wins(sts, issuer):
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"},
        ],
    }
    key = sts.web_identity(issuer.token(), Policy=json.dumps(document))["AccessKeyId"]
    verdict = reach(sts, key, "s3:PutObject", f"bots/{WALLET}/mail")
    assert (verdict["allowed"], verdict["session_policy"]) == (False, "explicit_deny")


def test_short_lived_credentials_expire(sts, issuer):
    sts.double.short_life = 0.2
    key = sts.web_identity(issuer.token())["AccessKeyId"]
    deadline = time.monotonic() + 3
    while reach(sts, key, "s3:GetObject", f"bots/{WALLET}/mail")["allowed"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_ended_credential_signs_nothing(sts, issuer):
    sts.double.short_life = 0.2
    given = sts.web_identity(issuer.token())
    client = sts.client(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])

    def refusal() -> str:
        try:
            client.get_caller_identity()
            return ""
        except ClientError as error:
            return error.response["Error"]["Code"]

    wait_until(lambda: refusal() == "ExpiredToken", 3, "the credential has ended")


# Faults and records


@pytest.mark.parametrize(
    "kind, status, expected",
    [
        ("throttling", 400, "Rate exceeded"),
        ("verification_key", 400, "Couldn't retrieve verification key"),
        ("idp_communication", 400, "IDPCommunicationError"),
        ("expired_token", 400, "ExpiredTokenException"),
        ("access_denied", 403, "AccessDenied"),
        ("packed_policy", 400, "PackedPolicyTooLarge"),
        ("region_disabled", 403, "RegionDisabledException"),
        ("http_500", 500, "InternalFailure"),
        ("http_502", 502, "<h1>502"),
        ("http_503", 503, "ServiceUnavailable"),
        ("html_200", 200, "<html>"),
        ("empty_credentials", 200, "<AccessKeyId></AccessKeyId>"),
        ("other_account", 200, "arn:aws:sts::999999999999:"),
    ],
)
def test_a_fault_strikes_as_often_as_ordered(sts, issuer, kind, status, expected):
    sts.double.faults.add({"kind": kind, "count": 1})
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE_ARN,
        "RoleSessionName": "fault",
        "WebIdentityToken": issuer.token(),
    }
    got, text = sts.raw(form)
    assert got == status and expected in text
    assert sts.raw(form)[0] == 200, "the fault must be used up"


def spoilt(sts, issuer, kind):
    sts.double.faults.add({"kind": kind, "count": 1})
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE_ARN,
        "RoleSessionName": "fault",
        "WebIdentityToken": issuer.token(),
    }
    return sts.raw(form)


def test_answers_that_lie(sts, issuer):
    assert "Credentials" not in spoilt(sts, issuer, "no_credentials")[1]
    assert json.loads(spoilt(sts, issuer, "json")[1])["Credentials"]["AccessKeyId"].startswith("ASIA")
    expired = Answer(*spoilt(sts, issuer, "expired_credentials"))["Expiration"]
    assert expired < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert len(spoilt(sts, issuer, "oversize")[1]) >= 32 << 20


def test_faults_on_the_wire(sts, issuer):
    with pytest.raises(http.client.IncompleteRead):
        spoilt(sts, issuer, "truncated")
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        spoilt(sts, issuer, "reset")


def test_a_hanging_call_is_let_go_when_faults_are_cleared(sts, issuer):
    sts.double.faults.add({"kind": "hang", "seconds": 60})
    outcome = []

    def call():
        try:
            outcome.append(sts.web_identity(issuer.token()))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(0.3)
    assert thread.is_alive(), "it must hang"
    assert sts.double.calls.all()[-1]["fault"] == "hang", "a hanging call is on record at once"
    sts.double.faults.clear()
    thread.join(3)
    assert not thread.is_alive() and isinstance(outcome[0], Exception)


def test_faults_strike_only_the_mints_unless_told(sts):
    sts.double.faults.add({"kind": "http_500"})
    assert sts.client().get_caller_identity()["Account"] == ACCOUNT
    sts.double.faults.add({"kind": "access_denied", "operation": "GetCallerIdentity"})
    assert refusal(sts.client().get_caller_identity) == "AccessDenied"


def test_an_unknown_fault_is_an_error_and_not_a_quiet_success(sts):
    with pytest.raises(ValueError):
        sts.double.faults.add({"kind": "trottling"})


def test_the_record_has_what_was_sent_and_no_secret(sts, issuer):
    token = issuer.token()
    sts.web_identity(token, Policy='{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}')
    assume(sts.client())
    web, signed = sts.double.calls.all()
    assert web["claims"]["jti"] == "01TEST" and not web["has_authorization"]
    assert web["jwt_header"]["kid"] == issuer.key.kid and json.loads(web["policy"])
    assert signed["tags"] == {TAG: WALLET} and signed["transitive_tag_keys"] == [TAG]
    assert signed["has_authorization"] and signed["signed_by"] == KEY and signed["outcome"] == "ok"
    record = json.dumps([web, signed])
    assert token not in record and SECRET not in record and "Signature=" not in record


def test_it_runs_as_a_module_and_says_when_it_is_ready():
    child = subprocess.Popen(
        [sys.executable, "-m", "sts_double", "--port", "0", "--issuer", "http://127.0.0.1:1"],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        line = child.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:")
        port = int(line.rsplit(":", 1)[1])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/__health")
        assert json.loads(connection.getresponse().read()) == {"ok": True}
        connection.close()
    finally:
        child.terminate()
        child.wait(5)
        child.stdout.close()
