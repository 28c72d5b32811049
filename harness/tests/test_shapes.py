"""One binary, several shapes: a laptop, own certificates, behind a proxy, hosted. Only broker.yaml differs."""
from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import pytest
import yaml

from brokerlib import NO_LIMITS, REPOSITORY, run_binary
from expect import new_wallet, refused
from http_client import Client
from peers.certificates import self_signed
from peers.front import Front


def certificate(directory: Path) -> tuple:
    return self_signed("127.0.0.1", directory / "tls.crt", directory / "tls.key")


def test_a_laptop_needs_the_key_and_nothing_else(make_broker, sts):
    """No exchange, no role, no bucket, no key file: learned, or made and said."""
    broker = make_broker(
        {"aws": {"sts_endpoint": sts.endpoint}}, daemon_key=(sts.access_key_id, sts.secret_access_key)
    )
    minted = broker.mint(broker.token(new_wallet()))
    assert minted["role_arn"] == sts.role_arn and minted["environment"]["bucket"] == sts.bucket
    assert minted["role_arn"].endswith(":role/agentkeys-agent")
    log = broker.logs()
    assert "assume_role" in log and "session issue" in log, "it says what it chose and what to run next"


def test_own_certificates(make_broker, sts, tmp_path):
    cert_file, key_file = certificate(tmp_path)
    config = {
        "aws": {"exchange": "assume_role", "sts_endpoint": sts.endpoint},
        "roles": {"agent": {"arn": sts.role_arn}},
        "environment": {"bucket": sts.bucket},
    }
    broker = make_broker(config, daemon_key=(sts.access_key_id, sts.secret_access_key), start=False)
    broker.settings["listeners"][0]["tls"] = {"certificate": str(cert_file), "private_key": str(key_file)}
    broker.config_file.write_text(yaml.safe_dump(broker.settings))
    broker.start(ready=False)
    with Client(f"http://127.0.0.1:{broker.port}", timeout=3) as client, pytest.raises((OSError, HTTPException)):
        client.request("GET", "/healthz")
    with Client(f"https://127.0.0.1:{broker.port}", cert_file) as client:
        answer = client.request("POST", "/v1/mint-aws-creds", {}, token=broker.token())
    assert answer.status == 200, answer


def test_a_private_key_that_others_can_read_is_refused(make_broker, tmp_path):
    cert_file, key_file = certificate(tmp_path)
    key_file.chmod(0o644)
    broker = make_broker({}, start=False)
    broker.settings["listeners"][0]["tls"] = {"certificate": str(cert_file), "private_key": str(key_file)}
    broker.config_file.write_text(yaml.safe_dump(broker.settings))
    served = broker.run_cli("serve")
    assert served.exit_code == 78 and "tls.key" in served.output and "0644" in served.output, served


def test_behind_a_proxy_the_client_is_the_one_that_the_proxy_names(role_broker, sts):
    broker = role_broker({"limits": {**NO_LIMITS, "failed_auth": "2/min", "trusted_proxies": ["127.0.0.1/32"]}})
    with Front(broker.url) as front, Client(front.url) as client:

        def guess(source: str) -> int:
            headers = {"X-Forwarded-For": source}
            return client.request("POST", "/v1/mint-aws-creds", {}, token="garbage", headers=headers).status

        assert [guess("198.51.100.7") for _ in range(3)] == [401, 401, 429]
        assert guess("198.51.100.8") == 401, "another client is not slowed down"
        minted = client.request(
            "POST", "/v1/mint-aws-creds", {}, token=broker.token(), headers={"X-Forwarded-For": "198.51.100.9"}
        ).json()
    assert broker.audit_of(minted["mint_id"])["outcome"]["source"] == "198.51.100.9"


# Hosted


@pytest.fixture
def hosted(tmp_path) -> dict:
    """conf/broker.hosted.yaml as it stands, with paths of this test."""
    settings = yaml.safe_load((REPOSITORY / "conf" / "broker.hosted.yaml").read_text())
    cert_file, key_file = certificate(tmp_path)
    settings["listeners"][0]["tls"] = {"certificate": str(cert_file), "private_key": str(key_file)}
    return settings


def test_the_hosted_configuration_is_valid(tmp_path, hosted):
    file = tmp_path / "broker.hosted.yaml"
    file.write_text(yaml.safe_dump(hosted))
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = run_binary("check", "--config", str(file), "--data-dir", str(tmp_path / "data"), environment=environment)
    assert done.exit_code == 0, done
    assert "web_identity" in done.output and "enrolment: closed" in done.output


def test_a_hosted_broker_never_makes_a_key_silently(tmp_path, hosted):
    from peers.ports import free_port

    file = tmp_path / "broker.hosted.yaml"
    hosted["listeners"][0]["address"] = f"127.0.0.1:{free_port()}"
    hosted["metrics"]["address"] = f"127.0.0.1:{free_port()}"
    file.write_text(yaml.safe_dump(hosted))
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    arguments = ("--config", str(file), "--data-dir", str(tmp_path / "data"))
    served = run_binary("serve", *arguments, environment=environment)
    assert served.exit_code != 0 and "keys generate" in served.output, served
    assert run_binary("keys", "generate", *arguments, environment=environment).exit_code == 0


def test_hosted_grants_nothing_that_is_not_written(web_broker, sts, hosted):
    broker = web_broker({"grants": hosted["grants"], "sessions": hosted["sessions"]})
    refused(broker.try_mint(broker.token(new_wallet()), role="agent"), 403, "no_grant")


def test_the_same_session_commands_serve_both_shapes(web_broker, role_broker, sts):
    """Clients change the URL and nothing else: the answers have the same fields."""
    answers = [broker.mint(broker.token(new_wallet())) for broker in (web_broker(), role_broker())]
    assert set(answers[0]) == set(answers[1])
