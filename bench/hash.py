#!/usr/bin/python3
"""Compares ways to compute one Argon2id hash on one core: a table, and a plot with --publish.

Runs bench_hash several times, pinned to one core, and takes medians over the runs. With --node,
@node-rs/argon2 is installed from npm into a temporary directory and takes part.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import chart  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPT = os.path.join(ROOT, "bench/hash_node.mjs")
AIMS = {("paired", "libargon2"): 0.30, ("paired", "libsodium"): 0.52, ("paired", "@node-rs/argon2"): 0.70,
        ("single", "libargon2"): 0.37}


def run_once(options, program, core, directory):
    command = ["taskset", "-c", str(core), program, "--json", "--rounds", str(options.rounds)]
    if options.backend:
        command += ["--backend", options.backend]
    if options.node:
        command += ["--node", SCRIPT]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"bench hash: {done.stderr.strip()}")
    return json.loads(done.stdout)


def merge(runs):
    """One line a contender: medians over the runs, the least and the greatest of all of them."""
    lines = []
    for same in zip(*(run["contenders"] for run in runs)):
        line = {k: statistics.median(c[k] for c in same) for k in ("ms_median", "paired_ratio", "single_ratio")}
        lines.append(line | {"name": same[0]["name"], "ms_min": min(c["ms_min"] for c in same),
                             "ms_max": max(c["ms_max"] for c in same)})
    return lines


def print_table(lines):
    print(f"{'ms per hash':18} {'median':>8} {'min':>8} {'max':>8} {'hashes/s':>9}  {'paired / it':>16}  {'single / it':>16}")
    for line in lines:
        ratios = []
        for ours in ("paired", "single"):
            aim = AIMS.get((ours, line["name"]))
            ratios.append(f"{line[ours + '_ratio']:.2f}" + (f" (aim {aim:.2f})" if aim else ""))
        print(f"{line['name']:18} {line['ms_median']:8.1f} {line['ms_min']:8.1f} {line['ms_max']:8.1f} "
              f"{1000 / line['ms_median']:9.1f}  {ratios[0]:>16}  {ratios[1]:>16}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="of the program (%(default)s)")
    parser.add_argument("--rounds", type=int, default=9, help="hashes of each contender in a run (%(default)s)")
    parser.add_argument("--backend", help="portable, avx2, avx512, libargon2 (what the machine does best)")
    parser.add_argument("--node", action="store_true", help="with @node-rs/argon2, installed from npm for this once")
    parser.add_argument("--publish", action="store_true", help="write docs/hash.svg")
    options = parser.parse_args()
    program = os.path.abspath(os.environ.get("BENCH_HASH_BIN", os.path.join(ROOT, "build/bench/bench_hash")))
    core = max(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as directory:
        if options.node:
            subprocess.run(["npm", "install", "--silent", "@node-rs/argon2"], cwd=directory, check=True)
        runs = []
        for n in range(options.runs):
            print(f"run {n + 1} of {options.runs}", file=sys.stderr, flush=True)
            runs.append(run_once(options, program, core, directory))
    lines = merge(runs)
    about = (f"{runs[0]['memory_kib'] // 1024} MiB, t={runs[0]['iterations']}, p=1, one core; ours: {runs[0]['backend']}; "
             f"{options.runs} runs of {options.rounds} rounds")
    print(about + "\n")
    print_table(lines)
    if options.publish:
        with open(os.path.join(ROOT, "docs/hash.svg"), "w") as f:
            f.write(chart.draw_hashes(lines, about))


if __name__ == "__main__":
    main()
