"""`/openapi.json` describes exactly what is served, and everything not public asks for a token."""
from __future__ import annotations

import pytest

# The contract's table: what anyone may call.
PUBLIC = {
    ("get", "/.well-known/openid-configuration"),
    ("get", "/.well-known/jwks.json"),
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/openapi.json"),
    ("get", "/pair"),
    ("post", "/v1/sessions/challenge"),
    ("post", "/v1/sessions"),
    ("post", "/oauth/device_authorization"),
    # By device or session: what it asks for depends on the grant type.
    ("post", "/oauth/token"),
}
SESSION = {
    ("post", "/v1/mint-oidc-jwt"),
    ("post", "/v1/mint-aws-creds"),
    ("get", "/v1/environment"),
    ("get", "/v1/session"),
    ("post", "/oauth/revoke"),
    ("post", "/oauth/introspect"),
    ("get", "/v1/credentials"),
    ("get", "/v1/credentials/{service}"),
    ("put", "/v1/credentials/{service}"),
    ("delete", "/v1/credentials/{service}"),
}
METHODS = {"get", "post", "put", "delete", "patch"}


@pytest.fixture(scope="module")
def operations(shared_broker):
    document = shared_broker.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    return {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def test_the_contracts_routes_are_all_there(operations):
    assert PUBLIC | SESSION <= set(operations), sorted((PUBLIC | SESSION) - set(operations))


def test_what_is_not_public_refuses_without_a_token(shared_broker, operations):
    opened = []
    for method, path in sorted(set(operations) - PUBLIC):
        body = {} if method in ("post", "put") else None
        answer = shared_broker.request(method.upper(), path.replace("{service}", "openrouter"), body)
        if answer.status != 401:
            opened.append((method, path, answer.status))
    assert not opened


def test_what_is_described_is_served(shared_broker, operations):
    missing = []
    for method, path in sorted(operations):
        body = {} if method in ("post", "put") else None
        answer = shared_broker.request(method.upper(), path.replace("{service}", "openrouter"), body)
        if answer.status in (404, 405):
            missing.append((method, path, answer.status))
    assert not missing


@pytest.mark.parametrize(
    "path", ["/metrics", "/admin", "/v1/admin", "/internal/sign", "/debug", "/v1/sessions/issue", "/audit"]
)
def test_nothing_of_the_operator_is_on_the_public_listener(shared_broker, path):
    assert shared_broker.get(path).status in (404, 405)
    assert shared_broker.post(path, {}).status in (404, 405)
