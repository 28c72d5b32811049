"""TLS and plain http: what is spoken, and what is refused."""
from __future__ import annotations

import socket
import ssl
import subprocess
import time

import pytest

from brokerlib import NO_LIMITS, Broker, run_binary
from conftest import double_config
from expect import refused
from peers.ports import free_port
from raw_http import RawConnection, request

MINT = "/v1/mint-aws-creds"
# For the scheduler of a busy machine with two cores.
SLACK = 2.5


def connect(broker) -> RawConnection:
    return RawConnection("127.0.0.1", broker.port)


@pytest.fixture(scope="module")
def tls_broker(broker_binary, strict_sts_process):
    config = {
        **double_config(strict_sts_process, "assume_role"),
        "limits": {**NO_LIMITS, "deadlines": {"handshake": "1s"}},
    }
    key = (strict_sts_process.access_key_id, strict_sts_process.secret_access_key)
    with Broker(config, daemon_key=key, tls=True) as running:
        yield running


def curl(broker, *arguments: str) -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--cacert", str(broker.ca), "--max-time", "10", *arguments],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_http_2_by_alpn(tls_broker):
    version = curl(
        tls_broker, "--http2", "--output", "/dev/null", "--write-out", "%{http_version} %{http_code}", f"{tls_broker.url}/healthz"
    )
    assert version == "2 200"


def test_a_mint_over_http_2(tls_broker, sts, tmp_path):
    header = tmp_path / "header"
    header.write_text(f"Authorization: Bearer {tls_broker.token()}\n")
    out = curl(
        tls_broker,
        "--http2",
        "--request",
        "POST",
        "--header",
        f"@{header}",
        "--write-out",
        "\n%{http_version} %{http_code}",
        f"{tls_broker.url}{MINT}",
    )
    assert out.endswith("\n2 200"), out
    assert "mint_id" in out


def test_http_1_1_over_tls(tls_broker):
    assert curl(tls_broker, "--http1.1", "--write-out", "%{http_version}", f"{tls_broker.url}/healthz").endswith("1.1")
    answer = tls_broker.get("/healthz")
    assert answer.status == 200 and answer.header("strict-transport-security")


def handshake(broker, version: ssl.TLSVersion) -> str:
    context = ssl.create_default_context(cafile=str(broker.ca))
    context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as plain:
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            return secure.version() or ""


def test_tls_1_2_and_1_3(tls_broker):
    assert handshake(tls_broker, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    assert handshake(tls_broker, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(tls_broker):
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(tls_broker, ssl.TLSVersion.TLSv1_1)


def test_plain_http_to_a_tls_port_gets_no_answer(tls_broker):
    with connect(tls_broker) as connection:
        connection.send(request("GET", "/healthz", {}))
        assert connection.seconds_until_closed(10) < 1 + SLACK


def test_a_silent_handshake_is_closed(tls_broker):
    with connect(tls_broker) as connection:
        assert connection.seconds_until_closed(10) < 1 + SLACK


def test_the_authority_is_not_world_readable(tls_broker):
    keys = [path for path in (tls_broker.data_dir / "tls").iterdir() if path.suffix in (".key", ".pem")]
    for path in keys:
        assert path.stat().st_mode & 0o077 == 0, path


# Plain http


def check(broker, **changes) -> tuple:
    result = broker.run_cli("check")
    return result.exit_code, result.output


def test_plain_http_is_refused_on_a_non_loopback_address(make_broker):
    broker = make_broker({"listeners": [{"address": f"0.0.0.0:{free_port()}"}]}, start=False)
    code, output = check(broker)
    assert code == 78 and "plain_http" in output, output
    served = run_binary("serve", "--config", str(broker.config_file), environment=broker.environment)
    assert served.exit_code == 78, "and serve refuses as check does"


def test_plain_http_can_be_allowed_by_name(make_broker):
    config = {"listeners": [{"address": f"0.0.0.0:{free_port()}"}], "insecure": {"plain_http": True}}
    code, output = check(make_broker(config, start=False))
    assert code == 0, output


def test_an_http_issuer_is_accepted_only_on_loopback(make_broker):
    code, output = check(make_broker({"issuer": "http://broker.example"}, start=False))
    assert code == 78 and "issuer" in output, output
