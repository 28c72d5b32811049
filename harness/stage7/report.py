"""The progress lines, the table and the verdict."""
from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import List, Optional, Sequence

from stage7.features import Feature


@dataclass
class Result:
    feature: Feature
    mutate: bool
    proved: Optional[bool] = None
    noticed: Optional[bool] = None
    seconds: float = 0.0
    mutation_seconds: float = 0.0
    # How the proof put it when it noticed the mutation.
    red: str = ""
    problems: List[str] = field(default_factory=list)
    shown: bool = False

    @property
    def finished(self) -> bool:
        return bool(self.problems) or (self.proved is not None and (self.noticed is not None or not self.mutate))

    @property
    def passed(self) -> bool:
        return not self.problems and self.proved is True and (self.noticed is True or not self.mutate)


@dataclass
class Verdict:
    passed: bool
    line: str


class Progress:
    """One line per feature, as soon as it is known how it ended."""

    def __init__(self, total: int) -> None:
        self.lock = threading.Lock()
        self._total, self._shown = total, 0

    def show(self, result: Result) -> None:
        with self.lock:
            if result.shown or not result.finished:
                return
            result.shown = True
            self._shown += 1
            print(self._line(result), flush=True)

    def _line(self, result: Result) -> str:
        width = len(str(self._total))
        start = f"[{self._shown:>{width}}/{self._total}] "
        if result.problems:
            return f"{start}FAIL {result.feature.id}  {result.problems[0]}"
        tail = f"  (mutation: {result.feature.mutation.says} → red)" if result.mutate else ""
        return f"{start}ok   {result.feature.id}  {result.seconds:.1f} s{tail}"


def table(results: Sequence[Result]) -> str:
    rows = [("feature", "area", "proof", "s", "mutation", "s", "deliverable")]
    for result in results:
        mutation = {True: "red", None: "-", False: "NOT RED"}[result.noticed]
        rows.append(
            (
                result.feature.id,
                result.feature.area,
                "ok" if result.proved else "FAIL",
                f"{result.seconds:.1f}",
                mutation,
                f"{result.mutation_seconds:.1f}",
                result.feature.deliverable,
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[6]]).rstrip() for row in rows
    ]
    return "\n" + "\n".join([lines[0], "-" * (sum(widths) + 2 * len(widths) + 11), *lines[1:]]) + "\n"


def verdict(results: Sequence[Result], mutate: bool, seconds: float) -> Verdict:
    failed = [result for result in results if not result.passed]
    lines = [f"  {result.feature.id}: {problem}" for result in failed for problem in result.problems or ["not run"]]
    proved = sum(1 for result in results if result.noticed)
    said = f"{proved} proved by mutation" if mutate else "no mutation tried"
    if failed:
        heading = f"stage-7: FAIL {len(failed)} of {len(results)} features, {said} ({seconds:.0f} s)"
        return Verdict(False, "\n".join([*lines, heading]))
    return Verdict(True, f"stage-7: PASS {len(results)} features, {said} ({seconds:.0f} s)")
