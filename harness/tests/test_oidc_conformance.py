"""The broker as an OpenID Connect issuer, judged by libraries that know nothing of it."""
from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import jwt
import pytest

from expect import ULID, instant, new_wallet
from http_client import Client
from tiny_issuer import decode, thumbprint

NODE_MODULES = Path(__file__).resolve().parents[2] / ".tools" / "node"
TAGS_CLAIM = "https://aws.amazon.com/tags"

JOSE = """
import { createRemoteJWKSet, jwtVerify } from 'jose';
const [issuer, audience] = process.argv.slice(1);
let token = '';
for await (const chunk of process.stdin) token += chunk;
const discovery = await (await fetch(issuer + '/.well-known/openid-configuration')).json();
const keys = createRemoteJWKSet(new URL(discovery.jwks_uri));
const { payload, protectedHeader } = await jwtVerify(token.trim(), keys, { issuer, audience, algorithms: ['ES256'], typ: 'JWT' });
console.log(JSON.stringify({ payload, protectedHeader }));
"""


@pytest.fixture
def broker(shared_broker):
    return shared_broker


def discovery(broker) -> dict:
    return broker.get("/.well-known/openid-configuration").json()


def jwks(broker) -> dict:
    return broker.get("/.well-known/jwks.json").json()


# Discovery and keys


def test_discovery_has_what_the_specification_requires(broker):
    answer = broker.get("/.well-known/openid-configuration")
    assert answer.status == 200 and answer.header("content-type").startswith("application/json")
    document = answer.json()
    assert document["issuer"] == broker.issuer
    assert document["jwks_uri"] == f"{broker.issuer}/.well-known/jwks.json"
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]
    assert document["response_types_supported"] and document["subject_types_supported"]
    for name in ("iss", "sub", "aud", "iat", "exp", "agentkeys_user_wallet", TAGS_CLAIM):
        assert name in document["claims_supported"]


def test_keys_are_public_p256_with_whole_coordinates(broker):
    keys = jwks(broker)["keys"]
    assert 1 <= len(keys) <= 100
    for key in keys:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}, "and never d"
        assert (key["kty"], key["crv"], key["use"], key["alg"]) == ("EC", "P-256", "sig", "ES256")
        assert len(decode(key["x"])) == 32 and len(decode(key["y"])) == 32
        assert key["kid"] == thumbprint(key), "kid is the RFC 7638 thumbprint"
    assert len({key["kid"] for key in keys}) == len(keys)


def test_the_jwks_can_be_cached_and_revalidated(broker):
    first = broker.get("/.well-known/jwks.json")
    assert first.header("cache-control") == "public, max-age=300"
    etag = first.header("etag")
    assert etag and etag.strip('W/').startswith('"')
    again = broker.get("/.well-known/jwks.json", headers={"If-None-Match": etag})
    assert again.status == 304 and again.body == b"" and again.header("etag") == etag
    assert broker.get("/.well-known/jwks.json", headers={"If-None-Match": f'"other", {etag}'}).status == 304
    assert broker.get("/.well-known/jwks.json", headers={"If-None-Match": '"other"'}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example"},
        {"X-Forwarded-Proto": "https"},
        {"Forwarded": "host=evil.example;proto=https"},
        {"X-Original-Host": "evil.example"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_no_header_changes_the_issuer(broker, headers):
    answer = broker.get("/.well-known/openid-configuration", headers=headers)
    if answer.status == 200:
        assert answer.json() == discovery(broker)
    else:
        # A server may also refuse a host that is not its own.
        assert answer.status in (400, 421), answer
    assert "evil.example" not in answer.text
    minted = broker.post("/v1/mint-oidc-jwt", {}, token=broker.token(), headers=headers)
    if minted.status == 200:
        assert broker.verify_jwt(minted.json()["jwt"])["iss"] == broker.issuer


# The token


def test_the_answer_and_the_token_agree(broker):
    wallet = new_wallet()
    minted = broker.mint_jwt(broker.token(wallet))
    assert set(minted) == {"jwt", "wallet", "expiration", "kid", "mint_id"}
    claims = broker.verify_jwt(minted["jwt"])
    assert set(claims) >= {"iss", "sub", "aud", "iat", "nbf", "exp", "jti", "agentkeys_user_wallet", TAGS_CLAIM}
    assert claims["sub"] == f"agentkeys:agent:{wallet}"
    assert claims["aud"] == "sts.amazonaws.com"
    assert claims["jti"] == minted["mint_id"] and ULID.fullmatch(minted["mint_id"])
    assert claims["agentkeys_user_wallet"] == minted["wallet"] == wallet
    assert claims[TAGS_CLAIM]["principal_tags"] == {"agentkeys_user_wallet": [wallet]}
    assert claims["exp"] - claims["iat"] == 300
    assert all(type(claims[name]) is int for name in ("iat", "nbf", "exp"))
    assert claims["iat"] <= time.time() + 1, "never from the future"
    assert instant(minted["expiration"]) == claims["exp"]
    header = jwt.get_unverified_header(minted["jwt"])
    assert header == {"alg": "ES256", "typ": "JWT", "kid": minted["kid"]}


def test_no_mint_cacheable_and_each_its_own_id(broker):
    token = broker.token()
    answers = [broker.try_mint_jwt(token) for _ in range(3)]
    assert all(answer.header("cache-control") == "no-store" for answer in answers)
    assert len({answer.json()["mint_id"] for answer in answers}) == 3


@pytest.mark.parametrize("ttl", [60, 300, 3600])
def test_a_life_within_the_limits_is_given(broker, ttl):
    claims = broker.verify_jwt(broker.mint_jwt(broker.token(), ttl_seconds=ttl)["jwt"])
    assert claims["exp"] - claims["iat"] == ttl


@pytest.mark.parametrize("ttl", [59, 3601, 0, -1, 10**12])
def test_a_life_outside_the_limits_is_refused(broker, ttl):
    answer = broker.try_mint_jwt(broker.token(), ttl_seconds=ttl)
    assert answer.status == 400, answer
    assert answer.problem()["code"] == "bad_request"


def test_a_token_never_outlives_its_session(broker):
    session = broker.session_issue(ttl="2m")
    answer = broker.try_mint_jwt(session["token"], ttl_seconds=3600)
    if answer.status == 200:
        claims = broker.verify_jwt(answer.json()["jwt"])
        assert claims["exp"] <= instant(session["expires_at"])
    else:
        assert 400 <= answer.status < 500, answer


def test_an_audience_without_a_grant_is_refused(broker):
    answer = broker.try_mint_jwt(broker.token(), audience="https://another.example")
    assert answer.status == 403, answer
    assert answer.problem()["code"] in ("no_grant", "insufficient_scope")


def test_the_default_audience_may_be_named(broker):
    minted = broker.mint_jwt(broker.token(), audience="sts.amazonaws.com")
    assert broker.verify_jwt(minted["jwt"])["aud"] == "sts.amazonaws.com"


# Other people's verifiers


def test_pyjwts_own_jwks_client_verifies(broker):
    token = broker.mint_jwt(broker.token())["jwt"]
    key = jwt.PyJWKClient(discovery(broker)["jwks_uri"]).get_signing_key_from_jwt(token)
    claims = jwt.decode(token, key.key, algorithms=["ES256"], audience="sts.amazonaws.com", issuer=broker.issuer)
    assert claims["iss"] == broker.issuer


def test_npm_jose_verifies(broker):
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (NODE_MODULES / "node_modules" / "jose").exists():
        pytest.skip("npm's jose is missing: scripts/bootstrap said why")
    token = broker.mint_jwt(broker.token())["jwt"]
    # By standard input: an argument could be seen by every user of the machine.
    done = subprocess.run(
        ["node", "--input-type=module", "-e", JOSE, broker.issuer, "sts.amazonaws.com"],
        cwd=NODE_MODULES,
        input=token,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["payload"]["iss"] == broker.issuer


def test_another_issuers_verifier_refuses(broker):
    token = broker.mint_jwt(broker.token())["jwt"]
    key = jwt.PyJWKClient(discovery(broker)["jwks_uri"]).get_signing_key_from_jwt(token)
    with pytest.raises(jwt.InvalidIssuerError):
        jwt.decode(token, key.key, algorithms=["ES256"], audience="sts.amazonaws.com", issuer=broker.issuer + "/")
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key.key, algorithms=["ES256"], audience="another", issuer=broker.issuer)


# Rotation


def test_rotation_overlaps(role_broker):
    broker = role_broker()
    old = broker.mint_jwt(broker.token())
    broker.cli_rows("keys", "generate")
    published = {key["kid"] for key in jwks(broker)["keys"]}
    assert old["kid"] in published and len(published) == 2, "the next key is published before it signs"
    assert broker.mint_jwt(broker.token())["kid"] == old["kid"], "and does not sign yet"
    too_soon = broker.run_cli("keys", "rotate", "--json")
    assert too_soon.exit_code != 0 and "--force" in too_soon.output, "AWS may not have seen the new key yet"
    broker.cli_rows("keys", "rotate", "--force")
    fresh = broker.mint_jwt(broker.token())
    assert fresh["kid"] != old["kid"] and fresh["kid"] in published
    assert broker.verify_jwt(old["jwt"]), "a token of the retired key still verifies"
    assert broker.verify_jwt(fresh["jwt"])


def test_keys_survive_a_restart(role_broker):
    broker = role_broker()
    before = broker.mint_jwt(broker.token())
    assert broker.terminate() == 0
    broker.start()
    assert broker.mint_jwt(broker.token())["kid"] == before["kid"]
    with Client(broker.url) as client:
        assert client.request("GET", "/healthz").status == 200
    assert broker.verify_jwt(before["jwt"])
