"""The pages for people: every role has its parts, every command exists, every link leads somewhere."""
from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from brokerlib import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [DOCS / "dev-setup.md", DOCS / "stage7-wip.md", *sorted((DOCS / "concepts").glob("*.md"))]
PARTS = ["Prerequisites", "Install", "Start", "What success looks like"]
COMMAND = re.compile(r"(?m)(?:^|\s)(agentkeys(?:-broker-server)?)((?: [a-z][a-z-]*)*)")


def test_each_role_has_every_part_in_order():
    text = re.sub(r"(?s)```.*?```", "", (DOCS / "dev-setup.md").read_text())
    roles = dict(re.findall(r"(?ms)^# ([^\n]+)\n(.*?)(?=^# |\Z)", text))
    assert list(roles)[1:] == ["Operator", "App developer", "End user"]
    for role in list(roles)[1:]:
        assert re.findall(r"(?m)^## (.+)$", roles[role]) == PARTS, role


def commands() -> list:
    found = set()
    for page in PAGES:
        for block in re.findall(r"(?s)```sh\n(.*?)```", page.read_text()):
            for line in block.splitlines():
                line = line.split("#")[0]
                for program, words in COMMAND.findall(line):
                    found.add((program, tuple(words.split())))
    return sorted(found)


@pytest.mark.parametrize("program, words", commands(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else value)
def test_a_command_that_a_page_names_exists(broker_binary, program, words):
    path = broker_binary.parent / program
    if not path.exists():
        pytest.fail(f"no {path}: build the workspace first")
    done = subprocess.run([str(path), *words, "--help"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        if anchor:
            heads = re.findall(r"(?m)^#+ (.+)$", there.read_text())
            assert anchor in [re.sub(r"[^a-z0-9 _-]", "", h.lower()).replace(" ", "-") for h in heads], target
