"""What the benchmark starts and stops: the service, a PostgreSQL cluster, an nginx."""

import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time

SETTINGS = {  # what differs from the service's defaults: limits that exist to stop a load generator
    "IP_RL_PER_SECOND": "1000000",
    "IP_RL_BURST": "1000000",
    "LOGIN_PER_MIN_PER_EMAIL": "1000000",
    "REGISTER_PER_MIN_PER_EMAIL": "1000000",
    "REFRESH_PER_MIN_PER_TOKEN": "1000000",
    "PASSWORD_MIN_SCORE": "0",
    "LOG_LEVEL": "info",
}


class Failed(Exception):
    """Something that was started does not do what it should; the message says what."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def run(command, **kwargs):
    done = subprocess.run(command, capture_output=True, text=True, **kwargs)
    if done.returncode != 0:
        raise Failed(f"{os.path.basename(command[0])}: exit {done.returncode}: {done.stderr[-2000:].strip()}")
    return done.stdout


def stop(process, how=signal.SIGTERM, patience=20):
    if process.poll() is None:
        process.send_signal(how)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return False
    return True


def first_answer(port, request, alive, patience=30):
    """Polls until a new connection answers 200; returns when that was, by perf_counter."""
    limit = time.perf_counter() + patience
    while time.perf_counter() < limit:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.settimeout(2)
            s.connect(("127.0.0.1", port))
            s.sendall(request)
            if s.recv(4096)[9:12] == b"200":
                return time.perf_counter()
        if not alive():
            break
        time.sleep(0.0001)
    raise Failed("no answer to " + request.split(b"\r\n")[0].decode())


class Service:
    """A running watchword. `with Service(...) as s:` waits until it is ready."""

    def __init__(self, binary, directory, database_url, extra=None):
        self.binary, self.directory, self.extra = binary, directory, extra or {}
        self.database_url = database_url
        self.log_path = os.path.join(directory, "service.log")
        self.process = self.port = None

    def start(self):
        os.makedirs(self.directory, exist_ok=True)
        self.port, ops_port = free_port(), free_port()
        env = {k: os.environ[k] for k in ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH") if k in os.environ}
        env |= SETTINGS | {
            "DATA_DIR": os.path.join(self.directory, "data"),
            "DATABASE_URL": self.database_url,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "OPS_HOST": "127.0.0.1",
            "OPS_PORT": str(ops_port),
        } | self.extra
        with open(self.log_path, "wb") as log:
            begun = time.perf_counter()
            self.process = subprocess.Popen([self.binary, "serve"], env=env, cwd=self.directory,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return begun

    def wait(self, path):
        request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
        try:
            return first_answer(self.port, request, lambda: self.process.poll() is None)
        except Failed as e:
            with open(self.log_path, errors="replace") as log:
                raise Failed(f"watchword: {e}; its log ends:\n{log.read()[-2000:]}") from None

    def __enter__(self):
        self.start()
        try:
            self.wait("/health/ready")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Returns whether it ended by itself when asked to."""
        return stop(self.process)

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read()

    def register(self, users):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            for tenant, email, password in users:
                body = json.dumps({"tenant_id": tenant, "email": email, "password": password})
                connection.request("POST", "/api/auth/register", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 200:
                    raise Failed(f"register: {answer.status} {text[:200]!r}")

    def hash_memory(self):
        """What it says at start that its Argon2 arenas take, in bytes; None if it does not say."""
        with open(self.log_path, errors="replace") as log:
            for line in log:
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    if entry.get("event") == "service.started":
                        return entry.get("hash_memory_bytes")
        return None

    def memory(self):
        """VmRSS of the service and its child processes, in bytes, main process first."""
        pids = [self.process.pid]
        for pid in pids:
            for path in glob.glob(f"/proc/{pid}/task/*/children"):
                with contextlib.suppress(OSError), open(path) as f:
                    pids += [int(child) for child in f.read().split()]
        return [rss for rss in map(vm_rss, pids) if rss]


def vm_rss(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


class Postgres:
    """A cluster of its own with the settings that PostgreSQL has by default; fsync stays on."""

    def __init__(self, directory):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[-2]))
        self.bin = os.environ.get("PG_BIN") or (found[-1] if found else None)
        if self.bin is None:
            raise Failed("PostgreSQL is not installed (or set PG_BIN)")
        self.directory = directory
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/watchword"

    def call(self, program, *args):
        # Output goes to a file: the server that pg_ctl starts keeps it open.
        command = [os.path.join(self.bin, program), *args]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        path = os.path.join(self.directory, program + ".log")
        with open(path, "wb") as log:
            rc = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/").returncode
        if rc != 0:
            with open(path, errors="replace") as log:
                raise Failed(f"{program}: exit {rc}: {log.read()[-2000:]}")

    def __enter__(self):
        os.makedirs(self.directory)
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres")
        data = os.path.join(self.directory, "data")
        self.call("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.directory}"
        self.call("pg_ctl", "-D", data, "-w", "-l", os.path.join(self.directory, "server.log"), "-o", options, "start")
        try:
            self.call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "watchword")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.call("pg_ctl", "-D", os.path.join(self.directory, "data"), "-w", "-m", "fast", "stop")


NGINX_CONF = """{user}daemon off;
worker_processes auto;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 3600;
    open_file_cache max=100 inactive=3600s;
    open_file_cache_valid 3600s;
    default_type application/json;
    client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    server {{ listen 127.0.0.1:{port}; root {dir}/www; location = /api/auth/login {{ return 503; }} }}
}}
"""


class Nginx:
    """Serves `content` at `path` from a file, and refuses logins."""

    def __init__(self, directory, path, content):
        self.directory, self.path, self.content = directory, path, content
        self.port = free_port()
        self.process = None

    def __enter__(self):
        file = os.path.join(self.directory, "www", self.path.lstrip("/"))
        os.makedirs(os.path.dirname(file))
        with open(file, "wb") as f:
            f.write(self.content)
        config = os.path.join(self.directory, "nginx.conf")
        user = "user root;\n" if os.geteuid() == 0 else ""
        with open(config, "w") as f:
            f.write(NGINX_CONF.format(user=user, dir=self.directory, port=self.port))
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        if not os.path.exists(program):
            raise Failed("nginx is not installed")
        self.process = subprocess.Popen([program, "-c", config, "-e", os.path.join(self.directory, "error.log")])
        request = f"GET {self.path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode()
        try:
            first_answer(self.port, request, lambda: self.process.poll() is None)
        except BaseException:
            stop(self.process)
            raise
        return self

    def __exit__(self, *_):
        stop(self.process)
