"""Stands in place of one of the three programs and runs the real one, broken in one way.

The real program replaces this process wherever that is possible, so that its
pid, its signals and its exit code are its own. Whatever was really changed is
noted in the mutation's directory: a mutation that nothing met proves nothing.
"""
from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

BROKER = "agentkeys-broker-server"
DAEMON = "agentkeys-daemon"
APPLIED = "applied"
PROGRAM = """#!{python} -I
import sys
sys.path[:0] = [{harness!r}, *{packages!r}]
from stage7.shim import stand_in
stand_in({name!r}, {real!r}, {directory!r})
"""


def write(directory: Path, binaries: Path, mutation: Dict[str, Any]) -> Path:
    """Makes the stand-ins for all programs of `binaries` and returns their directory."""
    programs = directory / "bin"
    programs.mkdir(parents=True)
    (directory / "mutation.json").write_text(json.dumps(mutation))
    packages = [path for path in sys.path if path.endswith("site-packages")]
    for real in (binaries / BROKER, binaries / "agentkeys", binaries / DAEMON):
        program = programs / real.name
        program.write_text(
            PROGRAM.format(
                python=sys.executable,
                harness=str(Path(__file__).resolve().parent.parent),
                packages=packages,
                name=real.name,
                real=str(real),
                directory=str(directory),
            )
        )
        program.chmod(0o755)
    # Tests run the broker as another user too.
    directory.chmod(0o777)
    return programs


def stand_in(name: str, real: str, directory: str) -> None:
    mutation = json.loads((Path(directory) / "mutation.json").read_text())
    kind, change = next(iter(mutation.items()))
    arguments = sys.argv[1:]
    applied = Applied(Path(directory))
    if kind == "cli" and change["program"] == name and _names(arguments, change["run"].split()):
        _command(real, arguments, change, applied)
    if kind == "daemon" and name == DAEMON:
        arguments = _before_the_daemon(arguments, change, applied)
    if name == BROKER:
        serves = "serve" in arguments[:1] or not [a for a in arguments if not a.startswith("-")]
        if kind == "config":
            arguments = _with_config(arguments, change, applied)
        elif kind in ("http", "sts") and serves:
            arguments = _behind_a_proxy(kind, arguments, change, applied)
        elif kind == "disk" and serves:
            _disk(arguments, change, applied)
        elif kind == "say" and serves:
            applied.note()
            print(f"debug: {os.environ.get(change['variable'], change['variable'])}", file=sys.stderr, flush=True)
    os.execv(real, [real, *arguments])


class Applied:
    """The note that the mutation was met."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / APPLIED

    def note(self) -> None:
        self._path.touch()


def _names(arguments: List[str], words: List[str]) -> bool:
    """Whether the words stand in the command line, in a row: options may come before them."""
    return any(arguments[at : at + len(words)] == words for at in range(len(arguments)))


def _option(arguments: List[str], name: str) -> Optional[str]:
    for at, argument in enumerate(arguments):
        if argument == name and at + 1 < len(arguments):
            return arguments[at + 1]
    return None


# One command


def _command(real: str, arguments: List[str], change: Dict[str, Any], applied: Applied) -> None:
    if "prints" in change:
        # Says that it is done, and does nothing.
        applied.note()
        print(change["prints"])
        sys.exit(0)
    changed = [a for a in arguments if a not in change.get("without", [])]
    changed = [re.sub(*pair, argument) for argument in changed for pair in [change.get("argument", ["$^", ""])]]
    changed += change.get("with", [])
    if changed != arguments:
        applied.note()
    if not {"stdout", "stderr", "exit"} & set(change):
        os.execv(real, [real, *changed])
    done = subprocess.run([real, *changed], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for stream, before in (("stdout", done.stdout), ("stderr", done.stderr)):
        after = before
        if stream in change:
            pattern, replacement = change[stream]
            after = re.sub(pattern.encode(), os.path.expandvars(replacement).encode(), before, flags=re.DOTALL)
        if after != before:
            applied.note()
        getattr(sys, stream).buffer.write(after)
        getattr(sys, stream).flush()
    code = change.get("exit", done.returncode)
    if code != done.returncode:
        applied.note()
    sys.exit(code)


# broker.yaml


def _with_config(arguments: List[str], change: Dict[str, Any], applied: Applied) -> List[str]:
    import yaml

    path = _option(arguments, "--config")
    if path is None:
        return arguments
    try:
        settings = yaml.safe_load(Path(path).read_text())
    except (OSError, yaml.YAMLError):
        return arguments
    if not isinstance(settings, dict):
        return arguments
    before = json.dumps(settings, default=str)
    for key, value in change.items():
        _set(settings, key.split("."), value)
    if json.dumps(settings, default=str) == before:
        return arguments
    applied.note()
    return _replace_config(arguments, path, yaml.safe_dump(settings, sort_keys=False))


def _set(settings: Any, keys: List[str], value: Any) -> None:
    """None takes the key away."""
    for key in keys[:-1]:
        if isinstance(settings, list) and int(key) >= len(settings):
            return
        if isinstance(settings, list):
            settings = settings[int(key)]
        else:
            if not isinstance(settings.get(key), (dict, list)):
                settings[key] = {}
            settings = settings[key]
    if value is None and isinstance(settings, dict):
        settings.pop(keys[-1], None)
    elif isinstance(settings, list):
        settings[int(keys[-1])] = value
    else:
        settings[keys[-1]] = value


def _replace_config(arguments: List[str], path: str, text: str) -> List[str]:
    # Beside the original, since paths in it may be relative.
    other = Path(path).with_suffix(f".{os.getpid()}.yaml")
    other.write_text(text)
    return [str(other) if argument == path else argument for argument in arguments]


# The proxy


def _behind_a_proxy(kind: str, arguments: List[str], change: Dict[str, Any], applied: Applied) -> List[str]:
    """Before the broker (`http`), or between it and STS (`sts`)."""
    import yaml

    from stage7.spoiler import Spoiler

    path = _option(arguments, "--config")
    if path is None:
        return arguments
    settings = yaml.safe_load(Path(path).read_text())
    endpoint = settings.get("aws", {}).get("sts_endpoint")
    doors = _own_doors(settings, change.get("door")) if kind == "http" else _door_to_sts(settings)
    if not doors:
        return arguments
    broker = os.getpid()
    ready, told = os.pipe()
    if os.fork() == 0:
        os.close(ready)
        for public, private in doors:
            spoiler = Spoiler(public, private, change, applied.note, endpoint)
            threading.Thread(target=spoiler.serve_forever, args=(0.05,), daemon=True).start()
        os.write(told, b"1")
        os.close(told)
        _outlive(broker)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    return _replace_config(arguments, path, yaml.safe_dump(settings, sort_keys=False))


def _own_doors(settings: Dict[str, Any], door: Optional[str]) -> List[tuple]:
    """The broker's plain listeners, or that of the metrics, move; the proxy takes their ports."""
    from peers.ports import free_port

    doors = []
    for listener in [settings.get("metrics") or {}] if door == "metrics" else settings.get("listeners", []):
        host, port = listener.get("address", ":0").rsplit(":", 1)
        if "tls" not in listener and host == "127.0.0.1":
            listener["address"] = f"127.0.0.1:{free_port()}"
            doors.append((int(port), int(listener["address"].rsplit(":", 1)[1])))
    return doors


def _door_to_sts(settings: Dict[str, Any]) -> List[tuple]:
    from peers.ports import free_port

    endpoint = settings.get("aws", {}).get("sts_endpoint")
    if not endpoint:
        return []
    public = free_port()
    settings["aws"]["sts_endpoint"] = f"http://127.0.0.1:{public}"
    return [(public, int(endpoint.rsplit(":", 1)[1].strip("/")))]


def _before_the_daemon(arguments: List[str], change: Dict[str, Any], applied: Applied) -> List[str]:
    """The daemon listens elsewhere; its `ready` line and its old address are those of a proxy before it."""
    from peers.ports import free_port
    from stage7.spoiler import Spoiler

    door = change["door"]
    option = {"container": "--listen", "imds": "--imds"}[door]
    at = arguments.index(option) + 1 if option in arguments else 0
    known = int(arguments[at].rsplit(":", 1)[1]) if at else 0
    public, private = known or free_port(), free_port()
    changed = [f"127.0.0.1:{private}" if at and place == at else word for place, word in enumerate(arguments)]
    daemon = os.getpid()
    ready, told = os.pipe()
    printed, daemons = os.pipe()
    if os.fork() == 0:
        os.close(daemons)
        os.close(ready)
        spoiler = Spoiler(public, private, change, applied.note)
        threading.Thread(target=spoiler.serve_forever, args=(0.05,), daemon=True).start()
        os.close(told)
        for line in os.fdopen(printed):
            print(line.replace(f"{door}=http://127.0.0.1:{private}", f"{door}=http://127.0.0.1:{public}"), end="", flush=True)
        # The daemon has closed its output.
        _outlive(daemon)
    os.close(told)
    os.read(ready, 1)
    os.close(ready)
    os.close(printed)
    os.dup2(daemons, 1)
    os.close(daemons)
    return changed


def _outlive(broker: int) -> None:
    """Ends this process with the broker, which is its parent."""
    while os.getppid() == broker:
        time.sleep(0.05)
    os._exit(0)


# The data directory


def _disk(arguments: List[str], change: Dict[str, Any], applied: Applied) -> None:
    data = Path(_option(arguments, "--data-dir") or "")
    if "sql" in change:
        database = data / change["database"]
        if database.exists():
            connection = sqlite3.connect(str(database))
            connection.executescript(change["sql"])
            connection.commit()
            connection.close()
            applied.note()
        return
    if "remove" in change:
        for path in data.glob(change["remove"]):
            path.unlink()
            applied.note()
        return
    broker = os.getpid()
    if os.fork() == 0:
        # Once it serves, and again whatever is made later.
        while os.getppid() == broker:
            # What is loosened before it serves, it would refuse.
            loosened = data.rglob(change["chmod"]) if "chmod" in change and (data / "admin.sock").exists() else []
            for path in loosened:
                if path.stat().st_mode & 0o777 != change["mode"]:
                    path.chmod(change["mode"])
                    applied.note()
            if "write" in change and (data / "admin.sock").exists():
                target = data / change["write"]
                target.write_text(os.environ.get(change["variable"], change["variable"]))
                target.chmod(0o600)
                applied.note()
            time.sleep(0.02)
        os._exit(0)
