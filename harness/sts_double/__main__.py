"""`python -m sts_double [--port 0] [--issuer URL …]`: prints `ready http://127.0.0.1:PORT`.

The operator's key is read from STS_DOUBLE_ACCESS_KEY_ID and
STS_DOUBLE_SECRET_ACCESS_KEY, since an argument could be seen by every user of
the machine. Without them no signed call is accepted.
"""
from __future__ import annotations

import argparse
import os
import secrets

from .account import Account, tag_policy, whole_bucket_policy
from .providers import Provider
from .server import Double, serve


def main() -> None:
    options = _options()
    account = Account(
        options.account,
        options.bucket or f"agentkeys-mail-{options.account}",
        os.environ.get("STS_DOUBLE_ACCESS_KEY_ID") or "AKIA" + secrets.token_hex(8).upper(),
        os.environ.get("STS_DOUBLE_SECRET_ACCESS_KEY") or secrets.token_urlsafe(30),
    )
    for issuer in options.issuer:
        account.add_provider(
            Provider(
                issuer,
                tuple(options.client_id or ["sts.amazonaws.com"]),
                options.ca_file,
                options.jwks_cache,
                options.jwks_cooldown,
            )
        )
    policies = {"tag": tag_policy, "whole_bucket": whole_bucket_policy}
    account.add_role(options.role, policies[options.role_policy](account.bucket), options.max_session_seconds)
    server = serve(Double(account, options.tolerance), options.port)
    print(f"ready http://127.0.0.1:{server.server_address[1]}", flush=True)
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        pass


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="sts_double", description="A strict stand-in for AWS STS.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--issuer", action="append", default=[], help="register as an OIDC provider; repeatable")
    parser.add_argument("--client-id", action="append", help="an accepted audience (default sts.amazonaws.com)")
    parser.add_argument("--ca-file", help="trust this CA for https issuers")
    parser.add_argument("--account", default="111122223333")
    parser.add_argument("--role", default="agentkeys-agent")
    parser.add_argument("--role-policy", choices=("tag", "whole_bucket"), default="tag")
    parser.add_argument("--bucket", help="default agentkeys-mail-<account>")
    parser.add_argument("--max-session-seconds", type=int, default=3600)
    parser.add_argument("--tolerance", type=int, default=300, help="clock tolerance in seconds")
    parser.add_argument("--jwks-cache", type=float, default=300)
    parser.add_argument("--jwks-cooldown", type=float, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
