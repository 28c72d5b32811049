"""A real nginx on loopback with one `server` that a page prints, and a certificate for its name."""
from __future__ import annotations

import datetime
import os
import shutil
from pathlib import Path
from typing import Tuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

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
        self.certificate, self.private_key = certificate(directory, name)
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


def certificate(directory: Path, name: str) -> Tuple[Path, Path]:
    """Signed by itself, for one host name and a day."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = directory / "fullchain.pem", directory / "privkey.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return public, private
