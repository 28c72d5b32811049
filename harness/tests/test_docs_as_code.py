"""Every `sh` block of every page is pasted by a test, or says why none can."""
from __future__ import annotations

import re

import pytest

from brokerlib import REPOSITORY
from docs_as_code import Page, pages

PAGES = [Page(str(path.relative_to(REPOSITORY))) for path in pages()]
TESTS = {path.name: path.read_text() for path in (REPOSITORY / "harness" / "tests").glob("test_*.py")}


def pasted(page: Page) -> set:
    """The names of the page's blocks that a test takes, or has among its parameters."""
    mine = [text for text in TESTS.values() if f'Page("{page.path}")' in text]
    named = {name for text in mine for name in re.findall(r'PAGE\["([^"]+)"\]', text)}
    if sum(f'Page("{other.path}")' in text for text in mine for other in PAGES) > len(mine):
        named &= {block.name for block in page.blocks}
    lists = [text for text in mine if "PAGE[name]" in text]
    return named | {b.name for b in page.blocks if b.name and any(f'"{b.name}"' in text for text in lists)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_every_block_is_pasted_or_says_why_not(page):
    unmarked = [str(block) for block in page.blocks if not block.name and not block.not_run]
    assert not unmarked, "neither `<!-- test: … -->` nor `<!-- not run: … -->` stands before these"
    names = [block.name for block in page.blocks if block.name]
    assert len(set(names)) == len(names), "two blocks of one name"
    assert set(names) == pasted(page), "a named block that no test pastes, or the reverse"


def test_what_is_not_run_is_little_and_has_reasons():
    blocks = [block for page in PAGES for block in page.blocks]
    left = {str(block): block.not_run for block in blocks if block.not_run}
    assert len(blocks) >= 60 and len(left) <= 8, left
    assert all(len(reason.split()) >= 4 for reason in left.values()), left


def test_no_block_hides_from_this():
    """Another spelling of the language would be shown like these and never be pasted."""
    for page in PAGES:
        assert not re.search(r"(?m)^ *```(bash|shell|console|zsh)\b", page.text), page.path
        assert page.text.count("```sh\n") == len(page.blocks), page.path
