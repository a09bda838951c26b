"""Real proxies in front of a server, with what deploy/ ships but for TLS and addresses."""
from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path

from harness import ports
from harness.server import Server
from harness.settings import REPO

PROXIES = ("nginx", "haproxy")


def _nginx(server: Server, port: int, folder: Path) -> tuple[str, list[str]]:
    """The upstream and the one server with a name; no TLS lines."""
    text = (REPO / "deploy/nginx/watchword.conf").read_text()
    blocks = re.findall(r"^(?:upstream|server)\b.*?^}", text, re.M | re.S)
    kept = [block for block in blocks if "server_name" in block or block.startswith("upstream")]
    assert len(kept) == 2, "deploy/nginx has changed"
    site = "\n".join(kept)
    site = re.sub(r"^\s*(listen|ssl_)[^;]*;\n", "", site, flags=re.M)
    site = site.replace("server_name", f"listen 127.0.0.1:{port};\n    server_name")
    site = site.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    head = f"daemon off;\nworker_processes 1;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
    whole = f"{head}events {{}}\nhttp {{\naccess_log off;\n{places}{site}\n}}\n"
    return whole, ["nginx", "-p", str(folder), "-e", f"{folder}/error.log", "-c"]


def _haproxy(server: Server, port: int, _: Path) -> tuple[str, list[str]]:
    """Everything but the accounts, the log, the clear port and TLS."""
    text = (REPO / "deploy/haproxy/haproxy.cfg").read_text()
    text, clear = re.subn(r"^frontend clear\n.*?(?=^frontend)", "", text, flags=re.M | re.S)
    text, bind = re.subn(r"bind :443 ssl.*", f"bind 127.0.0.1:{port}", text)
    text = re.sub(r"^\s*(user|group|log|ssl-default\S*)\s.*\n", "", text, flags=re.M)
    text = text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")
    text = text.replace("check port 9090", f"check port {server.ops_port}")
    assert clear == bind == 1, "deploy/haproxy has changed"
    return text, ["haproxy", "-db", "-f"]


class Proxy:
    """One running proxy."""

    def __init__(self, kind: str, server: Server, folder: Path) -> None:
        self.port = ports.free_port()
        text, command = (_nginx if kind == "nginx" else _haproxy)(server, self.port, folder)
        path = folder / "proxy.conf"
        path.write_text(text)
        self._log = folder / "out"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen([*command, str(path)], stdout=log, stderr=log)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 10
        ask = b"GET /health/ready HTTP/1.1\r\nHost: auth.example.com\r\nConnection: close\r\n\r\n"
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
                    link.sendall(ask)
                    if b" 200 " in link.recv(64):
                        return
            except OSError:
                pass
            gone = self._process.poll() is not None or time.monotonic() > deadline
            if gone:
                self.stop()
                raise AssertionError(f"no proxy:\n{self._log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=20)
