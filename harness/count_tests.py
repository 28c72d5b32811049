"""Prints `passed failed skipped` of a log of cargo test, cargo nextest or pytest."""
from __future__ import annotations

import re
import sys
from pathlib import Path

# The one line in which each of the three sums up; cargo test has one per program.
SUMMARIES = (
    re.compile(r"^test result: "),
    re.compile(r"^\s+Summary \["),
    re.compile(r"^=+ .*\bin [0-9.]+s.* =+$"),
    re.compile(r"^[0-9]+ (passed|failed|skipped|error).* in [0-9.]+s"),
)
WORDS = {"passed": 0, "failed": 1, "error": 1, "errors": 1, "timed out": 1, "skipped": 2, "ignored": 2}


def count(log: str) -> list:
    totals = [0, 0, 0]
    for line in log.splitlines():
        if any(pattern.match(line) for pattern in SUMMARIES):
            for number, word in re.findall(r"([0-9]+) (passed|failed|errors?|timed out|skipped|ignored)\b", line):
                totals[WORDS[word]] += int(number)
    return totals


if __name__ == "__main__":
    print(*count(Path(sys.argv[1]).read_text(errors="replace")))
