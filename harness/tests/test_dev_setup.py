"""The pages for people: every role has its parts, every link leads somewhere. test_dev_setup_run.py pastes them."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from brokerlib import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
PARTS = ["Prerequisites", "Install", "Start", "What success looks like"]


def test_each_role_has_every_part_in_order():
    text = re.sub(r"(?s)```.*?```", "", (DOCS / "dev-setup.md").read_text())
    roles = dict(re.findall(r"(?ms)^# ([^\n]+)\n(.*?)(?=^# |\Z)", text))
    assert list(roles)[1:] == ["Operator", "App developer", "End user"]
    for role in list(roles)[1:]:
        assert re.findall(r"(?m)^## (.+)$", roles[role]) == PARTS, role


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
