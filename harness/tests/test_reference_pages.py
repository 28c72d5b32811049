"""Reference pages say what the programs say of themselves."""
from __future__ import annotations

import json
import re

from brokerlib import REPOSITORY, run_binary
from clientlib import Machine

DOCS = REPOSITORY / "docs"


def test_every_setting_of_the_broker_is_on_its_page_and_the_reverse(tmp_path):
    done = run_binary("check", "--json", environment={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
    assert done.exit_code == 0, done
    known = set(leaves(json.loads(done.stdout)["settings"], ""))
    documented = set(re.findall(r"^\| `([a-z0-9_.*]+)` \| (?:`BROKER_|–)", (DOCS / "configuration.md").read_text(), re.MULTILINE))
    known |= {"roles", "listeners"}
    assert len(known) > 40 and known == documented, known ^ documented


def leaves(value: object, path: str):
    """Dotted paths of what has a value; a role's alias is the operator's choice."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{'*' if path == 'roles' else key}".lstrip("."))
    else:
        yield path


def test_exit_codes_of_the_clients_are_on_their_page(tmp_path):
    shown = Machine(tmp_path / "home", None).run("--help").stdout.split("Exit codes:")[1]
    codes = dict(re.findall(r"^  (\d+)  (.+)$", shown, re.MULTILINE))
    documented = dict(re.findall(r"^\| (\d+) \| (.+) \|$", (DOCS / "client.md").read_text(), re.MULTILINE))
    assert len(codes) > 5 and codes == documented


def test_settings_of_the_clients_are_on_their_page(tmp_path):
    shown = Machine(tmp_path / "home", None).run("config").stdout.splitlines()[1:]
    known = {line.split()[0] for line in shown if line.strip()}
    documented = set(re.findall(r"^\| `(\w+)` \| `AGENTKEYS_", (DOCS / "client.md").read_text(), re.MULTILINE))
    assert len(known) > 5 and known == documented
