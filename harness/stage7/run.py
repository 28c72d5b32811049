"""Proves every feature, then breaks each one and demands that its proof notices.

Side by side run the proofs, in few sessions of pytest; the tests of the mutations
through proxies that change nothing (so that a red under a mutation is the
mutation's doing); and the mutations, each alone.
"""
from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence

from stage7 import checkout, environment, features, proofs, report, shim

ROOT = Path(__file__).resolve().parents[2]
# Of pytest at once, for the proofs. More would disturb tests of deadlines on two cores.
SESSIONS = 2
PROGRAMS = ("agentkeys-broker-server", "agentkeys", "agentkeys-daemon")


class Run:
    """One acceptance run over `wanted` features."""

    def __init__(
        self, wanted: Sequence[features.Feature], binaries: Path, scratch: Path, mutate: bool, workers: int
    ) -> None:
        self.wanted, self.binaries, self.scratch = list(wanted), binaries, scratch
        self.mutate, self.workers = mutate, workers
        self.environment = environment.scrubbed(scratch / "home", binaries)
        self.results = {feature.id: report.Result(feature, mutate) for feature in self.wanted}
        self.progress = report.Progress(len(self.wanted))
        # Test → the features that it proves; feature → its tests that have not ended yet.
        self._users: Dict[str, List[features.Feature]] = {}
        self._left: Dict[str, set] = {}

    def run(self) -> List[report.Result]:
        self.collected = proofs.collect(ROOT, self.environment, self.scratch / "collect")
        provable = [feature for feature in self.wanted if self._has_tests(feature)]
        # The long sessions first; mutations fill the places that are left.
        pool = ThreadPoolExecutor(self.workers)
        try:
            jobs = [pool.submit(piece) for piece in self._proofs(provable)]
            if self.mutate:
                jobs += [pool.submit(self._control, provable, *place) for place in _proxies(provable)]
                jobs += [pool.submit(self._break, feature) for feature in provable]
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            proofs.end_all()
            raise
        pool.shutdown()
        for result in self.results.values():
            self.progress.show(result)
        return list(self.results.values())

    def _has_tests(self, feature: features.Feature) -> bool:
        """A name that means no test is a failure, and not an empty success."""
        named = feature.prove + ([feature.mutation.test] if feature.mutation.test else [])
        for proof in named:
            if not self.collected.of(proof):
                why = self.collected.broken.get(proof.split("::")[0])
                self._fail(feature, f"no test {proof}" + (f": {why}" if why else ""))
                return False
        return True

    # Green

    def _proofs(self, provable: Sequence[features.Feature]) -> List[Callable[[], None]]:
        """The sessions and commands that prove all features: pieces that can run side by side."""
        tested = [feature for feature in provable if feature.prove]
        for feature in tested:
            self._left[feature.id] = {test for proof in feature.prove for test in self.collected.of(proof)}
            for test in self._left[feature.id]:
                self._users.setdefault(test, []).append(feature)
        commanded = [feature for feature in provable if feature.command]
        pieces = [partial(self._prove_tests, f"proofs-{n}", group) for n, group in enumerate(self._groups())]
        return [*pieces, *(partial(self._prove_command, feature) for feature in commanded)]

    def _groups(self) -> List[List[str]]:
        """Whole files, since their tests share servers; each file to the session that has least to do so far."""
        files: Dict[str, List[str]] = {}
        for test in self.collected.tests:
            if test in self._users:
                files.setdefault(test.split("::")[0], []).append(test)
        groups: List[List[str]] = [[] for _ in range(min(SESSIONS, len(files)))]
        for tests in sorted(files.values(), key=len, reverse=True):
            min(groups, key=len).extend(tests)
        return groups

    def _prove_tests(self, name: str, tests: Sequence[str]) -> None:
        _, session = proofs.run_tests(ROOT, tests, self.environment, self.scratch / name, self._ended)
        for test in tests:
            for feature in self._users[test]:
                if test in self._left[feature.id]:
                    self._fail(feature, f"{test} did not run: {proofs.last_words(session.output)}")

    def _ended(self, outcome: proofs.Outcome) -> None:
        for feature in self._users.get(outcome.test, []):
            result = self.results[feature.id]
            if outcome.outcome != "passed":
                self._fail(feature, f"{outcome.test} {outcome.outcome}: {outcome.message}")
            with self.progress.lock:
                result.seconds += outcome.seconds
                self._left[feature.id].discard(outcome.test)
                if not self._left[feature.id]:
                    result.proved = not result.problems
            self.progress.show(result)

    def _prove_command(self, feature: features.Feature) -> None:
        ran = proofs.run_command(self._argv(feature, self.binaries), ROOT, self.environment)
        result = self.results[feature.id]
        result.seconds = ran.seconds
        if ran.exit_code != 0:
            self._fail(feature, f"exit code {ran.exit_code}: {proofs.last_words(ran.output)}")
        result.proved = not result.problems
        self.progress.show(result)

    def _argv(self, feature: features.Feature, binaries: Path) -> List[str]:
        places = {"{binaries}": str(binaries), "{python}": sys.executable}
        argv = []
        for word in feature.command or []:
            for name, value in places.items():
                word = word.replace(name, value)
            argv.append(word)
        return argv

    # The control

    def _control(self, provable: Sequence[features.Feature], kind: str, door: Optional[str]) -> None:
        """Through the proxy, with nothing spoiled, every test of a mutation passes."""
        by_test: Dict[str, List[features.Feature]] = {}
        for feature in provable:
            mutation = feature.mutation
            if mutation.test and (mutation.kind, mutation.change.get("door")) == (kind, door):
                by_test.setdefault(self.collected.of(mutation.test)[0], []).append(feature)
        place = self.scratch / f"control-{kind}-{door or 'all'}"
        stand_ins = shim.write(place, self.binaries, {kind: self._passes(kind, door)})
        inside = {**self.environment, **environment.programs(stand_ins)}
        ordered = [test for test in self.collected.tests if test in by_test]
        outcomes, session = proofs.run_tests(ROOT, ordered, inside, place / "run")
        for test, users in by_test.items():
            outcome = outcomes.get(test)
            if outcome is None or outcome.outcome != "passed":
                said = outcome.message if outcome else proofs.last_words(session.output)
                for feature in users:
                    self._fail(feature, f"{test} fails through a proxy that changes nothing: {said}")

    @staticmethod
    def _passes(kind: str, door: Optional[str]) -> Dict[str, Any]:
        """A rule that spoils nothing."""
        if kind == "daemon":
            # The daemon would rightly refuse a Host that names the proxy: only that is put right.
            own = "127.0.0.1:$PUBLIC"
            return {"door": door, "request": "* .*", "send": {"swap": {"host": [own, "127.0.0.1:$PRIVATE"]}}}
        return {"door": door}

    # Red

    def _break(self, feature: features.Feature) -> None:
        result, mutation = self.results[feature.id], feature.mutation
        place = self.scratch / "mutations" / feature.id
        started = time.monotonic()
        try:
            where, inside, binaries = self._mutant(mutation, place)
        except (checkout.NotThere, OSError) as reason:
            self._fail(feature, f"the mutation cannot be made: {reason}")
            return
        if mutation.test:
            noticed = self._test_notices(feature, where, inside, place)
        else:
            ran = proofs.run_command(self._argv(feature, binaries), where, inside)
            noticed = ran.exit_code != 0 and mutation.shows in ran.output
            result.red = proofs.last_words(ran.output) or ""
            if not noticed:
                self._fail(feature, f"proves nothing: exit code {ran.exit_code} although {mutation.says}")
        if noticed and mutation.kind != "file" and not (place / shim.APPLIED).exists():
            noticed = False
            self._fail(feature, f"red, but not by the mutation, which nothing met: {mutation.says}")
        result.noticed = noticed
        result.mutation_seconds = time.monotonic() - started
        self.progress.show(result)
        if noticed:
            shutil.rmtree(place, ignore_errors=True)

    def _mutant(self, mutation: features.Mutation, place: Path) -> tuple:
        """The checkout, the environment and the programs in which the feature is broken."""
        if mutation.kind == "file":
            copied = checkout.copy(ROOT, place / "checkout")
            checkout.replace(copied, mutation.change["path"], *mutation.change["replace"])
            return copied, self.environment, self.binaries
        stand_ins = shim.write(place, self.binaries, {mutation.kind: mutation.change})
        return ROOT, {**self.environment, **environment.programs(stand_ins)}, stand_ins

    def _test_notices(self, feature: features.Feature, where: Path, inside: Dict[str, str], place: Path) -> bool:
        """Red by what the test asserts, and not because something broke on the way."""
        mutation = feature.mutation
        # In a changed copy parameters may be others than those that were collected, so all are run.
        asked = mutation.test if mutation.kind == "file" else self.collected.of(mutation.test)[0]
        outcomes, session = proofs.run_tests(where, [asked], inside, place / "run")
        red = [outcome for outcome in outcomes.values() if outcome.outcome == "failed"]
        if not outcomes:
            self._fail(feature, f"{asked} did not run under the mutation: {proofs.last_words(session.output)}")
        elif not red:
            self._fail(feature, f"proves nothing: {asked} passes although {mutation.says}")
        elif not all(outcome.when == "call" and outcome.asserted for outcome in red):
            self._fail(feature, f"{asked} broke under the mutation instead of noticing: {red[0].message}")
        else:
            self.results[feature.id].red = red[0].message
            return True
        return False

    def _fail(self, feature: features.Feature, problem: str) -> None:
        result = self.results[feature.id]
        with self.progress.lock:
            result.problems.append(problem)


def _proxies(provable: Sequence[features.Feature]) -> List[tuple]:
    """Where the mutations put a proxy: kind and door."""
    places = {
        (feature.mutation.kind, feature.mutation.change.get("door"))
        for feature in provable
        if feature.mutation.kind in ("http", "sts", "daemon") and feature.mutation.test
    }
    return sorted(places, key=str)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    options = argparse.ArgumentParser(prog="harness/stage-7-done.sh", description=__doc__.splitlines()[0])
    options.add_argument("--no-mutations", action="store_true", help="only the proofs: says less, and says so")
    options.add_argument("--only", action="append", default=[], metavar="ID", help="this feature (again for more)")
    options.add_argument("--features", type=Path, default=ROOT / "harness" / "features.json", help=argparse.SUPPRESS)
    options.add_argument("--binaries", type=Path, default=ROOT / "target" / "debug", help="where the programs are")
    options.add_argument("--jobs", type=int, default=(os.cpu_count() or 2) + 1, help="how many things run at once (tests mostly wait)")
    options.add_argument("--keep", action="store_true", help="leave the logs behind though all is well")
    given = options.parse_args(arguments)
    started = time.monotonic()
    try:
        wanted = features.load(given.features)
    except (OSError, ValueError) as wrong:
        print(f"stage-7: FAIL {given.features}: {wrong}")
        return 1
    known = {feature.id for feature in wanted}
    unknown = sorted(set(given.only) - known)
    missing = [name for name in PROGRAMS if not (given.binaries / name).exists()]
    if unknown or missing or not wanted:
        print(f"stage-7: FAIL no such feature: {unknown}; not built: {missing}; {len(wanted)} features")
        return 1
    wanted = [feature for feature in wanted if not given.only or feature.id in given.only]
    # Short, since a Unix socket's path has at most 107 bytes; open, since tests run the broker as other users.
    scratch = Path(tempfile.mkdtemp(prefix="stage7-"))
    scratch.chmod(0o755)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(wanted, given.binaries.resolve(), scratch, not given.no_mutations, given.jobs)
    print(f"environment of every proof: {' '.join(environment.names(run.environment))}")
    try:
        results = run.run()
    except (KeyboardInterrupt, SystemExit):
        print(f"stage-7: FAIL interrupted; logs: {scratch}")
        return 130
    except Exception as broken:  # The verdict line is owed for whatever goes wrong.
        traceback.print_exc()
        print(f"stage-7: FAIL the acceptance itself broke: {type(broken).__name__}: {broken}; logs: {scratch}")
        return 1
    verdict = report.verdict(results, not given.no_mutations, time.monotonic() - started)
    print(report.table(results))
    print(verdict.line)
    if verdict.passed and not given.keep:
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        print(f"logs: {scratch}")
    return 0 if verdict.passed else 1


if __name__ == "__main__":
    sys.exit(main())
