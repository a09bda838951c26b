#!/usr/bin/python3
"""Checks that alert rules, their tests, the dashboard and the runbook agree with each other.

    tools/check_alerts.py                  needs promtool and amtool (prometheus, prometheus-alertmanager)
    tools/check_alerts.py --metrics FILE   and every series they ask for is in this text of /metrics
    tools/check_alerts.py --self-test      see each kind of disagreement caught

Every alert says how bad it is and what it saw, has a section in docs/runbook.md, and a test in which it is silent, fires, and is
silent again. Every query of the rules, the dashboard and the runbook is valid; log events that the runbook names exist.
"""

import argparse
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import yaml

RULES = "deploy/prometheus/watchword.rules.yml"
TESTS = "tests/alerts"
DASHBOARD = "deploy/grafana/watchword.json"
RUNBOOK = "docs/runbook.md"
PAGES = [RUNBOOK, "docs/slo.md"]  # with queries in them
JOB = "watchword"

# ---- PromQL, as far as telling which series a query asks for ----

TOKEN_RE = re.compile(r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|(?P<range>\[[^\]]*\])
    |(?P<word>[A-Za-z_:$][\w:$]*)|(?P<number>\.?\d[\w.]*)|(?P<op>=~|!~|!=|==|>=|<=|\S))""", re.X)
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
KEYWORDS = {"and", "or", "unless", "offset", "bool", "inf", "nan", "start", "end", "atan2"}
MATCH = {"=": lambda v, w: v == w, "!=": lambda v, w: v != w,
         "=~": lambda v, w: re.fullmatch(w, v) is not None,
         "!~": lambda v, w: re.fullmatch(w, v) is None}
FROM_PROMETHEUS = {"up", "ALERTS"}  # series that no target exposes
LABELS_FROM_PROMETHEUS = {"job", "instance"}


def tokens(query):
    query, at = query.strip(), 0
    while at < len(query):
        match = TOKEN_RE.match(query, at)
        yield match.lastgroup, match.group(match.lastgroup)
        at = match.end()


def skip_parens(parts, i):
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(parts[i][1], 0)
        i += 1
        if depth == 0:
            return i


def read_matchers(parts, i):
    """From "{" on: the matchers, and where they end."""
    matchers = []
    i += 1
    while parts[i][1] != "}":
        if parts[i][1] == ",":
            i += 1
            continue
        (_, label), (_, op), (_, value) = parts[i:i + 3]
        matchers.append((label, op, value[1:-1]))
        i += 3
    return matchers, i + 1


def selectors(query):
    """(name, matchers) of each series selector."""
    parts = list(tokens(query)) + [("end", "")] * 3
    found, i = [], 0
    while i < len(parts):
        kind, text = parts[i]
        i += 1
        if kind != "word" or text in KEYWORDS:
            continue
        if text in GROUPING:
            i = skip_parens(parts, i) if parts[i][1] == "(" else i
        elif parts[i][1] == "{":
            matchers, i = read_matchers(parts, i)
            found.append((text, matchers))
        elif parts[i][1] != "(" and parts[i][1] not in GROUPING:
            found.append((text, []))
    return found


def read_exposition(text):
    """name -> the label sets of its series."""
    series = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+", line)
        if match and not line.startswith("#"):
            labels = dict(re.findall(r'(\w+)="((?:\\.|[^"\\])*)"', match[2] or ""))
            series.setdefault(match[1], []).append(labels)
    return series


def alternatives(op, value):
    """The parts of "a|b|c": each must be worth naming."""
    parts = value.split("|") if op == "=~" and "(" not in value else [value]
    return [(op, part) for part in parts]


def missing(selector, series):
    """What of a selector no series has; None if nothing."""
    name, matchers = selector
    if name not in series:
        return "there is no metric %s" % name
    for label, op, value in matchers:
        if label in LABELS_FROM_PROMETHEUS or "$" in value:
            continue
        for one_op, one in alternatives(op, value):
            if not any(MATCH[one_op](labels.get(label, ""), one) for labels in series[name]):
                return "no series of %s has %s%s%s" % (name, label, one_op, json.dumps(one))
    return None


# ---- what there is ----

class Tree:
    def __init__(self, root):
        self.root = root
        self.rules = yaml.safe_load(self.text(RULES))
        self.tests = {os.path.relpath(p, root): yaml.safe_load(self.text(os.path.relpath(p, root)))
                      for p in sorted(glob.glob(os.path.join(root, TESTS, "*.yml")))}
        self.runbook = self.text(RUNBOOK)

    def text(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8") as f:
            return f.read()

    def each_rule(self, kind):
        return [r for g in self.rules["groups"] for r in g["rules"] if kind in r]

    def sources(self):
        paths = glob.glob(os.path.join(self.root, "src", "**", "*.c"), recursive=True)
        return "\n".join(self.text(os.path.relpath(p, self.root)) for p in paths)


def dashboard_queries(dashboard):
    """(where, query) of every target and annotation, rows included."""
    for note in dashboard.get("annotations", {}).get("list", []):
        yield "annotation %r" % note["name"], note["expr"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield "panel %r" % panel["title"], target["expr"]
        yield from dashboard_queries({"panels": panel.get("panels", [])})


def page_queries(text):
    """Each line of a ```promql block, and lines that are indented go on with the one before."""
    for block in re.findall(r"```promql\n(.*?)```", text, re.S):
        yield from re.sub(r"\n[ \t]+", " ", block.strip()).split("\n")


def all_queries(tree):
    for rule in tree.each_rule("expr"):
        yield "%s: %s" % (RULES, rule.get("alert") or rule["record"]), rule["expr"]
    for where, query in dashboard_queries(json.loads(tree.text(DASHBOARD))):
        yield "%s: %s" % (DASHBOARD, where), query
    for page in PAGES:
        for query in page_queries(tree.text(page)):
            yield page, query


# ---- the checks: each yields what is wrong ----

def check_labels(alert):
    name, notes = alert["alert"], alert.get("annotations", {})
    if alert.get("labels", {}).get("severity") not in ("critical", "warning"):
        yield "%s: severity is neither critical nor warning" % name
    if not notes.get("summary"):
        yield "%s: no summary" % name
    if "$value" not in notes.get("description", ""):
        yield "%s: the description does not tell the value" % name
    if notes.get("runbook_url") != "%s#%s" % (RUNBOOK, name.lower()):
        yield "%s: runbook_url is not %s#%s" % (name, RUNBOOK, name.lower())


def check_runbook(tree, names):
    sections = re.findall(r"^#+ (Watchword\w+)$", tree.runbook, re.M)
    for name in names:
        if sections.count(name) != 1:
            yield "%s: %d sections in %s" % (name, sections.count(name), RUNBOOK)
    for name in set(sections) - set(names):
        yield "%s: a section about %s, which is no alert" % (RUNBOOK, name)
    sources = tree.sources()
    for event in sorted(set(re.findall(r"`((?:auth|security|database|service|operator|http|events|keys"
                                       r"|signer|sweep)\.[a-z_]+)`", tree.runbook))):
        if '"%s"' % event not in sources:
            yield "%s: nothing logs the event %s" % (RUNBOOK, event)


def seconds(duration):
    return sum(int(n) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]
               for n, unit in re.findall(r"(\d+)([smhd])", str(duration)))


def has_whole_life(cases):
    """Silent, firing and silent again, in this order of time."""
    states = [bool(case.get("exp_alerts")) for case in
              sorted(cases, key=lambda case: seconds(case["eval_time"]))]
    return re.search("01+0", "".join("01"[s] for s in states)) is not None


def check_tests(tree, names):
    lives = set()
    for path, document in tree.tests.items():
        for test in document["tests"]:
            cases = {}
            for case in test.get("alert_rule_test", []):
                cases.setdefault(case["alertname"], []).append(case)
            for name in set(cases) - set(names):
                yield "%s: %s is no alert" % (path, name)
            lives |= {name for name, own in cases.items() if has_whole_life(own)}
    for name in names:
        if name not in lives:
            yield "%s: no test in which it is silent, fires, and is silent again" % name


def check_dashboard(tree):
    dashboard = json.loads(tree.text(DASHBOARD))
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) != len(ids):
        yield "%s: two panels have one id" % DASHBOARD
    for panel in dashboard["panels"]:
        if panel["type"] != "row" and not panel.get("description"):
            yield "%s: panel %r does not say what it shows" % (DASHBOARD, panel["title"])


def check_series(tree, exposition):
    recorded = {rule["record"] for rule in tree.each_rule("record")}
    series = read_exposition(exposition)
    for where, query in all_queries(tree):
        for selector in selectors(query):
            if selector[0] in recorded | FROM_PROMETHEUS:
                continue
            if (problem := missing(selector, series)) is not None:
                yield "%s: %s" % (where, problem)
            if where.startswith(RULES) and ("job", "=", JOB) not in selector[1]:
                yield "%s: %s is asked of every job" % (where, selector[0])


def check(tree):
    alerts = tree.each_rule("alert")
    names = [alert["alert"] for alert in alerts]
    problems = [problem for alert in alerts for problem in check_labels(alert)]
    problems += check_runbook(tree, names)
    problems += check_tests(tree, names)
    problems += check_dashboard(tree)
    return problems


# ---- what promtool and amtool say ----

def tool(root, *command):
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    return [] if done.returncode == 0 else ["%s: %s" % (" ".join(command), done.stdout.strip())]


def fill(query):
    """In place of what Grafana puts in."""
    for variable, value in {"$__rate_interval": "5m", "$instance": ".*"}.items():
        query = query.replace(variable, value)
    return query


def check_syntax(tree):
    """Each query as a rule."""
    rules = [{"record": "checked", "labels": {"query": where}, "expr": fill(query)}
             for where, query in all_queries(tree)]
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as f:
        yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}, f)
        f.flush()
        return tool(tree.root, "promtool", "check", "rules", "--lint=none", f.name)


def check_with_tools(tree):
    problems = tool(tree.root, "promtool", "check", "rules", "--lint-fatal", RULES)
    problems += tool(tree.root, "promtool", "check", "config", "deploy/prometheus/prometheus.yml")
    problems += tool(tree.root, "amtool", "check-config", "deploy/prometheus/alertmanager.yml")
    problems += check_syntax(tree)
    return problems + tool(tree.root, "promtool", "test", "rules", *sorted(tree.tests))


# ---- self-test ----

GOOD_ALERT = {"alert": "WatchwordX", "expr": 'a_total{job="watchword", b=~"c|d.*"} > 0',
              "labels": {"severity": "warning"},
              "annotations": {"summary": "s", "description": "{{ $value }}",
                              "runbook_url": "docs/runbook.md#watchwordx"}}
GOOD_CASES = [{"eval_time": "1m30s", "alertname": "WatchwordX", "exp_alerts": [{}]},
              {"eval_time": "1h", "alertname": "WatchwordX"},
              {"eval_time": "45s", "alertname": "WatchwordX"}]
GOOD_TEXT = '# HELP a_total x\na_total{b="c"} 0\na_total{b="day"} 0\n'
GOOD_PANEL = {"id": 1, "type": "stat", "title": "t", "description": "d",
              "targets": [{"expr": 'rate(a_total{instance=~"$instance"}[$__rate_interval])'}]}
GOOD_RUNBOOK = "## WatchwordX\n`auth.lockout`\n```promql\nsum by (b) (a_total)\n  > 1\n```\n"


def made_tree(root, alert=None, cases=None, runbook=GOOD_RUNBOOK, panels=None):
    files = {
        RULES: yaml.safe_dump({"groups": [{"name": "g", "rules": [alert or GOOD_ALERT]}]}),
        TESTS + "/x.yml": yaml.safe_dump(
            {"tests": [{"alert_rule_test": GOOD_CASES if cases is None else cases}]}),
        DASHBOARD: json.dumps({"panels": panels or [GOOD_PANEL]}),
        RUNBOOK: runbook,
        "docs/slo.md": "",
        "src/x.c": 'note("auth.lockout");\n',
    }
    for path, text in files.items():
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "w", encoding="utf-8") as f:
            f.write(text)
    return Tree(root)


def without(mapping, *path):
    copy = json.loads(json.dumps(mapping))
    inner = copy
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return copy


def expr(query):
    return {**GOOD_ALERT, "expr": query}


SELF_TEST = [
    ({}, GOOD_TEXT, None),
    ({"alert": without(GOOD_ALERT, "labels", "severity")}, GOOD_TEXT, "severity"),
    ({"alert": without(GOOD_ALERT, "annotations", "summary")}, GOOD_TEXT, "no summary"),
    ({"alert": without(GOOD_ALERT, "annotations", "description")}, GOOD_TEXT, "the value"),
    ({"alert": without(GOOD_ALERT, "annotations", "runbook_url")}, GOOD_TEXT, "runbook_url"),
    ({"alert": {**GOOD_ALERT, "alert": "WatchwordY"}}, GOOD_TEXT, "which is no alert"),
    ({"runbook": "`auth.lockout`\n"}, GOOD_TEXT, "0 sections"),
    ({"runbook": GOOD_RUNBOOK + "`auth.lock_out`\n"}, GOOD_TEXT, "nothing logs"),
    ({"runbook": GOOD_RUNBOOK + "```promql\nb_total\n```\n"}, GOOD_TEXT, "no metric b_total"),
    ({"cases": []}, GOOD_TEXT, "no test in which"),
    ({"cases": GOOD_CASES[:2]}, GOOD_TEXT, "no test in which"),
    ({"cases": GOOD_CASES[1:]}, GOOD_TEXT, "no test in which"),
    ({"cases": GOOD_CASES + [{"eval_time": "1m", "alertname": "WatchwordZ"}]}, GOOD_TEXT,
     "is no alert"),
    ({"panels": [GOOD_PANEL, GOOD_PANEL]}, GOOD_TEXT, "one id"),
    ({"panels": [without(GOOD_PANEL, "description")]}, GOOD_TEXT, "what it shows"),
    ({"panels": [{**GOOD_PANEL, "targets": [{"expr": "b_total"}]}]}, GOOD_TEXT, "no metric"),
    ({}, GOOD_TEXT.replace('b="day"', 'b="e"'), 'has b=~"d.*"'),
    ({}, "", "no metric a_total"),
    ({"alert": expr('a_total{b="c"} > 0')}, GOOD_TEXT, "every job"),
    ({"alert": expr('a_total{job="watchword"} / on (b) a_tota{job="watchword"}')}, GOOD_TEXT,
     "no metric a_tota"),
    ({"alert": expr('max by (job) (a_total{job="watchword", c="x"}) or vector(1)')}, GOOD_TEXT,
     'has c="x"'),
]


def self_test():
    failed = 0
    for changes, text, wanted in SELF_TEST:
        with tempfile.TemporaryDirectory() as root:
            tree = made_tree(root, **changes)
            problems = check(tree) + list(check_series(tree, text))
        good = not problems if wanted is None else any(wanted in p for p in problems)
        if not good:
            failed += 1
            print("self-test: %s: %s" % (wanted or "no problem wanted", problems))
    print("check_alerts self-test: %d of %d" % (len(SELF_TEST) - failed, len(SELF_TEST)))
    return failed == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), ".."))
    parser.add_argument("--metrics", help="text of /metrics; - for standard input")
    parser.add_argument("--self-test", action="store_true")
    options = parser.parse_args()
    if options.self_test:
        sys.exit(0 if self_test() else 1)
    tree = Tree(os.path.abspath(options.root))
    problems = check(tree) + check_with_tools(tree)
    if options.metrics:
        with open(0 if options.metrics == "-" else options.metrics, encoding="utf-8") as f:
            problems += check_series(tree, f.read())
    for problem in problems:
        print(problem)
    if not problems:
        print("%d alerts: rules, tests, dashboard and runbook agree" % len(tree.each_rule("alert")))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
