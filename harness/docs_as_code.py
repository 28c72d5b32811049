"""The pages' `sh` blocks, and a terminal that they are pasted into.

Every block carries a comment on the line before it, which readers do not see:

    <!-- test: NAME -->      a test pastes it, as it is printed
    <!-- not run: WHY -->    no machine of ours can run it, and why

`test_docs_as_code.py` holds every page to that, and every NAME to a test.
"""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from brokerlib import REPOSITORY, Cli, binary
from clientlib import Machine, client_program
from peers.process import wait_until
from peers.tools import require_tool

STAND_INS = REPOSITORY / "harness" / "stand_ins"
BLOCK = re.compile(
    r"^(?: *<!-- (?P<kind>test|not run): (?P<about>.+?) -->\n)?(?P<indent> *)```sh\n(?P<text>.*?)^ *```", re.DOTALL | re.MULTILINE
)


def pages() -> List[Path]:
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    name: Optional[str]
    not_run: Optional[str]
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


class Page:
    """One page by its path in the repository."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.text = (REPOSITORY / path).read_text()
        self.blocks = [self._block(found) for found in BLOCK.finditer(self.text)]

    def _block(self, found: "re.Match[str]") -> Block:
        about = found["about"]
        return Block(
            self.path,
            self.text.count("\n", 0, found.start("text")),
            about if found["kind"] == "test" else None,
            about if found["kind"] == "not run" else None,
            textwrap.dedent(found["text"]),
        )

    def __getitem__(self, name: str) -> str:
        (found,) = [block for block in self.blocks if block.name == name]
        return found.text

    def printed(self, language: str, number: int = 0) -> str:
        """What a reader sees in the page's nth block of another language."""
        found = re.findall(rf"^ *```{language}\n(.*?)^ *```", self.text, re.DOTALL | re.MULTILINE)
        return textwrap.dedent(found[number])


# Carried from one paste to the next, as a shell that stays open does.
KEPT = 'trap \'{ declare -px; declare -f; printf "cd %q\\n" "$PWD"; } >"$TERMINAL_STATE"\' EXIT\n'
RESUME = 'if [ -e "$TERMINAL_STATE" ]; then . "$TERMINAL_STATE"; fi\nset -eu\n'


class Terminal:
    """A shell of a machine. What a page cannot know is put in; nothing else is changed.

    `replace` are pairs of what is printed and what it is here. `stand_ins` are programs of
    `harness/stand_ins` that this machine has in place of what no test can have. Where nothing
    is `installed`, the stand-in for cargo installs it.
    """

    def __init__(
        self,
        machine: Machine,
        replace: Iterable[Tuple[str, str]] = (),
        stand_ins: Sequence[str] = (),
        installed: bool = True,
        **variables: str,
    ) -> None:
        self.machine = machine
        self.replace: Dict[str, str] = dict(replace)
        home = machine.home
        self.directory = home / "checkout"
        if not self.directory.exists():
            _checkout(self.directory)
        first = home / ".cargo" / "bin"
        first.mkdir(parents=True, exist_ok=True)
        tools = home / ".tools"
        tools.mkdir(exist_ok=True)
        for name in stand_ins:
            link(tools / name, STAND_INS / name)
        # The awscli of the tests, and none that the machine may have besides.
        link(tools / "aws", Path(require_tool("aws", "awscli")))
        if installed:
            install(first)
        self._state = home / f".terminal-{id(self)}"
        self.environment = {
            **machine.environment,
            "PATH": os.pathsep.join((str(first), str(tools), os.environ["PATH"])),
            "TERMINAL_STATE": str(self._state),
            **({} if installed else _cargo()),
            **variables,
        }
        self._running: List[subprocess.Popen] = []

    def paste(self, block: str, stdin: str = "", timeout: float = 90, fails: bool = False) -> Cli:
        """To its end, which must be a success; with `fails`, must not be. What it leaves in the background goes on."""
        process, streams = self._spawn(block, subprocess.PIPE)
        try:
            process.communicate(stdin.encode(), timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"not within {timeout:g} s: {block}\n{_read(streams)}") from None
        done = Cli(process.returncode, *_read(streams))
        assert (done.exit_code != 0) == fails, f"{block}\n{done}"
        return done

    def paste_and_leave(self, block: str, until: str, timeout: float = 30) -> str:
        """A block whose last command goes on, until its stdout has `until`; what it has printed by then."""
        process, streams = self._spawn(block, subprocess.DEVNULL)

        def said() -> Optional[str]:
            assert process.poll() is None, _read(streams)
            text = _read(streams)[0]
            return text if until in text else None

        return str(wait_until(said, timeout, f"{until!r} from {block}"))

    def interrupt(self) -> None:
        """An end to the last block that was pasted, and to all that it started."""
        process = self._running[-1]
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)

    def close(self) -> None:
        for process in self._running:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                    process.wait(20)
                except ProcessLookupError:
                    break
                except subprocess.TimeoutExpired:
                    continue

    def _spawn(self, block: str, stdin: int) -> Tuple[subprocess.Popen, Sequence[Path]]:
        """Output goes to files, since a pipe would wait for what a block leaves in the background."""
        streams = [Path(f"{self._state}-{len(self._running)}.{name}") for name in ("out", "err")]
        with open(streams[0], "wb") as out, open(streams[1], "wb") as err:
            process = subprocess.Popen(
                ["bash", "-c", KEPT + RESUME + self.filled(block)],
                stdin=stdin, stdout=out, stderr=err,
                env=self.environment, cwd=self.directory, start_new_session=True,
            )
        self._running.append(process)
        return process, streams

    def filled(self, text: str) -> str:
        """With what is known here in place of what is printed."""
        for printed, real in self.replace.items():
            text = text.replace(printed, real)
        return text


def _read(streams: Sequence[Path]) -> List[str]:
    return [path.read_text(errors="replace") for path in streams]


def _cargo() -> Dict[str, str]:
    """What the stand-in needs to know of the real one."""
    return {
        "REAL_CARGO": shutil.which("cargo") or "cargo",
        "REAL_HOME": os.environ["HOME"],
        "BUILT": os.pathsep.join(str(path.parent) for path in (binary(), client_program())),
    }


def short_directory() -> Path:
    """For a home that holds a broker's Unix socket, whose path has little over a hundred bytes; others may look in."""
    directory = Path(tempfile.mkdtemp(prefix="akh-"))
    directory.chmod(0o755)
    return directory


def install(directory: Path) -> None:
    """The three programs, as `cargo install` would leave them."""
    for program in (binary(), client_program(), client_program("agentkeys-daemon")):
        link(directory / program.name, program)


def _checkout(directory: Path) -> None:
    """A directory that looks like a checkout and takes files without touching this one."""
    directory.mkdir()
    for entry in REPOSITORY.iterdir():
        if not entry.name.startswith(".") and entry.name != "target":
            link(directory / entry.name, entry)


def link(link: Path, target: Path) -> None:
    if not link.is_symlink():
        link.symlink_to(target)
