"""boto3 clients that talk to a loopback server and to nothing else.

Credentials are passed by hand: what the machine's environment, profile or
metadata service offers must never make a test green.
"""
from __future__ import annotations

from typing import Any, Mapping, Optional

import boto3
from botocore.config import Config


def client(
    service: str,
    endpoint: str,
    access_key: str,
    secret_key: str,
    session_token: Optional[str] = None,
    region: str = "us-east-1",
) -> Any:
    return boto3.session.Session().client(
        service,
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        aws_session_token=session_token,
        config=Config(
            retries={"max_attempts": 1, "mode": "standard"},
            connect_timeout=5,
            read_timeout=20,
            s3={"addressing_style": "path"},
        ),
    )


def minted_client(service: str, endpoint: str, minted: Mapping[str, str]) -> Any:
    """A client on what `POST /v1/mint-aws-creds` answered, as a user would build it."""
    return client(
        service,
        endpoint,
        minted["access_key_id"],
        minted["secret_access_key"],
        minted["session_token"],
        minted["region"],
    )
