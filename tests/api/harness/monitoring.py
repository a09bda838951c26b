"""A real Prometheus and Alertmanager on the files of deploy/prometheus, and a page that takes alerts."""
from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import yaml

from . import ports
from .orphans import dies_with_us
from .server import Server
from .settings import REPO, slowness

DEPLOY = REPO / "deploy" / "prometheus"
Alert = dict[str, Any]


class Inbox:
    """Takes what Alertmanager sends; receivers are told apart by the path."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, Alert]] = []
        inbox = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver = self.path.rpartition("/")[2]
                inbox.alerts += [(receiver, alert) for alert in json.loads(body)["alerts"]]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", ports.free_port()), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def named(self, name: str, status: str = "firing") -> list[tuple[str, Alert]]:
        return [(receiver, alert) for receiver, alert in list(self.alerts)
                if alert["labels"]["alertname"] == name and alert["status"] == status]

    def wait(self, name: str, seconds: float) -> tuple[str, Alert]:
        """The first alert of this name, and to whom it was sent."""
        deadline = time.monotonic() + seconds * slowness()
        while not (found := self.named(name)):
            assert time.monotonic() < deadline, f"no {name} arrives; what did: {self.alerts}"
            time.sleep(0.1)
        return found[0]

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class Program:
    """One program with an HTTP page that tells when it is ready."""

    def __init__(self, command: list[str], port: int, folder: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        found = shutil.which(command[0])
        assert found, f"{command[0]} is missing: install it"
        self._log = folder / f"{command[0]}.log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [found, *command[1:]], stdout=log, stderr=log, cwd=folder,
                preexec_fn=dies_with_us(signal.SIGKILL))
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 30 * slowness()
        while True:
            try:
                if httpx.get(f"{self.url}/-/ready", trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise AssertionError(f"does not start:\n{self._log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=30)


def _load(name: str) -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / name).read_text())


def start_alertmanager(inbox: Inbox, folder: Path) -> tuple[Program, int]:
    """As shipped, but for where it sends and how long it gathers."""
    config = _load("alertmanager.yml")
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = route["group_interval"] = "1s"
    for receiver in config["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = hook["url"].replace(":9099", f":{inbox.port}")
    path = folder / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    port = ports.free_port()
    command = ["prometheus-alertmanager", f"--config.file={path}",
               f"--storage.path={folder}/alertmanager", f"--web.listen-address=127.0.0.1:{port}",
               "--cluster.listen-address="]
    return Program(command, port, folder), port


def start_prometheus(server: Server, alertmanager_port: int, folder: Path) -> Program:
    """As shipped, the rules untouched, but for addresses and once a second."""
    config = _load("prometheus.yml")
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(DEPLOY / name) for name in config["rule_files"]]
    managers = config["alerting"]["alertmanagers"]
    managers[0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager_port}"]
    (job,) = config["scrape_configs"]
    job["static_configs"][0]["targets"] = [f"127.0.0.1:{server.ops_port}"]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    port = ports.free_port()
    command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={folder}/tsdb",
               f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    return Program(command, port, folder)
