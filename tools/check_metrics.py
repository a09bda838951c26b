#!/usr/bin/python3
"""Checks that docs/metrics.md has every metric that the service has. Standard library only.

    tools/check_metrics.py [--root DIR]
    tools/check_metrics.py --self-test   see each kind of disagreement caught

Name, kind, labels and their values are those of src/service/metrics_table.c; the reasons of each use case as well.
"""

import argparse
import os
import re
import sys
import tempfile

TABLE = "src/service/metrics_table.c"
NAMES = "src/service/outcome.c"
DOCUMENT = "docs/metrics.md"
WORD_RE = re.compile(r"`([^`]+)`")


# ---- the program ----

def arrays(code):
    """name -> its strings, of every table of strings."""
    found = re.findall(r"static const char \*const (\w+)\[\w*\]\s*=\s*\{(.*?)\};", code, re.S)
    return {name: re.findall(r'"([^"]*)"', body) for name, body in found}


def label_values(code):
    """callback -> the values of each of its labels; None where they are not in the table."""
    tables = arrays(code)
    plain = re.findall(r"^PLAIN_LABEL\((\w+), (\w+)\)", code, re.M)
    values = {fn: [tables[table]] for fn, table in plain if table in tables}
    for fn in re.findall(r"^USE_CASE_LABEL\((\w+), \d+\)", code, re.M):
        values[fn] = [["success", "failure"], None]
    values["shed_label"] = [tables.get("LANE_NAMES"), tables.get("DROP_NAMES")]
    values["http_label"] = [None, tables.get("METHOD_NAMES"), None]
    return values


def program_metrics(code):
    """name -> (kind, [(label, values or None)])."""
    values, metrics = label_values(code), {}
    for entry in re.split(r"^\s*\[M_\w+\] = ", code[code.index("METRIC_TABLE["):], flags=re.M)[1:]:
        name, kind = re.search(r'\.name = "(\w+)"', entry)[1], re.search(r"METRIC_(\w+)", entry)[1]
        labels = re.search(r"\.labels = \{(.*?)\}", entry, re.S)
        labels = re.findall(r'"(\w+)"', labels[1]) if labels else []
        reader = re.search(r"\.value_of = (\w+)", entry)
        sets = values.get(reader[1] if reader else None, [None] * len(labels))
        metrics[name] = (kind.lower(), list(zip(labels, sets)))
    return metrics


def program_reasons(code, names):
    """use case -> its reasons."""
    words = dict(re.findall(r'\[(OUTCOME_\w+)\] = "(\w+)"', names))
    body = code[code.index("USE_CASES["):code.index("use_case_label")]
    cases = re.findall(r"\{(\w+)_start,(.*?)\}\}", body, re.S)
    return {case: {words[o] for o in re.findall(r"OUTCOME_\w+", rest)} for case, rest in cases}


# ---- the document ----

def rows(text):
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def document_metrics(text):
    metrics = {}
    for row in rows(text):
        name = WORD_RE.fullmatch(row[0])
        if name and len(row) == 4:
            labels = [WORD_RE.findall(part) for part in row[2].split(";") if part.strip()]
            metrics.setdefault(name[1], []).append(
                (row[1].split(",")[0], [(words[0], words[1:] or None) for words in labels], row[3]))
    return metrics


def document_reasons(text):
    cases, found = [], {}
    for row in rows(text):
        if row[0] == "reason":
            cases = row[1:-1]
            found = {case: set() for case in cases}
        elif cases and len(row) == len(cases) + 2 and WORD_RE.fullmatch(row[0]):
            for case, mark in zip(cases, row[1:-1]):
                if mark == "x":
                    found[case].add(row[0].strip("`"))
    return found


# ---- comparing ----

def compare_metric(name, wanted, entries):
    if len(entries) != 1:
        yield "%s: %d rows" % (name, len(entries))
        return
    (kind, labels), (told_kind, told_labels, meaning) = wanted, entries[0]
    if told_kind != kind:
        yield "%s: is a %s, not a %s" % (name, kind, told_kind)
    if [label for label, _ in told_labels] != [label for label, _ in labels]:
        yield "%s: its labels are %s" % (name, ", ".join(label for label, _ in labels) or "none")
        return
    for (label, values), (_, told) in zip(labels, told_labels):
        if values is not None and told != values:
            yield "%s: the values of %s are %s" % (name, label, ", ".join(values))
    if not meaning:
        yield "%s: what does it mean?" % name


def check(root):
    def read(path):
        with open(os.path.join(root, path), encoding="utf-8") as f:
            return f.read()

    code, text = read(TABLE), read(DOCUMENT)
    metrics, told = program_metrics(code), document_metrics(text)
    problems = []
    for name, wanted in metrics.items():
        problems += compare_metric(name, wanted, told.get(name, []))
    problems += ["%s: there is no such metric" % name for name in told if name not in metrics]
    told_reasons = document_reasons(text)
    for case, wanted in program_reasons(code, read(NAMES)).items():
        for reason in sorted(wanted ^ told_reasons.get(case, set())):
            problems.append("%s: reason %s is %s" % (
                case, reason, "not told" if reason in wanted else "none of its reasons"))
    return len(metrics), problems


# ---- self-test ----

GOOD_TABLE = """const struct use_case USE_CASES[USE_CASE_COUNT] = {
    {login_start, M_A, 1, {OUTCOME_OK, OUTCOME_LOCKED}},
};
static const char *use_case_label(unsigned use_case);
USE_CASE_LABEL(login_label, 0)
static const char *const SCOPES[] = {"ip", "email"};
static const char *const LANE_NAMES[LANES] = {[LANE_DB] = "db"};
PLAIN_LABEL(scope_label, SCOPES)
const struct metric METRIC_TABLE[METRICS] = {
    [M_A] = {.name = "a_total", .kind = METRIC_COUNTER, .labels = {"result", "reason"}, .value_of = login_label},
    [M_B] = {.name = "b", .kind = METRIC_GAUGE, .labels = {"scope"}, .value_of = scope_label},
    [M_C] = {.name = "c_seconds", .kind = METRIC_HISTOGRAM},
};
"""
GOOD_NAMES = '[OUTCOME_OK] = "ok",\n[OUTCOME_LOCKED] = "locked",\n'
GOOD_TEXT = """| metric | kind | labels | |
|---|---|---|---|
| `a_total` | counter | `result`: `success`, `failure`; `reason` | x |
| `b` | gauge, all | `scope`: `ip`, `email` | x |
| `c_seconds` | histogram | | x |

| reason | login | |
|---|---|---|
| `ok` | x | done |
| `locked` | x | not done |
"""
SELF_TEST = [
    ("", "", None),
    ("| `b` |", "| `bb` |", "b: 0 rows"),
    ("| `b` |", "| `bb` |", "bb: there is no such metric"),
    ("| `c_seconds` |", "| `b` | gauge | `scope`: `ip`, `email` | x |\n| `c_seconds` |", "b: 2 rows"),
    ("| gauge, all |", "| counter |", "is a gauge"),
    ("`scope`:", "`scopes`:", "its labels are scope"),
    ("; `reason` |", " |", "its labels are result, reason"),
    ("| histogram | |", "| histogram | `le` |", "its labels are none"),
    ("`ip`, `email`", "`ip`", "the values of scope"),
    ("`ip`, `email`", "`ip`, `mail`", "the values of scope"),
    ("| histogram | | x |", "| histogram | | |", "what does it mean"),
    ("| `locked` | x |", "| `locked` | |", "locked is not told"),
    ("| `locked` | x |", "| `locked` | x | |\n| `gone` | x |", "gone is none of"),
]


def self_test():
    failed = 0
    for old, new, wanted in SELF_TEST:
        files = {TABLE: GOOD_TABLE, NAMES: GOOD_NAMES, DOCUMENT: GOOD_TEXT.replace(old, new, 1)}
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as f:
                    f.write(text)
            _, problems = check(root)
        good = not problems if wanted is None else any(wanted in p for p in problems)
        if not good:
            failed += 1
            print("self-test: %s: %s" % (wanted or "no problem wanted", problems))
    print("check_metrics self-test: %d of %d" % (len(SELF_TEST) - failed, len(SELF_TEST)))
    return failed == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), ".."))
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        sys.exit(0 if self_test() else 1)
    count, problems = check(options.root)
    for problem in problems:
        print(problem)
    if not problems:
        print("metrics: %d, all told" % count)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
