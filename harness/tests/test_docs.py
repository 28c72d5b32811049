"""Docs are code: what they name exists, and what exists is named."""
from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from brokerlib import REPOSITORY, binary

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


def test_every_readiness_check_and_alert_has_its_section():
    page = text("docs/operator-runbook.md")
    anchors = {heading.strip().lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", page, re.MULTILINE)}
    checks = re.findall(r'Self::\w+ => "(\w+)",', text("gateway/src/readiness.rs"))
    assert checks and {f"ready-{check}" for check in checks} <= anchors
    named = re.findall(r"operator-runbook\.md#(\S+)", text("conf/prometheus/alerts.yml"))
    assert named and set(named) <= anchors


BLOCK = re.compile(r'<!-- code: (\S+), from "(.+?)" to (?:"(.+?)"|end) -->\n```rust\n(.*?)```', re.DOTALL)


def test_code_in_writing_a_filter_is_the_code_that_is_tested():
    blocks = BLOCK.findall(text("docs/writing-a-filter.md"))
    assert len(blocks) >= 4
    for path, start, end, shown in blocks:
        source = (DOCS / path).read_text()
        begin = source.index(start)
        stop = source.index(end, begin) if end else len(source)
        assert shown.strip() == source[begin:stop].strip(), path


def commands() -> list:
    """Every command line of ours in a sh block, once."""
    found = set()
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] in ("agentkeys", "agentkeys-daemon", "agentkeys-broker-server"):
                    verbs = []
                    for word in words[1:]:
                        if not re.fullmatch(r"[a-z][a-z-]*", word) or len(verbs) == 2:
                            break
                        verbs.append(word)
                    options = tuple(w.split("=")[0] for w in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", w))
                    found.add((words[0], tuple(verbs), options))
    return sorted(found)


@pytest.mark.parametrize("program, verbs, options", commands(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else value)
def test_every_command_in_the_docs_exists(program, verbs, options):
    path = binary().parent / program
    if not path.exists():
        pytest.fail(f"{path} is not built: cargo build --workspace")
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    while True:
        done = subprocess.run([str(path), *verbs, "--help"], capture_output=True, text=True, env=environment)
        if done.returncode == 0 or len(verbs) < 2:
            break
        verbs = verbs[:-1]  # the last word was an argument, such as a service's name
    assert done.returncode == 0, done.stderr
    if "--" not in options:
        for option in options:
            assert option in done.stdout, f"{program} {' '.join(verbs)} has no {option}"


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
