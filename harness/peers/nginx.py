"""A real nginx on loopback with one `server` that a page prints, and a certificate for its name."""
from __future__ import annotations

import os
import shutil
from pathlib import Path

from .certificates import self_signed
from .ports import free_port
from .process import ManagedProcess, port_accepts

MAIN = """{user}
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/conf.d/*.conf;
}}
"""


def find_nginx() -> "str | None":
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))


class Nginx:
    def __init__(self, directory: Path, name: str) -> None:
        self.directory, self.name = directory, name
        self.port = free_port()
        self.configuration = directory / "nginx.conf"
        self.pid_file = directory / "nginx.pid"
        (directory / "conf.d").mkdir(parents=True)
        self.certificate, self.private_key = self_signed(
            name, directory / "fullchain.pem", directory / "privkey.pem"
        )
        user = "user root;" if os.getuid() == 0 else ""
        self.configuration.write_text(MAIN.format(user=user, directory=directory))

    def site(self, text: str) -> None:
        (self.directory / "conf.d" / "agentkeys.conf").write_text(text)

    def __enter__(self) -> "Nginx":
        program = find_nginx()
        assert program
        self._process = ManagedProcess(
            [program, "-c", str(self.configuration), "-p", str(self.directory), "-e", str(self.directory / "error.log")],
            log=self.directory / "output.log",
        )
        self._process.start()
        self._process.wait_ready(lambda: port_accepts(self.port), timeout=10)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.stop(5)
