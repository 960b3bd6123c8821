"""Certificates for servers that the API server calls: an authority of their own, made by the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from controlplane.errors import ClusterError

_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
_DAYS = "2"


class Authority:
    """A CA in a directory (ca.crt, ca.key) and the certificates that it signs there."""

    def __init__(self, directory: Path, *, name: str) -> None:
        self.directory = directory
        self.ca = directory / "ca.crt"
        directory.mkdir(mode=0o700)
        self._openssl(
            *f"req -x509 {_KEY} -days {_DAYS} -subj /CN={name} -keyout ca.key -out ca.crt".split(),
            *("-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE"),
        )

    def sign(self, file: str, *, name: str, hosts: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """Make `file`.crt and `file`.key with this common name, good for a server at these hosts and for a client."""
        extensions = self.directory / f"{file}.ext"
        extensions.write_text(f"subjectAltName={','.join(alternatives(hosts))}\n" if hosts else "")
        self._openssl(*f"req {_KEY} -subj /CN={name} -keyout {file}.key -out {file}.csr".split())
        self._openssl(
            *f"x509 -req -in {file}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {_DAYS}".split(),
            *f"-extfile {file}.ext -out {file}.crt".split(),
        )
        return self.directory / f"{file}.crt", self.directory / f"{file}.key"

    def _openssl(self, *arguments: str) -> None:
        if shutil.which("openssl") is None:
            raise ClusterError("the openssl command is not installed: no certificates; install the package openssl")
        answer = subprocess.run(["openssl", *arguments], cwd=self.directory, capture_output=True, text=True, timeout=60)
        if answer.returncode:
            raise ClusterError(f"openssl {arguments[0]} failed in {self.directory}:\n{answer.stderr.strip()}")


def alternatives(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Return hosts as a certificate names them: addresses and names apart."""
    return tuple(f"{'IP' if host[0].isdigit() else 'DNS'}:{host}" for host in hosts)
