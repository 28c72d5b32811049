"""What `features.json` may say: a deliverable, what proves it, and a mutation that must turn the proof red.

A mutation breaks the product and never a test. It has one of these kinds:

http    a proxy before the broker spoils one answer or one request (`spoiler`)
sts     the same between the broker and STS
daemon  the same before agentkeys-daemon, at the address of its ready line that `door` names
config  keys of broker.yaml are changed before the broker reads it
cli     one command gets other arguments, prints something else, or does nothing
disk    files of the data directory are changed under the broker
say     the broker's log begins with the value of a variable of its environment
file    one text in a copy of the checkout is replaced
"""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional

KINDS = ("http", "sts", "daemon", "config", "cli", "disk", "say", "file")
KEYS = {"id", "area", "covers", "spec", "deliverable", "prove", "command", "needs", "mutation"}


class BadFeatures(ValueError):
    """The list of features is itself wrong."""


@dataclass(frozen=True)
class Mutation:
    says: str
    kind: str
    change: Dict[str, Any]
    # The one test that has to notice; None for a feature that a command proves.
    test: Optional[str] = None
    # What a command prints when it noticed.
    shows: Optional[str] = None


@dataclass(frozen=True)
class Feature:
    id: str
    area: str
    spec: str
    deliverable: str
    mutation: Mutation
    covers: List[str] = field(default_factory=list)
    # Tests, as `test_file.py::test_name` or with the parameters in brackets.
    prove: List[str] = field(default_factory=list)
    # Or one command line, run at the root of the checkout.
    command: Optional[List[str]] = None


def load(path: Path) -> List[Feature]:
    rows = json.loads(path.read_text())
    features = [_feature(row) for row in rows]
    ids = [feature.id for feature in features]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise BadFeatures(f"twice in {path.name}: {', '.join(twice)}")
    return features


def _feature(row: Dict[str, Any]) -> Feature:
    name = row.get("id", "a feature without an id")
    unknown = set(row) - KEYS
    missing = {"id", "area", "spec", "deliverable", "mutation"} - set(row)
    if unknown or missing:
        raise BadFeatures(f"{name}: unknown {sorted(unknown)}, missing {sorted(missing)}")
    if bool(row.get("prove")) == bool(row.get("command")):
        raise BadFeatures(f"{name}: has to have tests (prove) or a command, and not both")
    return Feature(
        id=row["id"],
        area=row["area"],
        spec=row["spec"],
        deliverable=row["deliverable"],
        covers=row.get("covers", []),
        prove=row.get("prove", []),
        command=row.get("command"),
        mutation=_mutation(name, row["mutation"], row.get("prove", [])),
    )


def _mutation(name: str, row: Dict[str, Any], prove: List[str]) -> Mutation:
    kinds = [kind for kind in KINDS if kind in row]
    unknown = set(row) - set(KINDS) - {"says", "test", "shows"}
    if len(kinds) != 1 or unknown or "says" not in row:
        raise BadFeatures(f"{name}: a mutation says what it does and has one kind of {KINDS}")
    test = row.get("test") or (prove[0] if prove else None)
    if test is not None and test.split("[")[0] not in [proof.split("[")[0] for proof in prove]:
        raise BadFeatures(f"{name}: the mutation's test {test} is none of its proofs")
    if test is None and "shows" not in row:
        raise BadFeatures(f"{name}: a command's mutation says what the command shows when it notices")
    return Mutation(row["says"], kinds[0], row[kinds[0]], test, row.get("shows"))
