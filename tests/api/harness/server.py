"""Starts, watches and stops the program under test."""
from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from . import ports
from .client import Client
from .orphans import dies_with_us
from .settings import (
    SANITIZER_MARKS,
    clean_environment,
    default_settings,
    service_binary,
    slowness,
)
from .storage import Storage

Settings = dict[str, "str | None"]


class StartFailed(AssertionError):
    """The program ended, or never became ready."""

    def __init__(self, message: str, returncode: int | None, stderr: str) -> None:
        super().__init__(f"{message}\n{stderr}")
        self.returncode = returncode
        self.stderr = stderr


def environment(settings: Settings) -> dict[str, str]:
    """A clean environment plus the settings; None takes a setting away."""
    chosen = {name: value for name, value in settings.items() if value is not None}
    return {**clean_environment(), **chosen}


def assert_no_sanitizer_report(text: str) -> None:
    for mark in SANITIZER_MARKS:
        assert mark not in text, f"sanitizer report: {mark}\n{text[-20000:]}"


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def run_command(
    arguments: list[str], settings: Settings, *, timeout: float = 8, stdin: bytes = b"",
    binary: Path | None = None,
) -> Finished:
    """Run the program to its end; whoever does not end in time fails the test."""
    command = [str(binary or service_binary()), *arguments]
    try:
        done = subprocess.run(
            command, env=environment(settings), capture_output=True, input=stdin,
            timeout=timeout * slowness(), cwd="/",
        )
    except subprocess.TimeoutExpired as late:
        raise AssertionError(f"{arguments} did not end; stderr: {late.stderr!r}") from late
    out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    assert_no_sanitizer_report(err)
    return Finished(done.returncode, out, err)


class Server:
    """One `watchword serve` process, restartable on the same data."""

    def __init__(
        self,
        storage: Storage,
        settings: Settings | None = None,
        *,
        binary: Path | None = None,
        owner: dict[str, Any] | None = None,
    ) -> None:
        """`owner` is whose process it is: options of Popen, see processes.as_user."""
        self.storage = storage
        self.db = storage.db
        self.binary = binary or service_binary()
        self._owner = owner or {}
        self.settings: Settings = {
            **default_settings(),
            "DATA_DIR": str(storage.data_dir),
            "DATABASE_URL": storage.url,
            **(settings or {}),
        }
        self._fixed_ports = {name for name in ("PORT", "OPS_PORT") if name in self.settings}
        self._logs: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None

    # Addresses

    @property
    def port(self) -> int:
        return int(self.settings["PORT"] or 0)

    @property
    def ops_port(self) -> int:
        return int(self.settings["OPS_PORT"] or 0)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **headers: str) -> Client:
        """A new client of the public listener; the caller closes it, or leaves it."""
        return Client(self.url, timeout=30 * slowness(), headers=headers)

    def ops(self, path: str) -> httpx.Response:
        """GET on the operations listener."""
        return httpx.get(f"http://127.0.0.1:{self.ops_port}{path}", timeout=10, trust_env=False)

    # Life

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server is not running"
        return self._process

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, wait: bool = True, output: int | None = None) -> "Server":
        """Its log goes to a file, or to the descriptor `output`."""
        assert self._process is None, "already started"
        for name in {"PORT", "OPS_PORT"} - self._fixed_ports:
            self.settings[name] = str(ports.free_port())
        self.storage.data_dir.mkdir(parents=True, exist_ok=True)
        logs = self.storage.data_dir.parent
        path = logs / f"stderr-{self.settings['PORT']}-{len(self._logs)}.log"
        self._logs.append(path)
        with open(path, "wb") as log:
            self._process = subprocess.Popen(
                [str(self.binary), "serve"], env=environment(self.settings),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log if output is None else output,
                cwd="/",
                preexec_fn=dies_with_us(signal.SIGKILL), **self._owner,
            )
        if wait:
            self._wait_until_ready()
        return self

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20 * slowness()
        while True:
            code = self.process.poll()
            if code is not None:
                self._process = None
                raise StartFailed(f"serve ended with {code}", code, self.last_log())
            if self.is_ready():
                return
            if time.monotonic() > deadline:
                self.kill()
                raise StartFailed("serve did not become ready", None, self.last_log())
            time.sleep(0.01)

    def is_ready(self) -> bool:
        try:
            url = f"{self.url}/health/ready"
            return httpx.get(url, timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def terminate(self) -> None:
        """Ask it to stop; `wait_clean` sees that it does."""
        self.process.send_signal(signal.SIGTERM)

    def wait_clean(self) -> None:
        """It must end with 0, a clean log and no sanitizer report."""
        try:
            code = self.process.wait(timeout=30 * slowness())
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise AssertionError(f"no end after SIGTERM\n{self.last_log()}") from late
        self._process = None
        assert_no_sanitizer_report(self.last_log())
        assert code == 0, f"exit code {code} after SIGTERM\n{self.last_log()}"
        self.log_lines()

    def stop(self) -> None:
        """SIGTERM, exit code 0, nothing suspicious on stderr."""
        code = self.process.poll()
        if code is not None:
            self._process = None
            log = self.last_log()
            assert_no_sanitizer_report(log)
            raise AssertionError(f"the server died by itself with {code}\n{log}")
        self.terminate()
        self.wait_clean()

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            assert_no_sanitizer_report(self.last_log())

    def wait_killed(self) -> None:
        """It must die of SIGKILL by its own hand (a failure point)."""
        code = self.process.wait(timeout=20 * slowness())
        self._process = None
        assert code == -signal.SIGKILL, f"ended with {code}, not by the failure point"
        assert_no_sanitizer_report(self.last_log())

    def restart(self, **changes: str | None) -> "Server":
        """Stop if running, change settings, start on the same data (and other ports)."""
        if self._process is not None:
            self.stop()
        self.settings.update(changes)
        return self.start()

    # What it says about itself

    @property
    def log_path(self) -> Path:
        """Of the last start."""
        return self._logs[-1]

    def last_log(self) -> str:
        return self.log_path.read_text(errors="replace") if self._logs else ""

    def whole_log(self) -> bytes:
        """Standard output and error of all starts."""
        return b"".join(path.read_bytes() for path in self._logs)

    def log_lines(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log as objects, of one event or all; every line must be a JSON object."""
        lines = []
        for text in self.whole_log().decode("utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError as error:
                raise AssertionError(f"log line is no JSON: {text!r}") from error
            assert isinstance(line, dict), f"log line is no object: {text!r}"
            lines.append(line)
        return [line for line in lines if event is None or line.get("event") == event]

    def wait_log(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until `count` lines of the event are there."""
        deadline = time.monotonic() + 5 * slowness()
        while True:
            lines = self.log_lines(event)
            if len(lines) >= count or time.monotonic() > deadline:
                assert len(lines) >= count, f"{len(lines)} lines of {event}, not {count}"
                return lines
            time.sleep(0.01)

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kb(self, field: str = "VmRSS") -> int:
        """A figure of /proc/PID/status: VmRSS now, VmHWM at its highest."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {field} in /proc")
