"""The endpoints of sessions, pairing and stored keys, as a program without our client would call them."""
from __future__ import annotations

import secrets
import time
import urllib.parse

import pytest

from expect import TOKEN, new_wallet, refused

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"


@pytest.fixture
def broker(shared_broker):
    return shared_broker


@pytest.fixture
def session(broker) -> dict:
    return broker.session_issue(new_wallet())


def form(broker, path: str, fields: dict, session_token=None):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return broker.request("POST", path, urllib.parse.urlencode(fields), token=session_token, headers=headers)


def child(broker, parent: str, **fields):
    return form(
        broker,
        "/oauth/token",
        {"grant_type": EXCHANGE, "subject_token": parent, "subject_token_type": ACCESS_TOKEN, **fields},
    )


# Exchange, revocation, introspection


def test_a_child_is_narrower_than_its_parent(broker, session):
    answer = child(broker, session["token"], scope="read_only max_duration:900", expires_in="600")
    assert answer.status == 200 and answer.header("cache-control") == "no-store", answer
    made = answer.json()
    assert made["scope"] == "read_only max_duration:900" and 590 <= made["expires_in"] <= 600
    assert made["wallet"] == session["wallet"]
    shown = broker.get("/v1/session", token=made["access_token"]).json()
    assert shown["kind"] == "child" and shown["parent"] == session["session_id"]
    wider = child(broker, made["access_token"], scope="max_duration:3600")
    assert wider.status == 400 and wider.json()["error"] == "invalid_scope"


def test_revoking_a_parent_ends_its_descendants_at_once(broker, session):
    first = child(broker, session["token"]).json()["access_token"]
    second = child(broker, first).json()["access_token"]
    assert broker.get("/v1/session", token=second).status == 200
    answer = form(broker, "/oauth/revoke", {"token": first}, session["token"])
    assert answer.status == 200 and answer.json()["revoked"] == 2, answer
    for token in (first, second):
        refused(broker.get("/v1/session", token=token), 401, "invalid_token")
    assert broker.get("/v1/session", token=session["token"]).status == 200, "the parent lives on"


def test_introspection_tells_of_descendants_and_of_nobody_else(broker, session):
    made = child(broker, session["token"], expires_in="600").json()
    told = form(broker, "/oauth/introspect", {"token": made["access_token"]}, session["token"]).json()
    assert told["active"] is True and told["wallet"] == session["wallet"]
    assert 0 < told["exp"] - time.time() <= 601
    other = broker.session_issue(new_wallet())
    for token in (other["token"], session["token"]):
        told = form(broker, "/oauth/introspect", {"token": token}, made["access_token"]).json()
        assert told == {"active": False}


def test_a_session_lists_itself_and_what_descends_from_it(broker, session):
    made = child(broker, session["token"], label="ci").json()
    listed = broker.get("/v1/sessions", token=session["token"]).json()["sessions"]
    assert {row["session_id"] for row in listed} == {session["session_id"], made["session_id"]}
    assert [row["session_id"] for row in broker.get("/v1/sessions", token=made["access_token"]).json()["sessions"]] == [
        made["session_id"]
    ]
    assert not TOKEN.search(str(listed))


# Pairing


def test_a_device_gets_a_session_once_somebody_let_it_in(broker):
    asked = form(broker, "/oauth/device_authorization", {"label": "laptop", "scope": "read_only"})
    assert asked.status == 200 and asked.header("cache-control") == "no-store", asked
    device = asked.json()
    assert device["expires_in"] == 600 and device["verification_uri"] == f"{broker.issuer}/pair"
    poll = {"grant_type": DEVICE, "device_code": device["device_code"]}
    pending = form(broker, "/oauth/token", poll)
    assert pending.status == 400 and pending.json()["error"] == "authorization_pending"
    wallet = new_wallet()
    broker.cli("pair", "approve", device["user_code"], "--wallet", wallet, "--read-only")
    time.sleep(device["interval"])
    paired = form(broker, "/oauth/token", poll)
    assert paired.status == 200, paired
    assert broker.get("/v1/session", token=paired.json()["access_token"]).json()["wallet"] == wallet
    again = form(broker, "/oauth/token", poll)
    assert again.status == 400 and again.json()["error"] == "invalid_grant", "a code works once"


def test_the_pairing_page_says_what_to_do(broker):
    page = broker.get("/pair?code=ABCD-EFGH")
    assert page.status == 200 and page.header("content-type").startswith("text/plain")
    assert "agentkeys approve" in page.text


# The credential backend


def test_a_key_is_stored_read_listed_and_removed(broker, session):
    token, value = session["token"], "sk-" + secrets.token_hex(16)
    assert broker.request("PUT", "/v1/credentials/openrouter", {"value": value}, token=token).status == 204
    answer = broker.get("/v1/credentials/openrouter", token=token)
    assert answer.status == 200 and answer.json()["value"] == value, answer
    assert answer.header("cache-control") == "no-store"
    listed = broker.get("/v1/credentials", token=token)
    assert [row["service"] for row in listed.json()["credentials"]] == ["openrouter"] and value not in listed.text
    assert broker.request("DELETE", "/v1/credentials/openrouter", token=token).status == 204
    refused(broker.get("/v1/credentials/openrouter", token=token), 404, "not_found")


def test_a_wallet_sees_no_key_of_another(broker, session):
    broker.request("PUT", "/v1/credentials/openrouter", {"value": "mine"}, token=session["token"])
    other = broker.token(new_wallet())
    refused(broker.get("/v1/credentials/openrouter", token=other), 404, "not_found")
    assert broker.get("/v1/credentials", token=other).json()["credentials"] == []


# What a client needs besides credentials


def test_the_environment_is_the_wallets_own(broker, session, sts):
    told = broker.get("/v1/environment", token=session["token"]).json()
    wallet = session["wallet"]
    assert told["region"] == "us-east-1" and told["bucket"] == sts.bucket
    assert told["prefix"] == f"bots/{wallet}/"
    assert told["signup_address"] == f"{wallet}@{told['mail_domain']}"


def test_a_session_is_told_who_it_is(broker):
    issued = broker.session_issue(new_wallet(), label="laptop", read_only=True)
    told = broker.get("/v1/session", token=issued["token"]).json()
    assert told["wallet"] == issued["wallet"] and told["session_id"] == issued["session_id"]
    assert told["scope"]["read_only"] is True and told["expires_at"] == issued["expires_at"]


def test_liveness_depends_on_nothing_and_readiness_names_its_checks(broker):
    assert broker.get("/healthz").json() == {"status": "ok"}
    ready = broker.get("/readyz")
    assert ready.status == 200 and ready.json()["status"] == "ready"
    names = {check["name"] for check in ready.json()["checks"]}
    assert names >= {"serving", "audit", "store", "signing_key", "aws_account", "sts"}
    assert all("operator-runbook.md#ready-" in check["runbook"] for check in ready.json()["checks"])
