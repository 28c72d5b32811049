"""Who gets nothing from the daemon: web pages that rebind a name, proxies, other machines, and whoever has no token.

Spoken as bytes on a socket, since a client library would tidy the requests up. Each
request differs from the right one, which is answered, in the one thing under test.
"""
from __future__ import annotations

import socket
import threading
import time
from typing import Iterator, List, Optional

import pytest
from botocore.utils import InstanceMetadataFetcher

from brokerlib import Broker
from clientlib import Daemon, Machine, client_program
from conftest import double_config
from http_client import Answer
from peers.process import http_answers
from raw_http import RawConnection

# The head may take 5 s, a connection 60 s.
HEAD_SECONDS = 5
TTL = "X-aws-ec2-metadata-token-ttl-seconds"
METADATA_TOKEN = "X-aws-ec2-metadata-token"
ROLES = "/latest/meta-data/iam/security-credentials/"
FOREIGN = [
    "Origin: http://attacker.example",
    "Origin: null",
    "Origin: http://127.0.0.1:{port}",
    "X-Forwarded-For: 127.0.0.1",
    "x-forwarded-for:",
    "X-Forwarded-Host: 127.0.0.1:{port}",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Port: {port}",
    "Forwarded: for=127.0.0.1;host=127.0.0.1",
    "Via: 1.1 proxy",
    "X-Real-IP: 127.0.0.1",
    "CF-Connecting-IP: 127.0.0.1",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: no-cors",
    "Referer: http://attacker.example/",
    "Cookie: a=b",
]
# {port} is the daemon's own. A resolver would take each of these to 127.0.0.1.
HOSTS = [
    "attacker.example",
    "attacker.example:{port}",
    "localhost:{port}",
    "LocalHost:{port}",
    "LOCALHOST",
    "localhost.:{port}",
    "127.0.0.1",
    "127.0.0.1.:{port}",
    "127.0.0.1:{port}.attacker.example",
    "127.0.0.1.nip.io:{port}",
    "127.1:{port}",
    "0x7f000001:{port}",
    "2130706433:{port}",
    "[::1]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "0.0.0.0:{port}",
    "user@127.0.0.1:{port}",
    "127.0.0.1:{port}, attacker.example",
    "127.0.0.1:80",
    "",
]


@pytest.fixture(scope="module")
def daemon(broker_binary, strict_sts_process, tmp_path_factory) -> Iterator[Daemon]:
    """One that serves both endpoints: nothing here leaves a trace in it."""
    sts = strict_sts_process
    sts.reset()
    with Broker(double_config(sts, "assume_role"), daemon_key=(sts.access_key_id, sts.secret_access_key)) as broker:
        machine = Machine(tmp_path_factory.mktemp("home"), broker.url)
        machine.log_in(broker.token())
        with machine.daemon("--imds", "127.0.0.1:0") as running:
            yield running.wait_serving()


@pytest.fixture(scope="module")
def secrets(daemon) -> List[str]:
    """What no refusal may show: the credential, and both tokens that open it."""
    credential = daemon.ask()
    assert credential.status == 200, credential
    body = credential.json()
    return [body["AccessKeyId"], body["SecretAccessKey"], body["Token"], daemon.token(), metadata_token(daemon)]


def head(target: str, *fields: str, method: str = "GET") -> bytes:
    return ("\r\n".join([f"{method} {target} HTTP/1.1", *fields]) + "\r\n\r\n").encode("latin-1")


def spoken(port: int, request: bytes) -> Optional[Answer]:
    with RawConnection("127.0.0.1", port) as connection:
        connection.send(request)
        return connection.answer()


def ask(daemon: Daemon, *more: str, host: str = "127.0.0.1:{port}", target: str = "/credentials", **named: str):
    """The right request, with one thing changed."""
    fields = [f"Host: {host}", f"Authorization: {daemon.token()}", *more]
    return spoken(daemon.port, head(target, *[field.format(port=daemon.port) for field in fields], **named))


def refused(answer: Optional[Answer], secrets: List[str], *statuses: int) -> Answer:
    assert answer is not None, "closed without a word"
    assert answer.status in statuses, answer
    everything = answer.text + str(answer.headers)
    for secret in secrets:
        assert secret not in everything
    # A page of another origin may not read even the refusal.
    assert not [name for name, _ in answer.headers if name.lower().startswith("access-control-")]
    return answer


def metadata(daemon: Daemon, method: str, path: str, *fields: str, host: Optional[str] = None) -> Optional[Answer]:
    own = host if host is not None else f"127.0.0.1:{daemon.imds_port}"
    return spoken(daemon.imds_port, head(path, f"Host: {own}", *fields, method=method))


def metadata_token(daemon: Daemon, seconds: int = 60) -> str:
    answer = metadata(daemon, "PUT", "/latest/api/token", f"{TTL}: {seconds}")
    assert answer is not None and answer.status == 200, answer
    return answer.text


# The container endpoint


def test_the_right_request_is_answered(daemon):
    answer = ask(daemon)
    assert answer.status == 200, answer
    assert set(answer.json()) >= {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"}
    assert answer.header("cache-control") == "no-store"
    absolute = ask(daemon, target=f"http://127.0.0.1:{daemon.port}/credentials")
    assert absolute.status == 200, "the absolute form of its own address is its own address"


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_is_refused(daemon, secrets, host):
    refused(ask(daemon, host=host), secrets, 400, 403)


@pytest.mark.parametrize("field", FOREIGN)
def test_what_a_browser_or_a_proxy_adds_is_refused(daemon, secrets, field):
    refused(ask(daemon, field), secrets, 403)


def test_no_host_two_hosts_and_another_target_are_refused(daemon, secrets):
    own, token = f"127.0.0.1:{daemon.port}", f"Authorization: {daemon.token()}"
    for request in (
        head("/credentials", token),
        head("/credentials", token).replace(b"HTTP/1.1", b"HTTP/1.0"),
        head("/credentials", f"Host: {own}", f"Host: {own}", token),
        head("/credentials", f"Host: {own}", "Host: attacker.example", token),
        head("/credentials", "Host: attacker.example", f"Host: {own}", token),
        head(f"http://attacker.example:{daemon.port}/credentials", f"Host: {own}", token),
        head("http://attacker.example/credentials", "Host: attacker.example", token),
        head(f"http://user@{own}/credentials", f"Host: {own}", token),
        head(f"http://{own}/credentials", "Host: attacker.example", token),
    ):
        refused(spoken(daemon.port, request), secrets, 400, 403)


def test_a_token_counts_only_whole_alone_and_as_it_stands(daemon, secrets):
    token, own = daemon.token(), f"Host: 127.0.0.1:{daemon.port}"
    for given in (
        [],
        ["Authorization:"],
        [f"Authorization: {token[::-1]}"],
        [f"Authorization: {token[:-1]}"],
        [f"Authorization: {token[1:]}"],
        [f"Authorization: {token}0"],
        [f"Authorization: 0{token}"],
        [f"Authorization: {token.upper()}"],
        [f"Authorization: Bearer {token}"],
        [f"Authorization: {token}, {token}"],
        [f"Authorization: {token}", f"Authorization: {token}"],
        [f"Authorization: {token[::-1]}", f"Authorization: {token}"],
        [f"X-Authorization: {token}"],
    ):
        refused(spoken(daemon.port, head("/credentials", own, *given)), secrets, 401)
    refused(spoken(daemon.port, head(f"/credentials?Authorization={token}", own)), secrets, 401)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "CONNECT", "get"])
def test_only_get_is_answered(daemon, secrets, method):
    request = head(
        "/credentials",
        f"Host: 127.0.0.1:{daemon.port}",
        f"Authorization: {daemon.token()}",
        "Content-Length: 0",
        method=method,
    )
    with RawConnection("127.0.0.1", daemon.port) as connection:
        connection.send(request)
        refused(connection.answer(bodiless=method == "HEAD"), secrets, 400, 403, 405)


@pytest.mark.parametrize("target", ["/", "/credentials/", "//credentials", "/credentials/../credentials", "/metrics", "*"])
def test_there_is_nothing_else(daemon, secrets, target):
    refused(ask(daemon, target=target), secrets, 400, 404)


def test_health_shows_no_secret(daemon, secrets):
    answer = daemon.health()
    assert answer.status == 200
    assert not [secret for secret in secrets if secret in answer.text]


# Other machines


def test_no_address_of_the_network_is_listened_on(daemon):
    for option, address in (("--listen", "0.0.0.0:0"), ("--imds", "[::]:0"), ("--listen", "192.0.2.1:80")):
        done = Machine(daemon.cwd, None).command([client_program("agentkeys-daemon"), option, address])
        assert done.returncode == 2 and "address of this machine alone" in done.stderr, done


def test_it_answers_on_loopback_alone(daemon):
    outside = _own_address()
    if outside is None:
        pytest.skip("this machine has no address but loopback")
    for port in (daemon.port, daemon.imds_port):
        with pytest.raises(OSError):
            socket.create_connection((outside, port), timeout=2)


def _own_address() -> Optional[str]:
    """This machine's address towards a network: nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = probe.getsockname()[0]
    return None if address.startswith("127.") else address


# Too much, and too slow


def test_a_head_that_is_too_large_is_refused_and_ends(daemon, secrets):
    fields = [f"Host: 127.0.0.1:{daemon.port}", f"Authorization: {daemon.token()}"]
    for large in (["X: " + "a" * 65536], [f"X{i}: {'a' * 100}" for i in range(1000)]):
        with RawConnection("127.0.0.1", daemon.port) as connection:
            connection.send(head("/credentials", *fields, *large))
            answer = connection.answer()
            if answer is not None:
                refused(answer, secrets, 400, 431)
            connection.seconds_until_closed(HEAD_SECONDS + 3)
    with RawConnection("127.0.0.1", daemon.port) as connection:
        connection.send(head("/credentials" + "a" * 65536, *fields))
        answer = connection.answer()
        if answer is not None:
            refused(answer, secrets, 400, 414, 431)
    assert ask(daemon).status == 200


def test_a_client_that_never_ends_its_head_is_cut_off_and_hinders_nobody(daemon):
    began = time.monotonic()
    slow = [RawConnection("127.0.0.1", daemon.port) for _ in range(50)]
    lived: List[float] = []
    try:
        for connection in slow:
            connection.send(b"GET /credentials HTTP/1.1\r\nX: ")

        def one(connection: RawConnection) -> None:
            lived.append(connection.seconds_until_closed(4 * HEAD_SECONDS, trickle=b"a"))

        threads = [threading.Thread(target=one, args=(connection,)) for connection in slow]
        for thread in threads:
            thread.start()
        assert ask(daemon).status == 200
        assert time.monotonic() - began < HEAD_SECONDS, "answered while the slow ones were still there"
        for thread in threads:
            thread.join()
    finally:
        for connection in slow:
            connection.close()
    assert len(lived) == len(slow) and max(lived) < HEAD_SECONDS + 3, sorted(lived)[-3:]


def test_more_slow_clients_than_there_are_places_delay_and_do_not_shut_it(daemon):
    slow = [RawConnection("127.0.0.1", daemon.port) for _ in range(100)]
    try:
        for connection in slow:
            connection.send(b"GET /credentials HTTP/1.1\r\n")
        answer = daemon.ask(timeout=4 * HEAD_SECONDS)
        assert answer.status == 200, answer
    finally:
        for connection in slow:
            connection.close()
    assert http_answers(daemon.port, "/healthz")


# The metadata endpoint


def test_version_two_is_answered(daemon):
    token = f"{METADATA_TOKEN}: {metadata_token(daemon)}"
    role = metadata(daemon, "GET", ROLES, token)
    assert role.status == 200
    answer = metadata(daemon, "GET", ROLES + role.text, token)
    assert answer.status == 200 and answer.json()["Code"] == "Success", answer


def test_an_sdks_own_reader_is_served(daemon):
    fetcher = InstanceMetadataFetcher(num_attempts=1, base_url=f"http://127.0.0.1:{daemon.imds_port}/")
    assert fetcher.retrieve_iam_role_credentials()["access_key"] == daemon.ask().json()["AccessKeyId"]


def test_there_is_no_version_one(daemon, secrets):
    for fields in ([], [f"{METADATA_TOKEN}:"], [f"{METADATA_TOKEN}: {'0' * 80}"], [f"Authorization: {daemon.token()}"]):
        for path in (ROLES, ROLES + "agentkeys", "/latest/meta-data/", "/latest/user-data"):
            refused(metadata(daemon, "GET", path, *fields), secrets, 401)


@pytest.mark.parametrize("field", FOREIGN)
def test_a_forwarded_request_gets_no_metadata(daemon, secrets, field):
    """AWS keeps its tokens on the machine by X-Forwarded-For and a hop limit of 1; loopback has no further hop."""
    field = field.format(port=daemon.imds_port)
    refused(metadata(daemon, "PUT", "/latest/api/token", f"{TTL}: 60", field), secrets, 403)
    token = f"{METADATA_TOKEN}: {metadata_token(daemon)}"
    refused(metadata(daemon, "GET", ROLES + "agentkeys", token, field), secrets, 403)


@pytest.mark.parametrize("host", ["attacker.example", "attacker.example:{port}", "localhost:{port}", "169.254.169.254", ""])
def test_a_rebound_name_gets_no_metadata(daemon, secrets, host):
    host = host.format(port=daemon.imds_port)
    refused(metadata(daemon, "PUT", "/latest/api/token", f"{TTL}: 60", host=host), secrets, 400, 403)
    token = f"{METADATA_TOKEN}: {metadata_token(daemon)}"
    refused(metadata(daemon, "GET", ROLES + "agentkeys", token, host=host), secrets, 400, 403)


def test_a_metadata_token_has_a_life_and_a_maker(daemon, secrets):
    for ttl in ([], [f"{TTL}: 0"], [f"{TTL}: 21601"], [f"{TTL}: -1"], [f"{TTL}: x"]):
        refused(metadata(daemon, "PUT", "/latest/api/token", *ttl), secrets, 400)
    for method in ("GET", "POST"):
        refused(metadata(daemon, method, "/latest/api/token", f"{TTL}: 60"), secrets, 401, 405)
    token = metadata_token(daemon)
    for forged in (token[:-1] + ("0" if token[-1] != "0" else "1"), "f" + token[1:], token[:-1], token + "0"):
        refused(metadata(daemon, "GET", ROLES + "agentkeys", f"{METADATA_TOKEN}: {forged}"), secrets, 401)
    brief = f"{METADATA_TOKEN}: {metadata_token(daemon, 1)}"
    deadline = time.monotonic() + 5
    while metadata(daemon, "GET", ROLES, brief).status == 200:
        assert time.monotonic() < deadline, "it outlives its second"
    refused(metadata(daemon, "GET", ROLES, brief), secrets, 401)


def test_the_token_of_one_endpoint_does_not_open_the_other(daemon, secrets):
    token = metadata_token(daemon)
    refused(spoken(daemon.port, head("/credentials", f"Host: 127.0.0.1:{daemon.port}", f"Authorization: {token}")), secrets, 401)
    refused(metadata(daemon, "GET", ROLES, f"{METADATA_TOKEN}: {daemon.token()}"), secrets, 401)
