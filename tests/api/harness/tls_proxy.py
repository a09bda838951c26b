"""The proxies of deploy/ as they are shipped, TLS and all: only ports and paths are others."""
from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import ports
from .orphans import dies_with_us
from .server import Server
from .settings import REPO

NAME = "auth.example.com"


def _replace(text: str, *pairs: tuple[str, str]) -> str:
    """Each pattern must be there, or the shipped file has changed."""
    for pattern, new in pairs:
        text, count = re.subn(pattern, new, text, flags=re.M)
        assert count > 0, f"{pattern} is not in the shipped file"
    return text


@dataclass
class Reply:
    status: int
    version: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


class TlsProxy:
    """One running proxy in front of a server."""

    def __init__(self, kind: str, server: Server, folder: Path) -> None:
        self._folder = folder
        self.tls_port, self.clear_port = ports.free_port(), ports.free_port()
        self._make_certificate()
        text, command = (self._nginx if kind == "nginx" else self._haproxy)(server)
        path = folder / "proxy.conf"
        path.write_text(text)
        with open(folder / "out", "wb") as log:
            self._process = subprocess.Popen([*command, str(path)], stdout=log, stderr=log,
                                             preexec_fn=dies_with_us(signal.SIGTERM))
        self._wait()

    def __enter__(self) -> "TlsProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)

    def _make_certificate(self) -> None:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
             "-keyout", self._folder / "key.pem", "-out", self._folder / "cert.pem"],
            check=True, capture_output=True)
        both = (self._folder / "cert.pem").read_text() + (self._folder / "key.pem").read_text()
        (self._folder / "both.pem").write_text(both)

    def _nginx(self, server: Server) -> tuple[str, list[str]]:
        site = _replace(
            (REPO / "deploy/nginx/watchword.conf").read_text(),
            (r"^\s*listen \[::\].*\n", ""),
            (r"listen 443\b", f"listen 127.0.0.1:{self.tls_port}"),
            (r"listen 80\b", f"listen 127.0.0.1:{self.clear_port}"),
            (r"/etc/ssl/watchword/fullchain\.pem", f"{self._folder}/cert.pem"),
            (r"/etc/ssl/watchword/privkey\.pem", f"{self._folder}/key.pem"),
            (r"127\.0\.0\.1:8080", f"127.0.0.1:{server.port}"))
        places = "".join(f"{kind}_temp_path {self._folder}/{kind};\n"
                         for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        head = f"daemon off;\nworker_processes 1;\npid {self._folder}/pid;\n"
        text = f"{head}events {{}}\nhttp {{\naccess_log off;\n{places}{site}\n}}\n"
        log = f"{self._folder}/error.log"
        return text, ["nginx", "-p", str(self._folder), "-e", log, "-c"]

    def _haproxy(self, server: Server) -> tuple[str, list[str]]:
        text = _replace(
            (REPO / "deploy/haproxy/haproxy.cfg").read_text(),
            (r"^\s*(user|group) .*\n", ""),
            (r"bind :443\b", f"bind 127.0.0.1:{self.tls_port}"),
            (r"bind :80\b", f"bind 127.0.0.1:{self.clear_port}"),
            (r"/etc/haproxy/certs/watchword\.pem", f"{self._folder}/both.pem"),
            (r"127\.0\.0\.1:8080", f"127.0.0.1:{server.port}"),
            (r"check port 9090", f"check port {server.ops_port}"))
        return text, ["haproxy", "-db", "-f"]

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                if self.ask("/health/ready").status == 200:
                    return
            except (AssertionError, OSError):
                pass
            gone = self._process.poll() is not None or time.monotonic() > deadline
            assert not gone, (self._folder / "out").read_text()
            time.sleep(0.05)

    def curl(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """With the certificate as the only one it trusts, and the name resolved to here."""
        return subprocess.run(
            ["curl", "-sS", "-i", "--max-time", "20", "--cacert", str(self._folder / "cert.pem"),
             "--resolve", f"*:{self.tls_port}:127.0.0.1", *arguments], capture_output=True)

    def ask(self, path: str, body: object = None, *arguments: str) -> Reply:
        more = [] if body is None else [
            "-H", "Content-Type: application/json", "--data-binary", json.dumps(body)]
        done = self.curl(*more, *arguments, f"https://{NAME}:{self.tls_port}{path}")
        assert done.returncode == 0, done.stderr.decode()
        head, _, rest = done.stdout.partition(b"\r\n\r\n")
        while head.startswith(b"HTTP/1.1 100"):
            head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip()
                   for name, _, value in (line.partition(":") for line in lines)}
        version, status = first.split()[:2]
        return Reply(int(status), version, headers, rest)

    def say_clear(self, text: bytes) -> bytes:
        """Without TLS, to the port for it."""
        with socket.create_connection(("127.0.0.1", self.clear_port), timeout=10) as link:
            link.sendall(text)
            return link.recv(4096)
