"""A desktop's keychain without the desktop: a D-Bus session bus of its own, and gnome-keyring on it.

`secret-tool` looks at what is kept there, so that nobody has to take the client's
word for it. Everything lives in one directory; the bus of whoever runs the tests
is never touched.
"""
from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Dict, List, Optional

from .process import ManagedProcess, wait_until

PROGRAMS = ("dbus-daemon", "gnome-keyring-daemon", "secret-tool")
# No service directory: what nobody has started is not started by asking for it.
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


def missing() -> List[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


class SecretService:
    """The bus is there as long as this is; the keychain may come, be locked, hang and go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "bus"
        self._password = secrets.token_urlsafe(12)
        self._keychain: Optional[subprocess.Popen] = None
        config = directory / "bus.conf"
        config.write_text(BUS.format(socket=self.socket))
        self._bus = ManagedProcess(
            ["dbus-daemon", "--nofork", f"--config-file={config}"], log=directory / "bus.log", env=self._environment()
        )

    @property
    def environment(self) -> Dict[str, str]:
        """What a program needs to find this bus."""
        return {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.socket}"}

    def __enter__(self) -> "SecretService":
        self._bus.start()
        try:
            self._bus.wait_ready(self.socket.exists, 10)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()
        self._bus.stop()

    def start(self, unlocked: bool = True) -> "SecretService":
        """The keychain is on the bus. What it kept before is there, and open if `unlocked`."""
        argv = ["gnome-keyring-daemon", "--foreground", "--components=secrets"]
        with open(self.directory / "keychain.log", "ab") as log:
            self._keychain = subprocess.Popen(
                [*argv, "--unlock"] if unlocked else argv,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**self._environment(), **self.environment},
            )
        assert self._keychain.stdin
        # It reads its password up to the end of the input: never an argument.
        if unlocked:
            self._keychain.stdin.write(self._password.encode())
        self._keychain.stdin.close()
        wait_until(self._is_on_the_bus, 10, "the keychain is on the bus")
        return self

    def stop(self) -> None:
        if self._keychain is None:
            return
        self._keychain.send_signal(signal.SIGCONT)
        self._keychain.terminate()
        try:
            self._keychain.wait(5)
        except subprocess.TimeoutExpired:
            self._keychain.kill()
            self._keychain.wait()
        self._keychain = None

    def hang(self) -> None:
        """It is there and answers nothing, as one that asks a person who is not there."""
        assert self._keychain
        self._keychain.send_signal(signal.SIGSTOP)

    def entries(self) -> Dict[str, str]:
        """name → secret of all that the client keeps."""
        listed = self._run("secret-tool", "search", "--all", "service", "agentkeys")
        # It writes attributes to one stream and secrets to the other.
        names = re.findall(r"^attribute\.username = (.*)$", listed.stdout + listed.stderr, re.MULTILINE)
        assert len(set(names)) == len(names), names
        return {name: self._run("secret-tool", "lookup", "service", "agentkeys", "username", name).stdout for name in names}

    def _is_on_the_bus(self) -> bool:
        done = self._run(
            "dbus-send",
            "--session",
            "--print-reply",
            "--dest=org.freedesktop.DBus",
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.NameHasOwner",
            "string:org.freedesktop.secrets",
        )
        return "boolean true" in done.stdout

    def _run(self, *argv: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            argv, env={**self._environment(), **self.environment}, capture_output=True, text=True, timeout=20
        )

    def _environment(self) -> Dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "XDG_RUNTIME_DIR": str(self.directory),
            "LC_ALL": "C.UTF-8",
        }
