"""The AWS clients that developers use, each through the same round of one wallet's day.

A round writes, reads and lists under the wallet's own prefix, then tries the same under
another's. No client gets a parameter: credentials, region and endpoint are what it finds
by itself on the machine that it runs on.
"""
from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Mapping

from brokerlib import REPOSITORY
from clientlib import Machine
from peers.tools import require_tool

HERE = Path(__file__).resolve().parent
NODE = REPOSITORY / ".tools" / "node"
REFUSAL = re.compile(r"An error occurred \((\w+)\)")


class Missing(RuntimeError):
    """An optional client is not installed."""


@dataclass
class Place:
    """Where a round goes."""

    bucket: str
    own: str
    other: str


@dataclass
class Round:
    """What one client saw."""

    # In the client's own words.
    source: str
    # Every AWS_* name in its environment.
    variables: List[str]
    read: str
    listed: List[str]
    # The error code by operation; "" for one that was let through.
    refused: Dict[str, str]


class Boto3:
    """boto3, as a program of the developer's own."""

    name = "boto3"
    credentials = {"process": "custom-process", "container": "container-role", "imds": "iam-role"}

    def round(self, machine: Machine, more: Mapping[str, str], place: Place, body: str) -> Round:
        return _program(machine, more, [sys.executable, HERE / "boto3_round.py"], place, body)


class JavaScript:
    """The AWS SDK for JavaScript v3 with its default chain."""

    name = "javascript"
    # It puts no name on one from the metadata service; every other it would have named.
    credentials = {
        "process": "CREDENTIALS_PROCESS CREDENTIALS_PROFILE_PROCESS",
        "container": "CREDENTIALS_HTTP",
        "imds": "",
    }

    def round(self, machine: Machine, more: Mapping[str, str], place: Place, body: str) -> Round:
        node = shutil.which("node")
        if node is None:
            raise Missing("node is not installed")
        version = machine.command([node, "--version"]).stdout
        if int(version.lstrip("v").split(".")[0]) < 20:
            raise Missing(f"the SDK for JavaScript needs Node 20, and this is {version.strip()}")
        if not (NODE / "node_modules" / "@aws-sdk" / "client-s3").exists():
            raise Missing("npm's @aws-sdk/client-s3 is missing: scripts/bootstrap said why")
        return _program(machine, more, [node, HERE / "javascript_round.cjs", NODE], place, body)


class AwsCli:
    """The command line, as a person types it."""

    name = "awscli"
    credentials = {"process": "custom-process", "container": "container-role", "imds": "iam-role"}

    def round(self, machine: Machine, more: Mapping[str, str], place: Place, body: str) -> Round:
        def aws(*arguments: str):
            return machine.command([require_tool("aws", "awscli"), *arguments], more=dict(more))

        def done(*arguments: str) -> str:
            result = aws(*arguments)
            assert result.returncode == 0, f"aws {arguments}: {result.stderr}"
            return result.stdout

        def refusal(*arguments: str) -> str:
            result = aws(*arguments)
            if result.returncode == 0:
                return ""
            code = REFUSAL.search(result.stderr)
            return code.group(1) if code else result.stderr

        there = f"s3://{place.bucket}/"
        (machine.home / "mail").write_text(body)
        done("s3", "cp", "mail", f"{there}{place.own}mail")
        done("s3", "cp", f"{there}{place.own}mail", "mail.back")
        others = ["--bucket", place.bucket, "--key"]
        return Round(
            source=_type_of_key(done("configure", "list")),
            variables=_variables(machine.command(["env"], more=dict(more)).stdout),
            read=(machine.home / "mail.back").read_text(),
            listed=[line.split()[-1] for line in done("s3", "ls", f"{there}{place.own}").splitlines()],
            refused={
                "get": refusal("s3api", "get-object", *others, f"{place.other}secret", "stolen"),
                "put": refusal("s3api", "put-object", *others, f"{place.other}planted", "--body", "mail"),
                "list": refusal("s3", "ls", f"{there}{place.other}"),
            },
        )


SDKS = [AwsCli(), Boto3(), JavaScript()]


def _program(machine: Machine, more: Mapping[str, str], argv: list, place: Place, body: str) -> Round:
    done = machine.command([*argv, place.bucket, place.own, place.other], stdin=body, more=dict(more))
    assert done.returncode == 0, done.stderr
    return Round(**json.loads(done.stdout))


def _type_of_key(table: str) -> str:
    """The type of the `access_key` row of `aws configure list`."""
    row = next(line for line in table.splitlines() if "access_key" in line)
    return next(word for word in re.split(r"[\s:]+", row) if "-" in word)


def _variables(environment: str) -> List[str]:
    names = [line.split("=", 1)[0] for line in environment.splitlines()]
    return sorted(name for name in names if name.startswith("AWS_"))
