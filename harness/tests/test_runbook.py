"""docs/operator-runbook.md, as it is printed, on a server from nothing.

The tests are in the page's order of a life: local to hosted, then each procedure on the
broker that is serving. Each leaves it serving.
"""
from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from typing import Dict, Iterator, List

import jwt
import pytest

import aws_setup
from docs_as_code import Page
from expect import new_wallet
from peers.ministack import ACCOUNT
from peers.process import wait_until
from service import Service

PAGE = Page("docs/operator-runbook.md")
BUCKET = f"agentkeys-mail-{ACCOUNT}"
# Of the page's step 5.
WALLET = "0x52908400098527886e0f7030069857d2e4169ee7"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def service(account) -> Iterator[Service]:
    """Hosted, from nothing to serving: the page's own steps, with a key that AWS made."""
    made = Service(
        {
            "aws": {"exchange": "assume_role", "sts_endpoint": account.endpoint},
            "roles": {"agent": {"arn": f"arn:aws:iam::{ACCOUNT}:role/agentkeys-agent"}},
            "environment": {"bucket": BUCKET, "s3_endpoint": account.endpoint},
        },
        AWS_ENDPOINT_URL=account.endpoint,
        AWS_ACCESS_KEY_ID=account.root_access_key,
        AWS_SECRET_ACCESS_KEY=account.root_secret_key,
        AWS_DEFAULT_REGION="us-east-1",
    )
    try:
        made.terminal.paste(PAGE["hosted check and key"])
        # What ministack cannot: read variables in a role's policy, and speak TLS.
        account.admin("iam").put_role_policy(
            RoleName="agentkeys-agent", PolicyName="ministack-knows-no-variables", PolicyDocument=json.dumps(
                {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
            ),
        )
        aws_setup.allow_plain_http(account.admin("s3"), BUCKET)
        made.key = new_key(made)
        said = made.terminal.paste(PAGE["enable"]).stdout
        assert "active (running)" in said
        made.wait_ready()
        yield made
    finally:
        made.close()


def new_key(service: Service) -> Dict[str, str]:
    """The page's first step of a rotation, and what it says to do with its answer."""
    printed = service.terminal.paste(PAGE["new AWS key"]).stdout
    key = json.JSONDecoder().raw_decode(printed[printed.index('{\n    "AccessKey":'):])[0]["AccessKey"]
    service.lend_key(key["AccessKeyId"], key["SecretAccessKey"])
    return key


def issue(service: Service, wallet: str = "") -> dict:
    return json.loads(service.command(f"session issue {'--wallet ' + wallet if wallet else ''}"))


@pytest.fixture(scope="module")
def token(service) -> str:
    """Step 5's: the one wallet that may mint."""
    assert mint(service, issue(service, WALLET)["token"]).status == 403, "no grant, no mint"
    printed = service.terminal.paste(PAGE["hosted grant"]).stdout
    return dict(re.findall(r"^(\w+) +(\S+)$", printed, re.MULTILINE))["token"]


def mint(service: Service, token: str):
    return service.ask("POST", "/v1/mint-aws-creds", {}, token=token)


def rows_of(table: str) -> Dict[str, str]:
    return dict(re.findall(r"^([a-z_]+) +(pass|fail|skip|unknown)", table, re.MULTILINE))


def examine(service: Service, name: str = "doctor") -> Dict[str, str]:
    """Red in one row only, since ministack knows no variables in a role's policy."""
    return rows_of(service.terminal.paste(PAGE[name], fails=True).stdout)


def audit(service: Service) -> List[dict]:
    return [json.loads(line) for line in service.command("audit list").splitlines()]


def test_a_hosted_broker_grants_nothing_until_it_is_told(service, token):
    minted = mint(service, token)
    assert minted.status == 200 and minted.json()["wallet"] == WALLET, minted
    assert mint(service, issue(service, new_wallet())["token"]).status == 403


def test_the_check_and_the_readiness_say_that_all_is_well(service):
    assert "exchange: assume_role" in service.terminal.paste(PAGE["check"]).stdout
    service.terminal.replace["https://broker.example.dev"] = f"http://127.0.0.1:{service.port}"
    assert '"status":"ready"' in service.terminal.paste(PAGE["readyz"]).stdout
    discovery = json.loads(service.terminal.paste(PAGE["hosted by its URL"]).stdout)
    assert discovery["issuer"] == "https://broker.example.dev"


def test_the_aws_key_is_rotated_without_a_pause(service, token, account):
    old = service.key
    new = new_key(service)
    assert new["AccessKeyId"] != old["AccessKeyId"]
    service.terminal.paste(PAGE["restart"])
    service.wait_ready()
    rows = examine(service)
    assert rows["daemon_key"] == rows["exchange"] == rows["isolation"] == "pass", rows
    service.terminal.replace["AKIAOLDKEYOLDKEYOLD1"] = old["AccessKeyId"]
    service.terminal.paste(PAGE["old AWS key off"])
    assert mint(service, token).status == 200, "the broker uses the new key"
    service.terminal.paste(PAGE["old AWS key away"])
    listed = account.admin("iam").list_access_keys(UserName="agentkeys-daemon")["AccessKeyMetadata"]
    assert [key["AccessKeyId"] for key in listed] == [new["AccessKeyId"]]
    assert mint(service, token).status == 200
    # And without a key lent, the doctor says so.
    assert examine(service, "doctor without a key")["daemon_key"] == "fail"


def test_after_a_leak_older_sessions_are_denied(service, account):
    (service.terminal.directory / "revoke.json").write_text(PAGE.printed("json"))
    service.terminal.paste(PAGE["deny older sessions"])
    there = account.admin("iam").get_role_policy(RoleName="agentkeys-agent", PolicyName="revoke-older-sessions")
    (statement,) = there["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny" and "aws:TokenIssueTime" in statement["Condition"]["DateLessThan"]
    account.admin("iam").delete_role_policy(RoleName="agentkeys-agent", PolicyName="revoke-older-sessions")


def signed(service: Service) -> str:
    answer = service.ask("POST", "/v1/mint-oidc-jwt", {}, token=service.jwt_token)
    assert answer.status == 200, answer
    return answer.json()["jwt"]


def verifies(service: Service, text: str) -> bool:
    published = jwt.PyJWKSet.from_dict(service.ask("GET", "/.well-known/jwks.json").json())
    kid = jwt.get_unverified_header(text)["kid"]
    found = [key for key in published.keys if key.key_id == kid]
    if found:
        jwt.decode(text, found[0].key, algorithms=["ES256"], audience="sts.amazonaws.com")
    return bool(found)


def states(service: Service) -> Dict[str, str]:
    return {row["state"]: row["kid"] for row in map(json.loads, service.command("keys list").splitlines())}


def test_signing_keys_rotate_and_what_the_old_one_signed_still_holds(service):
    service.command("grant add --audience sts.amazonaws.com")
    service.jwt_token = issue(service)["token"]
    listed = service.terminal.paste(PAGE["next signing key"]).stdout
    assert re.search(r" next ", listed) and re.search(r" current ", listed), listed
    before, old = states(service), signed(service)
    refused = service.terminal.paste(PAGE["rotate signing keys"], fails=True)
    assert "--force" in refused.stderr, refused
    # A day goes by.
    service.terminal.paste("systemctl stop agentkeys-broker")
    path = service.state / "signing-keys" / "keys.json"
    then = (datetime.now(timezone.utc) - timedelta(hours=25)).strftime("%Y-%m-%dT%H:%M:%SZ")
    path.write_text(re.sub(r'("(?:created|published)_at": )(?:null|"[^"]+")', rf'\1"{then}"', path.read_text()))
    service.terminal.paste("systemctl start agentkeys-broker")
    service.wait_ready()
    service.terminal.paste(PAGE["rotate signing keys"])
    after = states(service)
    assert after["current"] == before["next"] and after["retired"] == before["current"]
    new = signed(service)
    assert jwt.get_unverified_header(new)["kid"] == after["current"]
    assert verifies(service, old) and verifies(service, new)


def test_a_leaked_signing_key_goes_at_once(service):
    leaked, old = states(service)["current"], signed(service)
    service.terminal.replace["KID"] = leaked
    service.terminal.paste(PAGE["leaked signing key"])
    assert leaked not in states(service).values() and not verifies(service, old)
    assert verifies(service, signed(service))


def test_a_revoked_session_is_refused(service):
    session = issue(service)
    assert service.ask("GET", "/v1/session", token=session["token"]).status == 200
    service.terminal.replace["SESSION_ID"] = session["session_id"]
    said = service.terminal.paste(PAGE["revoke"]).stdout
    assert session["session_id"] in said
    assert service.ask("GET", "/v1/session", token=session["token"]).status == 401


def test_what_was_backed_up_serves_again(service, token):
    kept = service.terminal.paste(PAGE["back up"]).stdout
    assert "the audit verifies" in kept
    assert "ok" in service.terminal.paste(PAGE["verify a copy"]).stdout
    later = issue(service)["token"]
    old_audit = len(audit(service))
    service.terminal.paste(PAGE["put the old state aside"])
    restored = service.terminal.paste(PAGE["restore"])
    assert re.search(r"^ok: \d+ records", restored.stdout, re.MULTILINE), restored
    service.wait_ready()
    assert mint(service, token).status == 200, "a session of the backup"
    assert service.ask("GET", "/v1/session", token=later).status == 401, "one from after it"
    assert len(audit(service)) <= old_audit + 4
    assert json.loads(service.command("audit verify"))["ok"]
    for path in service.state.rglob("*"):
        assert path.stat().st_uid == service.user and path.stat().st_mode & 0o077 == 0, path


def test_the_audit_is_read_verified_and_followed(service, token):
    minted = mint(service, token).json()["mint_id"]
    said = service.terminal.paste(PAGE["audit"]).stdout
    assert minted in said and re.search(r"^ok: \d+ records, head [0-9a-f]{64}$", said, re.MULTILINE), said
    exported = [json.loads(line) for line in (service.terminal.directory / "audit.jsonl").read_text().splitlines()]
    assert {row["phase"] for row in exported if row["mint_id"] == minted} == {"intent", "outcome"}
    service.terminal.paste_and_leave(PAGE["audit tail"], until=minted)
    service.terminal.interrupt()


def test_the_signing_keys_section_of_the_readiness_reasons(service):
    """A server whose keys are lost: it does not start, and the section's commands mend it."""
    service.terminal.paste(f"systemctl stop agentkeys-broker; mv {service.state}/signing-keys {service.root}/lost")
    service.terminal.paste("systemctl start agentkeys-broker")
    ended = service.root / "systemd" / "agentkeys-broker.ended"
    wait_until(lambda: ended.exists() and ended.read_text() == "1", 20, "exit code 1")
    assert "keys generate" in service.log.read_text()
    service.terminal.paste(PAGE["signing key"])
    # systemd tries again by itself.
    service.wait_ready()


def test_a_wrong_configuration_waits_for_the_operator(service):
    """alert-brokerdown's commands, after exit code 78."""
    good = (service.etc / "broker.yaml").read_text()
    (service.etc / "broker.yaml").write_text(good.replace("grants:", "grant:"))
    service.terminal.paste("systemctl restart agentkeys-broker")
    wrong = PAGE["broker down"].splitlines()
    ended = service.root / "systemd" / "agentkeys-broker.ended"
    wait_until(lambda: ended.exists() and ended.read_text() == "78", 20, "exit code 78")
    status = service.terminal.paste(wrong[0], fails=True).stdout
    assert "failed, code 78" in status
    service.terminal.paste("set +e\n" + PAGE["broker down"], fails=True)
    assert "did you mean" in service.terminal.paste(wrong[2], fails=True).stderr
    (service.etc / "broker.yaml").write_text(good)
    service.terminal.paste(PAGE["restart"])
    service.wait_ready()
