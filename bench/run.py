#!/usr/bin/python3
"""Measures the service against what the same cores can do at most, and prints the ratios.

Every limit is measured in the same run, before and after each measurement of the service, so that
a machine that is slow today is slow for both. bench/README.md says what each row means.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chart  # noqa: E402
import servers  # noqa: E402
from servers import Failed  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORES = len(os.sched_getaffinity(0))
JWKS = "/.well-known/jwks.json"
TENANT = "0190b5c0-7d1e-7000-8000-00000000be9c"
ARGON = {"memory_kib": 65536, "iterations": 3}  # the service's defaults
LOGIN_USERS, CHAIN_USERS = 64, 8  # apart, because too many logins of a user end its oldest session
REFRESH_RATE, JWKS_RATE = 100, 200  # a second, for the latency rows
OVERLOAD = 10  # logins that arrive, times what can be hashed
PARTS = ("start", "login", "overload", "refresh", "jwks", "isolation", "postgresql")
TARGETS = {  # row: (target, which side of it is better)
    "login": (0.97, "higher"),
    "login_latency": (4.0, "lower"),
    "overload": (0.95, "higher"),
    "overload_beside": (0.95, "higher"),
    "refresh_sqlite": (0.7, "higher"),
    "refresh_postgresql": (0.55, "higher"),
    "jwks": (1.0, "higher"),
    "isolation_refresh": (2.0, "lower"),
    "isolation_jwks": (2.0, "lower"),
}


def say(message):
    print(message, file=sys.stderr, flush=True)


def median(values):
    return statistics.median(values) if values else None


class Bench:
    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.warnings, self.rows, self.facts = [], [], {}
        self.watchword = os.path.abspath(os.environ.get("WATCHWORD_BIN", os.path.join(ROOT, "build/watchword")))
        self.hash_program = os.environ.get("BENCH_HASH_BIN", os.path.join(ROOT, "build/bench/bench_hash"))
        self.load_program = self.find_load()
        self.login_users = self.users("login", LOGIN_USERS)
        self.chain_users = self.users("chain", CHAIN_USERS)

    def warn(self, message):
        say("warning: " + message)
        self.warnings.append(message)

    def wants(self, part):
        return part in self.options.only

    def path(self, name):
        return os.path.join(self.directory, name)

    # ---- tools ----

    def find_load(self):
        """The load generator as built with the project; built here if it is not there."""
        program = os.environ.get("BENCH_LOAD_BIN", os.path.join(ROOT, "build/bench/bench_load"))
        if not os.path.exists(program):
            program = self.path("load")
            sources = [os.path.join(ROOT, "bench", f) for f in ("load.c", "load_worker.c", "histogram.c")]
            compiler = os.environ.get("CC", "cc").split()
            servers.run([*compiler, "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", program, *sources, "-lpthread", "-lm"])
        return program

    def users(self, name, count):
        users = [(TENANT, f"{name}{i}@example.com", f"bench-password-{name}-{i:04}") for i in range(count)]
        with open(self.path(name + ".users"), "w") as f:
            f.writelines(" ".join(user) + "\n" for user in users)
        return users

    def register(self, service):
        groups = [self.login_users[i::CORES] + self.chain_users[i::CORES] for i in range(CORES)]
        with concurrent.futures.ThreadPoolExecutor(CORES) as pool:
            list(pool.map(service.register, groups))

    def load(self, port, *scenario, connections, rate=None, seconds=None, warmup=1.0, files=(), expect=("200",)):
        """One run of the load generator; complains about answers that are not expected."""
        command = [self.load_program, "--port", str(port), "--connections", str(connections),
                   "--seconds", str(seconds or self.options.seconds), "--warmup", str(warmup)]
        if rate:
            command += ["--rate", f"{rate:.3f}"]
        result = json.loads(servers.run([*command, *files, *scenario]))
        if rate:
            self.facts["client_realtime"] = result["realtime"]
        odd = {k: v for k, v in result["status"].items() if k not in expect}
        odd |= {k: result[k] for k in ("bad_answers", "chains_lost", "reconnects", "unanswered") if result[k]}
        if odd:
            self.warn(f"{' '.join(scenario)}: {odd}")
        return result

    def chains(self, name):
        """Arguments to go on with the chains of that name, or to start them."""
        path = self.path(name + ".tokens")
        known = ["--tokens-file", path] if os.path.exists(path) else []
        return [*known, "--users-file", self.path("chain.users"), "--tokens-out", path]

    # ---- the limits ----

    def bare_hashes(self, nice=0):
        """The rate of the service's own Argon2 code with nothing around it, on all cores."""
        command = ["nice", "-n", str(nice), self.hash_program, "--bare", "--memory-kib", str(ARGON["memory_kib"]), "--iterations",
                   str(ARGON["iterations"]), "--threads", str(CORES), "--seconds", str(self.options.seconds), "--json"]
        return float(json.loads(servers.run(command))["hashes_per_second"])

    def bare_hashes_beside_refusals(self, nginx, rate):
        """The same while so many logins a second are refused by nginx: what it takes to be asked at all."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asked = pool.submit(self.flood, nginx, rate, self.options.seconds + 2)
            time.sleep(2.5)  # the warm-up of the flood
            hashes = self.bare_hashes(nice=10)  # as the service's
            asked.result()
        return hashes

    def single_hash_ms(self):
        """One hash, alone on one core while the others rest."""
        command = [self.hash_program, "--bare", "--alone", "--threads", "1", "--memory-kib", str(ARGON["memory_kib"]),
                   "--iterations", str(ARGON["iterations"]), "--seconds", "1", "--json"]
        return 1000 / float(json.loads(servers.run(command))["hashes_per_second"])

    def openssl_signatures(self):
        seconds = max(1, round(self.options.seconds / 2))  # it takes that long twice: sign and verify
        out = servers.run(["openssl", "speed", "-multi", str(CORES), "-seconds", str(seconds), "rsa2048"])
        return float(re.search(r"^rsa\s+2048 bits\s+\S+\s+\S+\s+([\d.]+)", out, re.M).group(1))

    def fsyncs(self):
        """For context only: appends of 4 KiB made durable, one after the other, where the databases are."""
        block, count, begun = b"x" * 4096, 0, time.perf_counter()
        with open(self.path("fsync"), "wb", buffering=0) as f:
            while time.perf_counter() < begun + 1:
                f.write(block)
                os.fdatasync(f.fileno())
                count += 1
        return count / (time.perf_counter() - begun)

    # ---- measuring ----

    def alternate(self, limit, measure):
        """limit, measure, limit, measure, ..., limit: each measurement has a limit on both sides."""
        limits, values = [limit()], []
        for _ in range(self.options.rounds):
            values.append(measure())
            limits.append(limit())
        ratios = [v * 2 / (limits[i] + limits[i + 1]) for i, v in enumerate(values)]
        return {"value": median(values), "limit": median(limits), "ratio": median(ratios),
                "values": values, "limits": limits, "ratios": ratios}

    def add(self, name, label, unit, limit_label, numbers):
        target, better = TARGETS[name]
        met = numbers["ratio"] >= target if better == "higher" else numbers["ratio"] <= target
        self.rows.append({"name": name, "label": label, "unit": unit, "limit_label": limit_label,
                          "target": target, "better": better, "met": met} | numbers)

    def measure_login(self, service):
        say("login")
        runs = []

        def login():
            runs.append(self.load(service.port, "login", connections=4 * CORES,
                                  files=["--users-file", self.path("login.users")]))
            return runs[-1]["ok_per_second"]

        if os.path.exists(self.hash_program):
            numbers = self.alternate(self.bare_hashes, login)
            self.add("login", "logins over HTTP", "/s", "bare Argon2id", numbers)
            capacity = numbers["value"]
        else:
            self.warn("no bench_hash: the login ratio is missing")
            capacity = login()
        self.facts["login_capacity_per_second"] = capacity

        def at(share):
            return self.load(service.port, "login", connections=16 * CORES, rate=share * capacity,
                             files=["--users-file", self.path("login.users")])["latency_ms"]

        self.facts["login_latency_ms_at_half_capacity"] = at(0.5)
        if os.path.exists(self.hash_program):
            numbers = self.alternate(self.single_hash_ms, lambda: at(0.9)["p99"])
            self.add("login_latency", "login p99, 90 % load", "ms", "one hash, alone", numbers)

    def login_capacity(self, service):
        """Logins a second of a closed loop, as already measured or quickly measured now."""
        if "login_capacity_per_second" not in self.facts:
            self.facts["login_capacity_per_second"] = self.load(
                service.port, "login", connections=4 * CORES, seconds=3,
                files=["--users-file", self.path("login.users")])["ok_per_second"]
        return self.facts["login_capacity_per_second"]

    def flood(self, service, rate, seconds):
        """So many logins a second that most are refused; with connections enough to send them all."""
        return self.load(service.port, "login", rate=rate, seconds=seconds, warmup=2.0,
                         connections=min(1000, max(64, round(6 * rate))), expect=("200", "429", "503"),
                         files=["--users-file", self.path("login.users")])

    def measure_overload(self, service):
        """Against two limits: the cores to themselves, and what is left of them beside any server that
        is asked as often; the load generator and the kernel's side of the connections take the rest."""
        say("overload")
        rate, runs = OVERLOAD * self.login_capacity(service), []
        limits = {"overload": [], "overload_beside": []}

        def measure_limits(nginx):
            limits["overload"].append(self.bare_hashes())
            limits["overload_beside"].append(self.bare_hashes_beside_refusals(nginx, rate))

        os.mkdir(self.path("refusing"))
        with servers.Nginx(self.path("refusing"), JWKS, b"{}") as nginx:
            measure_limits(nginx)
            for _ in range(self.options.rounds):
                runs.append(self.flood(service, rate, self.options.seconds))
                measure_limits(nginx)
        for name, label in (("overload", "bare Argon2id"), ("overload_beside", "Argon2id beside nginx")):
            series = iter(limits[name]), iter(runs)
            self.add(name, f"logins, {OVERLOAD} times as many", "/s", label,
                     self.alternate(lambda: next(series[0]), lambda: next(series[1])["ok_per_second"]))
        self.facts["overload"] = {"offered_per_second": rate, "status": runs[-1]["status"],
                                  "refused_latency_ms": middle(r["latency_not_ok_ms"] for r in runs)}

    def measure_refresh(self, service, name, label):
        say("refresh on " + label)
        runs = []

        def refresh():
            runs.append(self.load(service.port, "refresh", connections=self.options.connections,
                                  files=self.chains(name)))
            return runs[-1]["ok_per_second"]

        numbers = self.alternate(self.openssl_signatures, refresh)
        numbers["latency_ms"] = [r["latency_ms"] for r in runs]
        self.add(name, "refreshes, " + label, "/s", "RSA-2048 signing", numbers)

    def measure_jwks(self, service):
        say("jwks")
        runs = []

        def get(port):
            runs.append(self.load(port, "get", JWKS, connections=self.options.connections))
            return runs[-1]["ok_per_second"]

        os.mkdir(self.path("nginx"))
        with servers.Nginx(self.path("nginx"), JWKS, service.get(JWKS)) as nginx:
            numbers = self.alternate(lambda: get(nginx.port), lambda: get(service.port))
        self.add("jwks", "JWKS", "/s", "nginx, same file", numbers)

    def quiet(self, service, flood=0.0):
        """Refresh and JWKS at a low fixed rate, both at once, with `flood` logins a second beside them."""
        seconds, warmup = self.options.seconds, 2.0
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            logins = pool.submit(self.flood, service, flood, seconds + 1) if flood else None
            refresh = pool.submit(self.load, service.port, "refresh", connections=8, rate=REFRESH_RATE,
                                  warmup=warmup, files=self.chains("quiet"))
            jwks = pool.submit(self.load, service.port, "get", JWKS, connections=8, rate=JWKS_RATE, warmup=warmup)
            return {"refresh": refresh.result()["latency_ms"], "jwks": jwks.result()["latency_ms"],
                    "logins": logins.result() if logins else None}

    def measure_isolation(self, service):
        say("isolation")
        self.quiet_chains(service)
        flood = self.options.flood * self.login_capacity(service)
        idle, busy = [self.quiet(service)], []
        for _ in range(self.options.rounds):
            busy.append(self.quiet(service, flood))
            idle.append(self.quiet(service))
        for what in ("refresh", "jwks"):
            p99 = {"idle": [i[what]["p99"] for i in idle], "busy": [b[what]["p99"] for b in busy]}
            series = iter(p99["idle"]), iter(p99["busy"])
            numbers = self.alternate(lambda: next(series[0]), lambda: next(series[1]))
            label = {"refresh": "refresh", "jwks": "JWKS"}[what]
            self.add("isolation_" + what, label + " p99, login flood", "ms", "p99 when idle", numbers)
            self.facts[f"{what}_latency_ms_idle"] = middle(i[what] for i in idle)
            self.facts[f"{what}_latency_ms_flood"] = middle(b[what] for b in busy)
        last = busy[-1]["logins"]
        self.facts["flood"] = {"offered_per_second": flood, "status": last["status"],
                               "ok_per_second": last["ok_per_second"], "unsent": last["unsent"],
                               "latency_ms": last["latency_ms"], "refused_latency_ms": last["latency_not_ok_ms"]}

    def quiet_chains(self, service):
        """Starts the chains before anything is measured: their logins are not what is asked about."""
        self.load(service.port, "refresh", connections=8, rate=REFRESH_RATE, seconds=0.5, warmup=0,
                  files=self.chains("quiet"))

    def measure_starts(self, service):
        say("start")
        times = []
        for _ in range(10):
            begun = service.start()
            try:
                times.append((service.wait("/health/live") - begun) * 1000)
            finally:
                if not service.close():
                    self.warn("the service did not end on SIGTERM")
        self.facts["first_answer_ms"] = {"median": median(times), "min": min(times), "max": max(times)}

    def memory(self, service, name):
        """Resident memory of all processes of the service, without its Argon2 arenas."""
        processes, arenas = service.memory(), service.hash_memory()
        if arenas is None:
            self.warn("no service.started line with hash_memory_bytes: it is not subtracted")
        elif arenas > processes[0]:
            self.warn("the announced hash memory is not resident: it is not subtracted")
            arenas = None
        self.facts[name] = {"bytes": sum(processes) - (arenas or 0), "processes": processes, "hash_memory": arenas}

    # ---- the whole ----

    def on_sqlite(self):
        directory = self.path("sqlite")
        service = servers.Service(self.watchword, directory, "sqlite:" + os.path.join(directory, "watchword.db"))
        with service:
            self.register(service)
        if self.wants("start"):
            self.measure_starts(service)
        with service:
            time.sleep(2)
            self.memory(service, "memory_idle")
            for part, measure in (("login", self.measure_login), ("overload", self.measure_overload),
                                  ("jwks", self.measure_jwks), ("isolation", self.measure_isolation)):
                if part == "jwks" and self.wants("refresh"):
                    self.measure_refresh(service, "refresh_sqlite", "SQLite")
                if self.wants(part):
                    measure(service)
            self.memory(service, "memory_after_load")

    def on_postgresql(self):
        with servers.Postgres(self.path("postgresql")) as database:
            directory = self.path("on-postgresql")
            with servers.Service(self.watchword, directory, database.url) as service:
                self.register(service)
                self.measure_refresh(service, "refresh_postgresql", "PostgreSQL")

    def run(self):
        self.facts["fsyncs_per_second"] = self.fsyncs()
        if set(self.options.only) != {"postgresql"}:
            self.on_sqlite()
        if self.wants("postgresql"):
            self.on_postgresql()


def middle(latencies):
    """The median of each percentile over several runs."""
    runs = list(latencies)
    return {k: median([r[k] for r in runs]) for k in runs[0]}


# ---- results ----

def machine():
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown")
    versions = {}
    for name, command in (("openssl", ["openssl", "version"]), ("nginx", ["nginx", "-v"])):
        with contextlib.suppress(OSError):
            done = subprocess.run(command, capture_output=True, text=True)
            versions[name] = (done.stdout or done.stderr).strip().removeprefix("nginx version: ")
    return {"cpu": cpu, "cores": CORES, "kernel": os.uname().release.split("-")[0],
            "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20} | versions


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def facts_as_lines(facts):
    lines = []
    for key, label in (("memory_idle", "idle memory"), ("memory_after_load", "memory after the load")):
        if key in facts:
            lines.append((label + " without hash memory, processes added up", f"{facts[key]['bytes'] / 2**20:.1f} MiB"))
            lines.append(("of that, the network process",
                          f"{(facts[key]['processes'][0] - (facts[key]['hash_memory'] or 0)) / 2**20:.1f} MiB"))
    if "first_answer_ms" in facts:
        lines.append(("first answer after exec", f"{facts['first_answer_ms']['median']:.1f} ms"))
    for key, label in (("login_latency_ms_at_half_capacity", "login, half of capacity"),
                       ("refresh_latency_ms_idle", f"refresh, {REFRESH_RATE}/s"),
                       ("jwks_latency_ms_idle", f"JWKS, {JWKS_RATE}/s"),
                       ("refresh_latency_ms_flood", "refresh during the login flood"),
                       ("jwks_latency_ms_flood", "JWKS during the login flood")):
        if key in facts:
            lines.append((label + ", p50 / p99", f"{facts[key]['p50']:.3g} / {facts[key]['p99']:.3g} ms"))
    if "overload" in facts:
        refused = facts["overload"]["refused_latency_ms"]
        lines.append((f"a login refused at {OVERLOAD} times capacity, p50 / p99",
                      f"{refused['p50']:.3g} / {refused['p99']:.3g} ms"))
    if "client_realtime" in facts:
        lines.append(("clients of a fixed rate ran at real-time priority", "yes" if facts["client_realtime"] else "no"))
    if "fsyncs_per_second" in facts:
        lines.append(("durable 4 KiB appends, one at a time", f"{number(facts['fsyncs_per_second'])} /s"))
    return lines


def print_table(rows, facts):
    print(f"{'':30} {'service':>12} {'limit':>12} {'ratio':>7} {'target':>8}")
    for r in rows:
        sign = ">=" if r["better"] == "higher" else "<="
        value, limit = (f"{number(r[k])} {r['unit']}" for k in ("value", "limit"))
        print(f"{r['label']:30} {value:>12} {limit:>12} {r['ratio']:7.2f} {sign:>4}{r['target']:4g}"
              f"  {'' if r['met'] else 'missed':6} {r['limit_label']}")
    print()
    for label, value in facts_as_lines(facts):
        print(f"{label:54} {value:>20}")


def write_results(bench, options):
    result = {
        "machine": machine(),
        "settings": {"rounds": options.rounds, "seconds": options.seconds, "connections": options.connections,
                     "flood_times_capacity": options.flood, "argon2": ARGON, "service": servers.SETTINGS},
        "rows": bench.rows, "facts": bench.facts, "warnings": bench.warnings,
    }
    m = result["machine"]
    notes = [f"{label}: {value}" for label, value in facts_as_lines(bench.facts)]
    notes.append(f"{m['cores']} cores ({m['cpu']}) shared by the service, the load generator and the database")
    files = {"results.json": json.dumps(result, indent=1) + "\n", "bench.svg": chart.draw(bench.rows, notes)}
    out = os.path.join(ROOT, "bench/out")
    os.makedirs(out, exist_ok=True)
    for name, content in files.items():
        with open(os.path.join(out, name), "w") as f:
            f.write(content)
    if options.publish and bench.warnings:
        raise Failed("not published because of the warnings")
    if options.publish:
        shutil.copyfile(os.path.join(out, "results.json"), os.path.join(ROOT, "docs/bench.json"))
        shutil.copyfile(os.path.join(out, "bench.svg"), os.path.join(ROOT, "docs/bench.svg"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each row (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="time of each measurement (%(default)s)")
    parser.add_argument("--connections", type=int, default=32, help="for refresh and JWKS (%(default)s)")
    parser.add_argument("--flood", type=float, default=4, help="login flood, times capacity (%(default)s)")
    parser.add_argument("--only", type=lambda s: s.split(","), default=list(PARTS), help="of: " + ",".join(PARTS))
    parser.add_argument("--dir", help="where to put the temporary databases (the system's temporary directory)")
    parser.add_argument("--keep", action="store_true", help="keep the temporary directory")
    parser.add_argument("--publish", action="store_true", help="write docs/bench.svg and docs/bench.json too")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0 or not set(options.only) <= set(PARTS):
        parser.error("rounds from 1, seconds above 0, only: " + ",".join(PARTS))
    return options


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    directory = tempfile.mkdtemp(prefix="watchword-bench-", dir=options.dir)
    os.chmod(directory, 0o711)  # the PostgreSQL user must get through
    try:
        bench = Bench(options, directory)
        if not os.access(bench.watchword, os.X_OK):
            raise Failed(f"{bench.watchword} is not there: build it first, or set WATCHWORD_BIN")
        bench.run()
        print_table(bench.rows, bench.facts)
        write_results(bench, options)
    except Failed as e:
        say(f"bench: {e}")
        return 1
    finally:
        if options.keep:
            say("kept: " + directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
