"""The edge over raw sockets: what no well-behaved client sends.

Every refusal is readable by the
client, and no refusal tells anything about what exists.
"""
from __future__ import annotations

import threading
import time

import pytest

from expect import refused
from peers.process import wait_until
from raw_http import RawConnection, request

MINT = "/v1/mint-aws-creds"


@pytest.fixture
def broker(shared_broker):
    return shared_broker


@pytest.fixture
def token(shared_broker) -> str:
    return shared_broker.token()


def connect(broker) -> RawConnection:
    return RawConnection("127.0.0.1", broker.port)


def bearer(token: str) -> dict:
    return {"Authorization": f"Bearer {token}"}


# Bodies


@pytest.mark.parametrize("attempt", range(3))
def test_413_reaches_a_client_that_is_still_sending(broker, token, attempt):
    head = {**bearer(token), "Content-Type": "application/json", "Content-Length": "50000000"}
    with connect(broker) as connection:
        connection.send(request("POST", MINT, head))
        sending = threading.Thread(target=lambda: [connection.send(b"x" * 65536) for _ in range(40)])
        sending.start()
        answer = connection.answer()
        sending.join()
    assert answer is not None, "the answer was lost"
    refused(answer, 413, "body_too_large")


def test_413_for_a_chunked_body_of_no_declared_length(broker, token):
    head = {**bearer(token), "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    with connect(broker) as connection:
        connection.send(request("POST", MINT, head))

        def send() -> None:
            for _ in range(64):
                if not connection.send(b"10000\r\n" + b"x" * 65536 + b"\r\n"):
                    return

        sending = threading.Thread(target=send)
        sending.start()
        answer = connection.answer()
        sending.join()
    assert answer is not None, "the answer was lost"
    refused(answer, 413, "body_too_large")


@pytest.mark.parametrize("attempt", range(5))
def test_an_early_401_reaches_a_client_that_sends_a_body(broker, attempt):
    body = b"x" * 300_000
    head = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    with connect(broker) as connection:
        sending = threading.Thread(target=lambda: connection.send(request("POST", MINT, head, body)))
        sending.start()
        answer = connection.answer()
        sending.join()
    assert answer is not None, "the answer was lost"
    refused(answer, 401, "invalid_token")


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        '"x"',
        '{"roel": "agent"}',
        '{"duration_seconds": "900"}',
        '{"duration_seconds": 1e400}',
        '{"role": "Agent"}',
        '{"role": "../agent"}',
        '{"role": "agent", "role": "agent"}',
        '{"read_only": null, "wallet": "0x00"}',
        "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
    ],
    ids=lambda body: body[:24],
)
def test_a_body_that_is_not_a_request_is_400(broker, token, body):
    answer = broker.post(MINT, body, token=token, headers={"Content-Type": "application/json"})
    refused(answer, 400, "bad_request")


def test_another_content_type_is_415(broker, token):
    answer = broker.post(MINT, '{"role":"agent"}', token=token, headers={"Content-Type": "text/plain"})
    refused(answer, 415, "unsupported_media_type")


def test_expect_100_continue_is_answered(broker, token):
    body = b'{"duration_seconds": 900}'
    head = {
        **bearer(token),
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Expect": "100-continue",
    }
    with connect(broker) as connection:
        started = time.monotonic()
        connection.send(request("POST", MINT, head))
        interim = connection.answer()
        assert interim is not None and interim.status == 100
        assert time.monotonic() - started < 0.9, "curl would have given up waiting"
        connection.send(body)
        final = connection.answer()
    assert final is not None and final.status == 200, final


def test_expect_100_continue_is_not_asked_of_a_stranger(broker):
    head = {"Content-Length": "10", "Expect": "100-continue"}
    with connect(broker) as connection:
        connection.send(request("POST", MINT, head))
        answer = connection.answer()
    assert answer is not None and answer.status == 401


# Heads


def test_431_for_a_huge_head(broker):
    with connect(broker) as connection:
        sending = threading.Thread(
            target=lambda: connection.send(request("GET", "/healthz", {"X-Padding": "x" * 200_000}))
        )
        sending.start()
        answer = connection.answer()
        sending.join()
    assert answer is not None, "the answer was lost"
    refused(answer, 431, "head_too_large")


def test_a_head_of_many_fields_is_refused(broker):
    with connect(broker) as connection:
        connection.send(request("GET", "/healthz", {f"X-{n}": "1" for n in range(240)}))
        answer = connection.answer()
    assert answer is not None and answer.status in (400, 431), answer


def test_a_million_dots_cost_nothing(broker):
    with connect(broker) as connection:
        started = time.monotonic()
        sending = threading.Thread(
            target=lambda: connection.send(request("GET", "/v1/session", bearer("." * 1_000_000)))
        )
        sending.start()
        answer = connection.answer()
        sending.join()
    assert answer is None or 400 <= answer.status < 500
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["no Host", "two Hosts", "the same Host twice", "no colon", "NUL", "TLS to a plain port"],
)
def test_a_head_that_is_not_http_is_400(broker, head):
    with connect(broker) as connection:
        connection.send(head)
        answer = connection.answer()
        assert connection.answer() is None, "one answer, and the connection ends"
    assert answer is not None
    refused(answer, 400, "bad_request")


def test_connect_is_refused_and_what_follows_is_not_read(broker):
    smuggled = request("GET", "/healthz", {})
    with connect(broker) as connection:
        connection.send(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n" + smuggled)
        answers = connection.answers_until_close()
    assert len(answers) == 1, [str(answer) for answer in answers]
    refused(answers[0], 405, "method_not_allowed")


def test_two_authorization_fields_are_400(broker, token):
    lines = f"GET /v1/session HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nAuthorization: Bearer {token}\r\n\r\n"
    with connect(broker) as connection:
        connection.send(lines.encode())
        answer = connection.answer()
    assert answer is not None
    refused(answer, 400, "bad_request")


def test_content_length_beside_transfer_encoding_smuggles_nothing(broker, token):
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    body = b"0\r\n\r\n" + smuggled
    head = (
        f"POST {MINT} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with connect(broker) as connection:
        connection.send(head.encode() + body)
        answers = connection.answers_until_close()
    assert len(answers) == 1, [str(answer) for answer in answers]
    assert "smuggled" not in answers[0].text


@pytest.mark.parametrize("length", ["-1", "+5", "5, 6", "0x5", "99999999999999999999", "five"])
def test_a_content_length_that_is_no_number_is_refused(broker, token, length):
    with connect(broker) as connection:
        connection.send(request("POST", MINT, {**bearer(token), "Content-Length": length}, b"{}   "))
        answer = connection.answer()
    assert answer is None or 400 <= answer.status < 500, answer


def test_unknown_paths_and_methods_are_problems(broker, token):
    refused(broker.get("/no/such/path"), 404, "not_found")
    answer = broker.request("DELETE", MINT, token=token)
    refused(answer, 405, "method_not_allowed")
    assert answer.header("allow") == "POST"
    for path in ("//healthz", "/healthz/", "/v1/../healthz", "/%2e%2e/healthz", "/HEALTHZ"):
        assert broker.get(path).status in (400, 404), path


def test_head_is_answered_without_a_body(broker):
    with connect(broker) as connection:
        connection.send(request("HEAD", "/healthz", {}))
        answer = connection.answer(bodiless=True)
        assert answer is not None and answer.status == 200
        connection.send(request("GET", "/healthz", {}))
        following = connection.answer()
    assert following is not None and following.status == 200


def test_a_connection_is_reused(broker, token):
    with broker.client() as client:
        ids = {client.request("GET", "/v1/session", token=token).header("x-request-id") for _ in range(5)}
    assert len(ids) == 5, "each request has its own id"


# Refusals


def test_refusals_of_a_token_are_byte_identical(broker, role_broker):
    """Unknown, expired, revoked, malformed and absent: one body."""
    elsewhere = role_broker()
    expired = broker.session_issue(ttl="1s")["token"]
    revoked = broker.session_issue()
    broker.cli("session", "revoke", revoked["session_id"])
    live = broker.token()
    wait_until(lambda: broker.get("/v1/session", token=expired).status == 401, 10, "the session expires")
    tokens = {
        "unknown": elsewhere.token(),
        "expired": expired,
        "revoked": revoked["token"],
        "bad checksum": live[:-1] + ("0" if live[-1] != "0" else "1"),
        "cut short": live[:-1],
        "other alphabet": live[:-1] + "-",
        "garbage": "garbage",
        "empty": "",
        "a JWT": broker.mint_jwt(live)["jwt"],
    }
    bodies, challenges = {}, {}
    for what, presented in tokens.items():
        answer = broker.get("/v1/session", token=presented)
        problem = refused(answer, 401, "invalid_token")
        bodies[what] = answer.body.replace(problem["request_id"].encode(), b"ID")
        challenges[what] = answer.header("www-authenticate")
        assert answer.header("cache-control") == "no-store"
    absent = broker.get("/v1/session")
    bodies["absent"] = absent.body.replace(absent.problem()["request_id"].encode(), b"ID")
    assert len(set(bodies.values())) == 1, bodies
    assert len(set(challenges.values())) == 1, challenges


def test_rfc_6750_challenges(broker, token):
    absent = broker.get("/v1/session").header("www-authenticate")
    assert absent.startswith("Bearer") and "error=" not in absent, "no error code where no token was sent"
    wrong = broker.get("/v1/session", token="garbage").header("www-authenticate")
    assert wrong.startswith("Bearer") and 'error="invalid_token"' in wrong
    narrow = broker.try_mint(token, role="administrator")
    assert narrow.status == 403 and 'error="insufficient_scope"' in narrow.header("www-authenticate")


@pytest.mark.parametrize(
    "value", ["Basic dTpw", "bearer", "Bearer", "Token x", "Bearer a b", "Bearer\tx"], ids=repr
)
def test_other_schemes_and_shapes_are_401(broker, value):
    refused(broker.get("/v1/session", headers={"Authorization": value}), 401, "invalid_token")


def test_the_scheme_is_case_insensitive(broker, token):
    assert broker.get("/v1/session", headers={"Authorization": f"bEaReR {token}"}).status == 200


def test_a_token_in_the_query_opens_nothing(broker, token):
    assert broker.get(f"/v1/session?access_token={token}").status == 401


def test_every_answer_has_an_id_and_no_sniffing(broker, token):
    for answer in (
        broker.get("/healthz"),
        broker.get("/nowhere"),
        broker.get("/v1/session"),
        broker.get("/v1/session", token=token),
        broker.try_mint(token),
    ):
        assert answer.header("x-request-id"), answer
        assert answer.header_all("content-length") and answer.header("date")


def test_credential_answers_are_never_cached(broker, token):
    for answer in (broker.try_mint(token), broker.try_mint_jwt(token), broker.try_mint(None)):
        assert answer.header("cache-control") == "no-store"
