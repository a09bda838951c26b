"""A real nats-server with JetStream, and just enough of a client to read what is in a stream."""
from __future__ import annotations

import base64
import json
import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import ports
from .orphans import dies_with_us
from .settings import slowness

STREAM = "AUTH_EVENTS"
_AT_ONCE = 500


@dataclass(frozen=True)
class Stored:
    """One message of the stream."""

    subject: str
    sequence: int
    headers: dict[str, str]
    data: bytes

    @property
    def event(self) -> dict[str, Any]:
        found = json.loads(self.data)
        assert isinstance(found, dict), self.data
        return found


def _headers(raw: str | None) -> dict[str, str]:
    lines = base64.b64decode(raw or "").decode().split("\r\n")[1:]
    return {name: value.strip() for name, _, value in (ln.partition(":") for ln in lines) if name}


class Reader:
    """A connection that asks the JetStream API; many questions may be on their way at once."""

    def __init__(self, port: int, *, user: str = "", password: str = "") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10 * slowness())
        self._file = self._socket.makefile("rb")
        assert self._file.readline().startswith(b"INFO ")
        self._inbox = f"_INBOX.{secrets.token_hex(8)}"
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True,
                   "user": user, "pass": password}
        self._socket.sendall(
            f"CONNECT {json.dumps(options)}\r\nSUB {self._inbox}.* 1\r\nPING\r\n".encode())
        self.errors: list[str] = []
        while (line := self._file.readline().strip()) != b"PONG":
            assert line.startswith((b"INFO", b"+OK")), line

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(self, subject: str, data: bytes, *, msg_id: str = "") -> list[str]:
        """Without a stream's answer; gives the server's errors."""
        head = f"NATS/1.0\r\nNats-Msg-Id: {msg_id}\r\n\r\n".encode() if msg_id else b""
        sizes = f"{len(head)} {len(head) + len(data)}" if msg_id else f"{len(data)}"
        line = f"{'HPUB' if msg_id else 'PUB'} {subject} {sizes}\r\n".encode()
        self._socket.sendall(line + head + data + b"\r\nPING\r\n")
        errors = []
        while (line := self._file.readline().strip()) != b"PONG":
            errors.append(line.decode())
        return errors

    def _next(self) -> tuple[int, bytes]:
        """The next answer: the number of its question, and its body."""
        while True:
            line = self._file.readline()
            words = line.split()
            assert words, "the server has closed the connection"
            if words[0] == b"PING":
                self._socket.sendall(b"PONG\r\n")
            elif words[0] in (b"MSG", b"HMSG"):
                body = self._file.read(int(words[-1]) + 2)[:-2]
                if words[0] == b"HMSG":
                    body = body[int(words[-2]):]
                return int(words[1].rpartition(b".")[2]), body
            else:
                assert words[0] in (b"+OK", b"INFO", b"PONG"), line

    def ask_all(self, questions: list[tuple[str, dict[str, Any]]]) -> list[dict[str, Any]]:
        answers: dict[int, dict[str, Any]] = {}
        for first in range(0, len(questions), _AT_ONCE):
            part = questions[first:first + _AT_ONCE]
            out = b""
            for number, (subject, body) in enumerate(part, first):
                text = json.dumps(body).encode() if body else b""
                out += f"PUB $JS.API.{subject} {self._inbox}.{number} {len(text)}\r\n".encode()
                out += text + b"\r\n"
            self._socket.sendall(out)
            for _ in part:
                number, body = self._next()
                answers[number] = json.loads(body) if body else {"error": {"code": 503}}
        return [answers[number] for number in range(len(questions))]

    def ask(self, subject: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.ask_all([(subject, body or {})])[0]

    def info(self) -> dict[str, Any]:
        """Of the stream; with "error" if there is none."""
        return self.ask(f"STREAM.INFO.{STREAM}")

    def count(self) -> int:
        return int(self.info().get("state", {}).get("messages", 0))

    def messages(self, first: int = 1) -> list[Stored]:
        """All of the stream, in its order."""
        last = int(self.info().get("state", {}).get("last_seq", 0))
        questions = [(f"STREAM.MSG.GET.{STREAM}", {"seq": n}) for n in range(first, last + 1)]
        found = []
        for answer in self.ask_all(questions):
            message = answer["message"]
            found.append(Stored(message["subject"], message["seq"], _headers(message.get("hdrs")),
                                base64.b64decode(message.get("data", ""))))
        return found


class NatsServer:
    """One nats-server on 127.0.0.1 with a store that survives a restart."""

    def __init__(self, folder: Path, config: str = "") -> None:
        if shutil.which("nats-server", path="/usr/sbin:/usr/bin:/bin") is None:
            raise AssertionError("nats-server is missing: install the package nats-server")
        self.port = ports.free_port()
        self._folder = folder
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> "NatsServer":
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "nats.conf"
        path.write_text(f'listen: "127.0.0.1:{self.port}"\n'
                        f'jetstream {{ store_dir: "{self._folder}/store" }}\n{self._config}\n')
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                ["/usr/sbin/nats-server", "-c", str(path)], stdout=log, stderr=log,
                preexec_fn=dies_with_us(signal.SIGKILL))
        deadline = time.monotonic() + 20 * slowness()
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()
                time.sleep(0.02)

    def reader(self, **who: str) -> Reader:
        return Reader(self.port, **who)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Its store stays."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(timeout=20 * slowness())
            self._process = None

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
