#!/usr/bin/python3
"""Checks that docs/threat-model.md tells the truth about tests. Standard library only.

    tools/check_threat_model.py [--root DIR]
    tools/check_threat_model.py --self-test   see each kind of untruth caught

A test is named as `tests/api/test_x.py::test_y` (or `::TestZ::test_y`), `tests/unit/test_x.c::function`, or by its
file alone for scripts. Every name must exist in the tree, and every row of a table whose last column is "Proof" must name a
test or say **gap**. Relative links must lead somewhere.
"""

import argparse
import ast
import os
import re
import sys
import tempfile

DOCUMENT = "docs/threat-model.md"
NAME_RE = re.compile(r"\b(?:tests|bench|tools)/[\w./-]*\w(?:::\w+)*")
LINK_RE = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")


def python_names(text):
    """Functions and methods as pytest names them: f, Class::f."""
    names = set()
    for node in ast.parse(text).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.update("%s::%s" % (node.name, child.name) for child in node.body
                         if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return names


def names_in(path):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if path.endswith(".py"):
        return python_names(text)
    if path.endswith(".c"):
        code = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S)
        return set(re.findall(r"^[A-Za-z_][\w \t*]*?\b(\w+)\([^;{]*?\)\s*\{", code, re.M))
    return set(re.findall(r"^(?:function\s+)?(\w+)\s*\(\)", text, re.M))


def check_name(root, name):
    path, _, function = name.partition("::")
    full = os.path.join(root, path)
    if not os.path.exists(full):
        return "%s does not exist" % path
    if not function:
        return None
    try:
        if function not in names_in(full):
            return "%s has no %s" % (path, function)
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        return "%s cannot be read: %s" % (path, error)
    return None


def check_rows(lines):
    """Rows of the proof tables that neither name a test nor admit a gap."""
    in_table = False
    for number, line in enumerate(lines, 1):
        if not line.startswith("|"):
            in_table = False
            continue
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        proof = cells[-1]
        if proof == "Proof":
            in_table = True
        elif in_table and not re.match(r"^:?-+:?$", proof):
            if not NAME_RE.search(proof) and "**gap" not in proof:
                yield number, "neither a test nor a **gap**: %s" % cells[0]


def check(root):
    path = os.path.join(root, DOCUMENT)
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    problems = list(check_rows(lines))
    count = 0
    for number, line in enumerate(lines, 1):
        for match in NAME_RE.finditer(line):
            count += 1
            message = check_name(root, match.group(0))
            if message:
                problems.append((number, message))
        for match in LINK_RE.finditer(line):
            if not os.path.exists(os.path.join(root, "docs", match.group(1))):
                problems.append((number, "link leads nowhere: %s" % match.group(1)))
    return count, sorted(problems)


SELF_TEST = """| Threat | Holds | Proof |
|---|---|---|
| a | b | `tests/api/test_x.py::test_real` |
| a | b | `tests/api/test_x.py::TestC::test_method` |
| a | b | `tests/unit/test_x.c::real` |
| a | b | **gap** |
| a | b | `tests/api/test_x.py` [here](../tests/api/test_x.py) |
| a | b | `tests/api/test_x.py::test_not_there` |
| a | b | `tests/unit/test_x.c::commented` |
| a | b | `tests/api/test_gone.py::test_real` |
| a | b | surely tested |
| a | b | |
| a | b | **gap** [gone](nowhere.md) |
| a | b | `tests/api/test_x.py::test_method` |

| Other | table |
|---|---|
| no | proof here |
"""


def self_test():
    with tempfile.TemporaryDirectory() as root:
        files = {
            DOCUMENT: SELF_TEST,
            "tests/api/test_x.py": "def test_real():\n    pass\n\n\nclass TestC:\n    def test_method(self):\n        pass\n",
            "tests/unit/test_x.c": "static void real(void **state)\n{\n}\n/* static void commented(void **s) { } */\n",
        }
        for name, content in files.items():
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)
        lines = [number for number, _ in check(root)[1]]
    expected = [8, 9, 10, 11, 12, 13, 14]
    if lines != expected:
        print("self-test: problems at lines %s, expected %s" % (lines, expected))
        return 1
    print("threat model: self-test caught %d untruths" % len(expected))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    count, problems = check(args.root)
    for number, message in problems:
        print("%s:%d: %s" % (DOCUMENT, number, message))
    if problems:
        print("threat model: %d problems" % len(problems))
        return 1
    print("threat model: %d tests named, all there" % count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
