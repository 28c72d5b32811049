"""The runbook's fronts: its nginx `server` before a live broker, and its tunnel's file.

What counts is whose address the broker believes: the one that its own front saw,
and never one that a client claims.
"""
from __future__ import annotations

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Dict, Iterator, Optional

import pytest
import yaml

from brokerlib import Broker
from clientlib import Machine
from conftest import double_config
from docs_as_code import Page, Terminal, short_directory
from peers.nginx import Nginx, find_nginx

PAGE = Page("docs/operator-runbook.md")
NAME = "broker.example.dev"
# Nobody's: what a client may claim.
CLAIMED = "203.0.113.9"

needs_nginx = pytest.mark.skipif(
    not find_nginx() or not sys.platform.startswith("linux"),
    reason="nginx is not installed (Debian: apt-get install nginx), or 127/8 is not all loopback here",
)
# A client of one's own, as far as a limiter can tell.
addresses = (f"127.0.7.{n}" for n in count(1))


@pytest.fixture(scope="module")
def broker(broker_binary, strict_sts_process) -> Iterator[Broker]:
    sts = strict_sts_process
    sts.reset()
    printed = yaml.safe_load(PAGE.printed("yaml"))
    assert [listener["address"] for listener in printed["listeners"]] == ["127.0.0.1:8090"], "plain http, loopback alone"
    config = double_config(sts, "assume_role")
    config["issuer"] = f"https://{NAME}"
    config["sessions"] = {"enrolment": "closed"}
    config["limits"] = {**printed["limits"], "per_source": "5/min"}
    key = (sts.access_key_id, sts.secret_access_key)
    running = Broker(config, daemon_key=key)
    try:
        assert running.run_cli("keys", "generate").exit_code == 0
        yield running.start()
    finally:
        running.close()


@pytest.fixture(scope="module")
def front(broker) -> Iterator[Nginx]:
    directory = short_directory()
    nginx = Nginx(directory / "nginx", NAME)
    text = PAGE.printed("nginx")
    for printed, here in (
        ("listen 443 ssl", f"listen 127.0.0.1:{nginx.port} ssl"),
        (f"/etc/letsencrypt/live/{NAME}/fullchain.pem", str(nginx.certificate)),
        (f"/etc/letsencrypt/live/{NAME}/privkey.pem", str(nginx.private_key)),
        ("http://127.0.0.1:8090", broker.url),
    ):
        assert text.count(printed) == 1, printed
        text = text.replace(printed, here)
    nginx.site(text)
    try:
        with nginx:
            yield nginx
    finally:
        shutil.rmtree(directory)


class Reply:
    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()


def ask(
    port: int, source: str, path: str, tls: Optional[Nginx] = None, token: str = "", claims: str = "", method: str = "GET"
) -> Reply:
    """From one of loopback's addresses; `claims` is an X-Forwarded-For of the client's own making."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    raw = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
    if tls:
        raw = ssl.create_default_context(cafile=str(tls.certificate)).wrap_socket(raw, server_hostname=NAME)
    connection.sock = raw
    headers: Dict[str, str] = {"Host": NAME}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if claims:
        headers["X-Forwarded-For"] = claims
    try:
        connection.request(method, path, headers=headers)
        return Reply(connection.getresponse())
    finally:
        connection.close()


def recorded_source(broker: Broker, answer: Reply) -> str:
    """The address that the audit holds of a mint."""
    assert answer.status == 200, answer.body
    return broker.audit_of(json.loads(answer.body)["mint_id"])["intent"]["source"]


@needs_nginx
def test_nginx_takes_what_is_printed_and_serves_the_issuer_at_its_name(front, broker, tmp_path):
    machine = Machine(tmp_path, None, NGINX_PID=str(front.pid_file), SYSTEMD=str(tmp_path))
    # The name leads here, and the certificate is known: what DNS and Let's Encrypt do elsewhere.
    (tmp_path / ".curlrc").write_text(f'connect-to = "{NAME}:443:127.0.0.1:{front.port}"\ncacert = "{front.certificate}"\n')
    terminal = Terminal(machine, {"nginx -t": f"{find_nginx()} -t -c {front.configuration} -p {front.directory}"}, ("systemctl",))
    try:
        assert "test is successful" in terminal.paste(PAGE["nginx"]).stderr
        discovery = json.loads(terminal.paste(PAGE["hosted by its URL"]).stdout)
        assert discovery["issuer"] == f"https://{NAME}" and discovery["jwks_uri"].startswith(f"https://{NAME}/")
        assert '"status":"ready"' in terminal.paste(PAGE["readyz"]).stdout
    finally:
        terminal.close()


@needs_nginx
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/jwks.json"])
def test_what_aws_reads_passes_unchanged(front, broker, path):
    source = next(addresses)
    through, direct = ask(front.port, source, path, tls=front), ask(broker.port, source, path)
    assert through.status == direct.status == 200 and through.body == direct.body
    for name in ("etag", "cache-control", "content-type"):
        assert through.headers[name] == direct.headers[name], name
    assert direct.headers["cache-control"]


@needs_nginx
def test_the_address_is_the_one_that_nginx_saw_whatever_the_client_claims(front, broker):
    token = broker.token()
    for claims in ("", CLAIMED, f"{CLAIMED}, 127.0.0.1"):
        source = next(addresses)
        answer = ask(front.port, source, "/v1/mint-aws-creds", tls=front, token=token, claims=claims, method="POST")
        assert recorded_source(broker, answer) == source, claims


def test_a_stranger_beside_the_front_cannot_claim_an_address(broker):
    source = next(addresses)
    mint = "/v1/mint-aws-creds"
    answer = ask(broker.port, source, mint, token=broker.token(), claims=CLAIMED, method="POST")
    assert recorded_source(broker, answer) == source
    # The front itself, which is 127.0.0.1, is believed: else the above would prove nothing.
    answer = ask(broker.port, "127.0.0.1", mint, token=broker.token(), claims=CLAIMED, method="POST")
    assert recorded_source(broker, answer) == CLAIMED


@needs_nginx
def test_each_client_has_its_own_quota_behind_the_front(front):
    greedy, other = next(addresses), next(addresses)
    path = "/.well-known/jwks.json"
    statuses = [ask(front.port, greedy, path, tls=front, claims=f"198.51.100.{n}").status for n in range(8)]
    assert statuses == [200] * 5 + [429] * 3, "claiming another address each time buys nothing"
    assert ask(front.port, other, path, tls=front).status == 200


def test_the_tunnels_file_ends_with_a_refusal_and_leads_to_the_listener(tmp_path: Path):
    printed = yaml.safe_load(PAGE.printed("yaml", 1))
    address = yaml.safe_load(PAGE.printed("yaml"))["listeners"][0]["address"]
    first, last = printed["ingress"]
    assert first == {"hostname": NAME, "service": f"http://{address}"} and "hostname" not in last
    cloudflared = shutil.which("cloudflared")
    if not cloudflared:
        pytest.skip("cloudflared is not installed; no package registry that is used here has it")
    path = tmp_path / "config.yml"
    path.write_text(PAGE.printed("yaml", 1))
    done = subprocess.run([cloudflared, "tunnel", "--config", str(path), "ingress", "validate"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
