"""The acceptance of Stage 7 judges itself: what proves nothing fails, and nothing that was promised is left out."""
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator, List

import pytest
import yaml

from brokerlib import REPOSITORY, binary, run_binary
from clientlib import client_program
from stage7 import environment, features
from stage7.proofs import collect

FEATURES = REPOSITORY / "harness" / "features.json"
PASSING = "test_cli.py::test_version_and_help"
PROGRAMS = ("agentkeys-broker-server", "agentkeys", "agentkeys-daemon")


# The runner


class Judged:
    def __init__(self, done: subprocess.CompletedProcess) -> None:
        self.exit_code, self.output = done.returncode, done.stdout + done.stderr
        self.verdict = [line for line in self.output.splitlines() if line.startswith("stage-7: ")][-1]


@pytest.fixture
def judge(broker_binary, tmp_path):
    """Runs the acceptance over one made-up feature."""

    def run(*arguments: str, **feature) -> Judged:
        row = {
            "id": "made-up",
            "area": "test",
            "spec": "none",
            "deliverable": "of this test",
            "mutation": {"says": "help is empty", "cli": {"program": PROGRAMS[0], "run": "--help", "prints": ""}},
            **feature,
        }
        listed = tmp_path / "features.json"
        listed.write_text(json.dumps([row]))
        done = subprocess.run(
            [sys.executable, "-m", "stage7.run", "--features", str(listed), "--binaries", str(binary().parent), *arguments],
            cwd=REPOSITORY / "harness",
            env={**os.environ, "AWS_SECRET_ACCESS_KEY": "ambient", "OPENROUTER_API_KEY": "ambient"},
            capture_output=True,
            text=True,
            timeout=100,
        )
        return Judged(done)

    return run


def test_a_feature_that_works_and_whose_proof_notices_passes(judge):
    judged = judge(prove=[PASSING])
    assert judged.exit_code == 0, judged.output
    assert judged.verdict.startswith("stage-7: PASS 1 features, 1 proved by mutation")
    assert "[1/1] ok   made-up" in judged.output and "(mutation: help is empty → red)" in judged.output
    (line,) = [line for line in judged.output.splitlines() if line.startswith("environment of every proof:")]
    assert "AWS_" not in line and "OPENROUTER" not in line


def test_a_proof_that_does_not_notice_its_mutation_fails(judge):
    idle = {"says": "another command is silent", "cli": {"program": PROGRAMS[0], "run": "keys list", "prints": ""}}
    judged = judge(prove=[PASSING], mutation=idle)
    assert judged.exit_code == 1 and judged.verdict.startswith("stage-7: FAIL 1 of 1")
    assert f"proves nothing: {PASSING} passes although another command is silent" in judged.output


def test_a_proof_that_does_not_exist_fails(judge):
    judged = judge(prove=["test_cli.py::test_of_nothing"])
    assert judged.exit_code == 1 and "no test test_cli.py::test_of_nothing" in judged.output


@pytest.mark.parametrize(
    "command, why",
    [(["harness/no-such-program"], "exit code 127: harness/no-such-program: No such file"), (["false"], "exit code 1")],
    ids=["missing", "failing"],
)
def test_a_command_that_is_missing_or_fails_fails(judge, command, why):
    mutation = {"says": "x", "shows": "x", "config": {"a": 1}}
    judged = judge("--no-mutations", command=command, mutation=mutation)
    assert judged.exit_code == 1 and why in judged.output, judged.output


def test_a_command_that_a_mutation_does_not_move_fails(judge):
    mutation = {"says": "x", "shows": "x", "config": {"a": 1}}
    judged = judge(command=["true"], mutation=mutation)
    assert judged.exit_code == 1 and "proves nothing: exit code 0 although x" in judged.output


def test_a_mutation_of_a_text_that_is_gone_fails(judge):
    mutation = {"says": "x", "file": {"path": "README.md", "replace": ["this stands nowhere in it", "x"]}}
    judged = judge(prove=[PASSING], mutation=mutation)
    assert judged.exit_code == 1 and "the mutation cannot be made" in judged.output


def test_a_run_without_mutations_says_so(judge):
    judged = judge("--no-mutations", prove=[PASSING])
    assert judged.exit_code == 0 and "no mutation tried" in judged.verdict


def test_an_unknown_feature_is_an_error(judge):
    assert judge("--only", "no-such-feature", prove=[PASSING]).exit_code == 1


def test_nothing_of_the_callers_environment_reaches_a_proof(tmp_path):
    outer = {"PATH": "/usr/bin", "AWS_SECRET_ACCESS_KEY": "x", "AGENTKEYS_BROKER_URL": "x", "OPENROUTER_API_KEY": "x", "HOME": "/root"}
    inside = environment.scrubbed(tmp_path / "home", tmp_path, outer)
    assert set(inside) == {"PATH", "HOME", "LANG", "PYTHONDONTWRITEBYTECODE", "BROKER_BIN", "AGENTKEYS_BIN", "AGENTKEYS_DAEMON_BIN"}
    assert inside["HOME"] == str(tmp_path / "home")


# The list is complete


@pytest.fixture(scope="module")
def listed() -> List[features.Feature]:
    return features.load(FEATURES)


@pytest.fixture(scope="module")
def covered(listed) -> set:
    return {name for feature in listed for name in feature.covers}


def test_every_endpoint_is_a_feature(shared_broker, covered):
    paths = shared_broker.get("/openapi.json").json()["paths"]
    served = {
        f"{method.upper()} {path}"
        for path, item in paths.items()
        for method in item
        if method in ("get", "post", "put", "delete", "patch")
    }
    assert len(served) > 15 and not served - covered


def subcommands(program: Path, words: tuple = ()) -> Iterator[tuple]:
    """Of one program, as its help lists them; only those that do something themselves."""
    done = subprocess.run([str(program), *words, "--help"], capture_output=True, text=True, env={"HOME": "/nonexistent"})
    section = re.search(r"^Commands:\n((?:  .*\n|\n)*)", done.stdout, re.MULTILINE)
    names = re.findall(r"^  ([a-z][a-z-]*)", section.group(1), re.MULTILINE) if section else []
    if not names:
        yield words
    for name in names:
        if name != "help":
            yield from subcommands(program, (*words, name))


def test_every_command_is_a_feature(broker_binary, covered):
    commands = {
        " ".join((name, *words)) for name in PROGRAMS for words in subcommands(client_program(name) if name != PROGRAMS[0] else broker_binary)
    }
    assert len(commands) > 35 and not commands - covered


def test_every_page_is_a_feature(covered):
    pages = {str(page.relative_to(REPOSITORY)) for page in (REPOSITORY / "docs").rglob("*.md")} | {"README.md"}
    assert len(pages) > 10 and not pages - covered


def test_everything_that_an_operator_takes_from_conf_is_a_feature(covered):
    taken = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "conf").rglob("*")
        if path.is_file() and "aws" not in path.parts and path.name != "alerts_test.yml"
    }
    assert len(taken) >= 5 and not taken - covered


def test_every_part_of_the_configuration_is_a_feature(covered):
    parts = yaml.safe_load((REPOSITORY / "conf" / "broker.yaml").read_text())
    assert not {f"broker.yaml: {name}" for name in parts} - covered


def test_every_invariant_is_a_feature(covered):
    """As many as the threat model's table has."""
    page = (REPOSITORY / "docs" / "threat-model.md").read_text()
    table = page.split("## The invariants")[1].split("\n## ")[0]
    numbers = re.findall(r"^\| (\d+) \|", table, re.MULTILINE)
    assert len(numbers) == 7 and not {f"invariant {number}" for number in numbers} - covered


def test_every_proof_exists(listed, tmp_path):
    """Found by pytest's own collection, without running one."""
    inside = environment.scrubbed(tmp_path / "home", binary().parent)
    found = collect(REPOSITORY, inside, tmp_path / "scratch")
    named = {proof for feature in listed for proof in [*feature.prove, feature.mutation.test] if proof}
    assert not {proof for proof in named if not found.of(proof)}, found.broken


def test_no_two_features_have_one_mutation(listed):
    """A mutation that serves two features would not tell them apart."""
    seen = {}
    for feature in listed:
        mutation = feature.mutation
        key = json.dumps([mutation.kind, mutation.change, mutation.test], sort_keys=True)
        assert key not in seen, (feature.id, seen[key])
        seen[key] = feature.id


def test_what_a_spoiled_service_key_would_look_like(listed):
    """The mutations carry no secret, since they stand in the repository."""
    text = FEATURES.read_text()
    assert not re.search(r"AKIA(?!X{16})[A-Z0-9]{16}", text) and "PRIVATE KEY" not in text


def test_the_script_builds_and_scrubs(tmp_path):
    done = subprocess.run(["bash", "-n", str(REPOSITORY / "harness" / "stage-7-done.sh")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
