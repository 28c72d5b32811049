"""Docs are code: what they name exists, and what exists is named."""
from __future__ import annotations

import os
import re
from pathlib import Path

from brokerlib import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", *sorted(DOCS.rglob("*.md"))]


def text(path: str) -> str:
    return (REPOSITORY / path).read_text()


def test_every_error_code_is_documented_and_the_reverse():
    codes = set(re.findall(r'^    \w+, "(\w+)", [A-Z_]+, (?:true|false),', text("core/src/problem.rs"), re.MULTILINE))
    documented = set(re.findall(r"^\| `(\w+)` \|", text("docs/errors.md"), re.MULTILINE))
    assert codes and codes == documented


def test_every_test_that_the_threat_model_names_exists():
    page = text("docs/threat-model.md")
    named = set(re.findall(r"`(test_\w+)`", page)) | set(re.findall(r"`([a-z]+(?:_[a-z0-9]+){4,})`", page))
    sources = "".join(p.read_text() for p in [*(REPOSITORY / "harness").rglob("*.py"), *REPOSITORY.glob("*/**/*.rs") ] if "target" not in p.parts and ".tools" not in p.parts)
    missing = {name for name in named if f"fn {name}(" not in sources and f"def {name}(" not in sources}
    assert len(named) > 40 and not missing


def sections(prefix: str) -> dict:
    """The runbook's sections whose anchor begins so, by the rest of it."""
    prose = re.sub(r"(?s)```.*?```", "", text("docs/operator-runbook.md"))
    found = re.findall(rf"(?ms)^### {prefix}(\S+)\n(.*?)(?=^#|\Z)", prose)
    return {name: body for name, body in found}


def test_every_alert_has_a_section_that_says_what_to_do_and_the_reverse():
    alerts = dict(re.findall(r"(?s)- alert: (\w+)\n.*?runbook: docs/operator-runbook\.md#alert-(\S+)", text("conf/prometheus/alerts.yml")))
    assert alerts and {name.lower(): anchor for name, anchor in alerts.items()} == {a: a for a in alerts.values()}
    written = sections("alert-")
    assert set(written) == set(alerts.values())
    assert all(len(body.split()) >= 2 for body in written.values())


def test_every_readiness_check_and_reason_has_its_entry_and_the_reverse():
    checks = re.findall(r'Self::(\w+) => "(\w+)",', text("gateway/src/readiness.rs"))
    written = sections("ready-")
    assert checks and {name for _, name in checks} == set(written)
    source = text("gateway/src/assemble/background.rs")
    # No reason is made at run time: each is one of these, word for word.
    reasons = set(re.findall(r'Err\("([^"]+)"\)', source))
    documented = {reason for body in written.values() for reason in re.findall(r"(?s)`([a-zA-Z][^`]* [^`]* [^`]*)`", body)}
    assert len(reasons) >= 5 and reasons == {" ".join(reason.split()) for reason in documented}
    (unreported,) = re.findall(r'None => Some\("([^"]+)"', text("gateway/src/readiness.rs"))
    assert f"`{unreported}`" in text("docs/operator-runbook.md")


def test_the_threat_model_lists_every_invariant_and_what_holds_it():
    page = text("docs/threat-model.md")
    rows = re.findall(r"(?m)^\| (\d) \| (.+?) \| (.+) \|$", page.split("## The invariants")[1].split("\n## ")[0])
    assert [number for number, _, _ in rows] == list("1234567")
    for _, name, held in rows:
        assert re.search(r"`(test_\w+|[a-z]+(_[a-z0-9]+){3,})`", held), name
    outside = page.split("## Out of scope")[1].lower()
    assert all(word in outside for word in ("trusted execution environment", "vault", "hosting"))


def test_the_window_after_a_revocation_has_the_figures_of_the_code():
    said = " ".join(text("docs/threat-model.md").split("## What outlives a revocation")[1].split("## ")[0].split())
    longest = re.search(r"max_duration_seconds`[^|]*\|[^|]*\|[^|]*\| `(\d+)`|max_duration_seconds: (\d+)", text("conf/broker.yaml"))
    assert longest and int(next(filter(None, longest.groups()))) == 3600 and "one hour by default" in said
    code = text("filters/src/grant.rs")
    assert "const JWT_TTL: u32 = 300;" in code and "60..=3600" in code
    assert "five minutes by default, one hour at most" in said


def test_every_place_that_the_architecture_names_exists():
    page = text("docs/architecture.md")
    named = set(re.findall(r"`((?:core|filters|gateway|client|conf|docs|harness|scripts)/[\w./-]*)`", page))
    rooms = {f"gateway/src/{name}" for name in re.findall(r"`(\w+)/`", page)} - {f"gateway/src/{top}" for top in ("core", "filters", "client")}
    missing = {path for path in named | rooms if not (REPOSITORY / path).exists()}
    assert len(named) >= 10 and not missing, missing
    # And no room is left out.
    there = {p.name for p in (REPOSITORY / "gateway" / "src").iterdir() if p.is_dir()}
    assert {name for name in there if f"{name}/`" not in page} == set()
    diagram = re.search(r"(?s)```text\n(.*?)```", page)
    assert diagram and max(map(len, diagram.group(1).splitlines())) <= 120 and len(page.splitlines()) <= 90, "a page"


BLOCK = re.compile(r'<!-- code: (\S+), from "(.+?)" to (?:"(.+?)"|end) -->\n```rust\n(.*?)```', re.DOTALL)


def test_code_in_writing_a_filter_is_the_code_that_is_tested():
    blocks = BLOCK.findall(text("docs/writing-a-filter.md"))
    assert len(blocks) >= 4
    for path, start, end, shown in blocks:
        source = (DOCS / path).read_text()
        begin = source.index(start)
        stop = source.index(end, begin) if end else len(source)
        assert shown.strip() == source[begin:stop].strip(), path


def test_every_link_between_pages_leads_somewhere():
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.name} -> {target}")
    assert not broken


def test_the_two_commands_of_the_readme_are_there():
    for script in ("scripts/demo", "scripts/test", ".ci/run"):
        assert os.access(REPOSITORY / script, os.X_OK), script
        assert Path(REPOSITORY / script).read_text().startswith("#!")
