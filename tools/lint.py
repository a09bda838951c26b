#!/usr/bin/python3
"""The project's own lint: rules that no compiler checks. See CONTRIBUTING.md.

    tools/lint.py              check this tree; exit 1 if anything is found
    tools/lint.py --self-test  plant every violation in a temporary tree and see each one caught
    tools/lint.py --root DIR   check another tree

Each finding is one line, 'file:line: message'. Two comments allow an exception where it is made:
    /* lint: public */          on a comparison in src/auth whose operands are no secret
    { /* lint: long: why */     on the opening line of a function that is better left whole
"""

import argparse
import os
import re
import sys
import tempfile

LAYERS = {
    "base": {"base"},
    "auth": {"base", "auth"},
    "store": {"base", "store"},
    "net": {"base", "net"},
    "service": {"base", "auth", "store", "net", "service"},
}
SEES_CONFIG = re.compile(r"^(main|config(_values)?|boot|serve\w*|commands\w*)\.[ch]$")

# Any mention is a finding, so that taking the address is no way round.
BANNED = {
    "strcpy": "text_put or text_copy",
    "strcat": "text_put",
    "sprintf": "text_put_f",
    "vsprintf": "text_put_f",
    "strtok": "explicit scanning",
    "strtol": "decimal_parse",
    "strtoul": "decimal_parse",
    "strtoll": "decimal_parse",
    "strtoull": "decimal_parse",
    "atoi": "decimal_parse",
    "atol": "decimal_parse",
    "atoll": "decimal_parse",
    "strncpy": "text_copy",
    "alloca": "a bounded buffer",
    "popen": "nothing: no child processes",
    "setjmp": "return values",
    "sigsetjmp": "return values",
    "longjmp": "return values",
    "siglongjmp": "return values",
    "goto": "CLEANUP and early return",
}
# Words that also make good member names: only a call is a finding.
BANNED_CALLS = {
    "gets": "a bounded read",
    "system": "nothing: no child processes",
    "rand": "random_bytes",
    "srand": "random_bytes",
}
COMPARISONS = ("memcmp", "strcmp", "strncmp")
BANNED_RE = re.compile(r"(?<![\w.])(?<!->)(?:__builtin_)?(%s)\b" % "|".join(BANNED))
CALLS_RE = re.compile(r"(?<![\w.])(?<!->)(%s)\s*\(" % "|".join(BANNED_CALLS))
COMPARE_RE = re.compile(r"(?<![\w.])(?<!->)(?:__builtin_)?(%s)\b" % "|".join(COMPARISONS))

SQL_RE = re.compile(
    r"\bSELECT\s|\bPRAGMA\s|^\s*(BEGIN|COMMIT|ROLLBACK)\s*;?\s*$"
    r"|(?i:\bselect\b.+\bfrom\b.+\bwhere\b|\binsert\s+into\s|\bdelete\s+from\s"
    r"|\bupdate\s+\w+\s+set\s|\b(create|alter|drop)\s+(unique\s+)?(table|index)\b)",
    re.S,
)

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60

# Spelt apart so that this file passes its own rule.
LOOSE_ENDS = ("TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK")
LOOSE_RE = re.compile(r"\b(%s)\b" % "|".join(LOOSE_ENDS))
MACHINE_RE = re.compile(r"(?<![\w.~}-])/(?:work|home|root)" r"/")
SKIP_DIRS = {".git", "__pycache__", ".pytest_cache", ".cache", "watchword-data"}


class Findings:
    def __init__(self):
        self.rows = []

    def add(self, path, line, message):
        self.rows.append((path, line, message))


# Reading C ------------------------------------------------------------------------------------

TOKEN_RE = re.compile(
    r"//(?:\\\n|[^\n])*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S
)


def code_only(text):
    """The same text with comments and the insides of literals blanked; line numbers are kept."""

    def blank(match):
        s = match.group(0)
        inner = re.sub(r"[^\n]", " ", s)
        return inner if s[0] == "/" else s[0] + inner[1:-1] + s[-1]

    return TOKEN_RE.sub(blank, text)


def string_literals(text):
    """(line, content) of each string; neighbours that the compiler would join are joined."""
    joined = []
    last_end = None
    for match in TOKEN_RE.finditer(text):
        s = match.group(0)
        if s[0] == "/":
            if last_end is not None and not text[last_end : match.start()].strip():
                last_end = match.end()
            continue
        if s[0] != '"':
            last_end = None
            continue
        if last_end is not None and not text[last_end : match.start()].strip():
            joined[-1][1] += s[1:-1]
        else:
            joined.append([text.count("\n", 0, match.start()) + 1, s[1:-1]])
        last_end = match.end()
    return joined


# Rules over src -------------------------------------------------------------------------------


def layer_of(rel):
    parts = rel.split("/")
    return parts[1] if len(parts) > 2 else None


def check_includes(rel, text, found):
    layer = layer_of(rel)
    code = re.sub(r"/\*.*?\*/", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    for number, line in enumerate(code.split("\n"), 1):
        match = re.match(r"\s*#\s*include\s*(.*)", line)
        if not match:
            continue
        target = re.match(r'(["<])([^">]+)[">]', match.group(1))
        if not target:
            found.add(rel, number, "include by macro: the layer rules cannot be checked")
            continue
        name = target.group(2)
        if ".." in name.split("/"):
            found.add(rel, number, "include '%s': write the path from src/" % name)
        elif target.group(1) == '"' or name.split("/")[0] in LAYERS or name == "config.h":
            check_arrow(rel, layer, name, number, found)


def check_arrow(rel, layer, name, number, found):
    file_name = rel.rsplit("/", 1)[-1]
    if layer is None:
        if name == "config.h" and not SEES_CONFIG.match(file_name):
            found.add(rel, number, "config.h is for main.c and the commands only")
        return
    if layer not in LAYERS:
        return
    head = name.split("/")[0] if "/" in name else None
    if head not in LAYERS[layer]:
        allowed = ", ".join(sorted(LAYERS[layer]))
        found.add(rel, number, "%s may not include '%s' (allowed: %s)" % (layer, name, allowed))


def check_layer_exists(rel, found):
    layer = layer_of(rel)
    if layer is not None and layer not in LAYERS:
        found.add(rel, 1, "src/%s is no layer of this project" % layer)


def check_calls(rel, text, code, found):
    raw = text.split("\n")
    for number, line in enumerate(code.split("\n"), 1):
        for match in BANNED_RE.finditer(line):
            name = match.group(1)
            found.add(rel, number, "%s is banned: use %s" % (name, BANNED[name]))
        for match in CALLS_RE.finditer(line):
            name = match.group(1)
            found.add(rel, number, "%s is banned: use %s" % (name, BANNED_CALLS[name]))
        if layer_of(rel) != "auth" or "/* lint: public */" in raw[number - 1]:
            continue
        for match in COMPARE_RE.finditer(line):
            found.add(rel, number, "%s in src/auth: use ct_equal, or mark the line "
                      "/* lint: public */ if neither side is secret" % match.group(1))


def check_types(rel, code, found):
    for match in re.finditer(r"\btypedef\s+(?:const\s+)?(struct|union)\b", code):
        line = code.count("\n", 0, match.start()) + 1
        found.add(rel, line, "typedef %s: write the tag out" % match.group(1))


def check_header(rel, text, code, found):
    if not text.startswith("/*"):
        found.add(rel, 1, "a header opens with a comment that says what it is")
    guard = "WW_" + re.sub(r"\W", "_", rel[len("src/"):]).upper()
    directives = [(n, re.sub(r"^\s*#\s*", "", line).split())
                  for n, line in enumerate(code.split("\n"), 1) if re.match(r"\s*#", line)]
    words = [d for _, d in directives]
    if len(words) < 3 or words[0] != ["ifndef", guard] or words[1] != ["define", guard] \
            or words[-1][:1] != ["endif"]:
        found.add(rel, directives[0][0] if directives else 1, "include guard must be %s" % guard)


def check_lengths(rel, text, code, found):
    count = text.count("\n") + (not text.endswith("\n"))
    if count > MAX_FILE_LINES:
        found.add(rel, MAX_FILE_LINES + 1,
                  "file has %d lines, the maximum is %d" % (count, MAX_FILE_LINES))
    raw = text.split("\n")
    for start, brace, end in functions(code.split("\n")):
        length = end - brace + 1
        if length <= MAX_FUNCTION_LINES:
            continue
        opening = "\n".join(raw[start:brace + 1])
        allow = re.search(r"/\* lint: long\b:?\s*(.*?)\s*\*/", opening)
        if allow and allow.group(1):
            continue
        message = "function has %d lines, the maximum is %d" % (length, MAX_FUNCTION_LINES)
        if allow:
            message += " (lint: long needs a reason)"
        found.add(rel, brace + 1, message)


def functions(lines):
    """(first line of the signature, line of its '{', line of its '}'), counted from 0."""
    start = None
    brace = None
    for i, line in enumerate(lines):
        if brace is not None:
            if line.startswith("}"):
                if start is not None:
                    yield start, brace, i
                start = brace = None
            continue
        if line.startswith("{") or (re.match(r"[A-Za-z_]", line) and line.rstrip().endswith("{")):
            begin = signature_start(lines, i)
            head = " ".join(lines[begin:i + 1])
            brace = i
            start = begin if is_function(head) else None
            if "}" in line and line.count("{") == line.count("}"):
                start = brace = None


def signature_start(lines, i):
    """Walks back over continuation lines to the first line of a declaration."""
    begin = i
    while begin > 0:
        above = lines[begin - 1].rstrip()
        if not above or above[-1] in ";}" or above.lstrip().startswith("#") or above.endswith("\\"):
            break
        begin -= 1
    return begin


def is_function(head):
    before = head.split("{", 1)[0]
    return "(" in before and not re.search(r"=\s*$", before) \
        and not re.match(r"\s*(typedef|extern\s*\")", before)


def check_sql(rel, text, found):
    if layer_of(rel) == "store":
        return
    if rel.endswith(".sql"):
        found.add(rel, 1, "SQL belongs to src/store")
        return
    for line, content in string_literals(text):
        if SQL_RE.search(content.replace("\\n", "\n")):
            found.add(rel, line, "SQL text belongs to src/store")


def check_source(rel, text, found):
    check_layer_exists(rel, found)
    check_sql(rel, text, found)
    if not rel.endswith((".c", ".h")):
        return
    code = code_only(text)
    check_includes(rel, text, found)
    check_calls(rel, text, code, found)
    check_types(rel, code, found)
    check_lengths(rel, text, code, found)
    if rel.endswith(".h"):
        check_header(rel, text, code, found)


# Rules over the whole tree --------------------------------------------------------------------


def check_hygiene(rel, text, found):
    for number, line in enumerate(text.split("\n"), 1):
        match = LOOSE_RE.search(line)
        if match:
            found.add(rel, number, "loose end '%s': do it, or open an issue" % match.group(1))
        if MACHINE_RE.search(line):
            found.add(rel, number, "absolute path of somebody's machine")


def files_of(root):
    for folder, dirs, names in os.walk(root):
        at_top = os.path.samefile(folder, root)
        dirs[:] = sorted(d for d in dirs
                         if d not in SKIP_DIRS and not (at_top and d.startswith("build")))
        for name in sorted(set(names) - SKIP_DIRS):  # in a worktree .git is a file
            path = os.path.join(folder, name)
            if name not in SKIP_DIRS and os.path.isfile(path) and not os.path.islink(path):
                yield path, os.path.relpath(path, root).replace(os.sep, "/")


def check_tree(root):
    found = Findings()
    count = 0
    for path, rel in files_of(root):
        with open(path, "rb") as f:
            data = f.read()
        if b"\0" in data[:8192]:
            continue
        count += 1
        text = data.decode("utf-8", "replace")
        check_hygiene(rel, text, found)
        if rel.startswith("src/"):
            check_source(rel, text, found)
    return count, sorted(found.rows)


# Self-test: a check that cannot fail is a defect ----------------------------------------------

GOOD_HEADER = "/* good.h: an example. */\n#ifndef WW_%s_H\n#define WW_%s_H\nint good(void);\n#endif\n"


def body(lines, opening="{"):
    return "int f(void)\n" + opening + "\n" + "    step();\n" * (lines - 2) + "}\n"


def planted():
    """(file, content, line, part of the message). Line 0: the file must pass."""
    rows = [
        ("src/base/up.c", '#include "auth/x.h"\n', 1, "base may not include"),
        ("src/auth/up.c", '#include "store/x.h"\n', 1, "auth may not include"),
        ("src/auth/side.c", '#include "net/x.h"\n', 1, "auth may not include"),
        ("src/store/up.c", '\n#include "auth/x.h"\n', 2, "store may not include"),
        ("src/net/up.c", '#include "service/x.h"\n', 1, "net may not include"),
        ("src/net/angle.c", "#include <store/x.h>\n", 1, "net may not include"),
        ("src/service/conf.c", '#include "config.h"\n', 1, "service may not include"),
        ("src/other.c", '#include "config.h"\n', 1, "config.h is for"),
        ("src/base/dots.c", '#include "../auth/x.h"\n', 1, "path from src/"),
        ("src/base/macro.c", "#include NAME\n", 1, "include by macro"),
        ("src/util/x.c", "int x;\n", 1, "no layer"),
        ("src/base/tag.c", "typedef struct x x_t;\n", 1, "typedef struct"),
        ("src/base/guard.h", "/* x */\n#ifndef GUARD_H\n#define GUARD_H\n#endif\n", 2, "WW_BASE_GUARD_H"),
        ("src/base/bare.h", "/* x */\nint x(void);\n", 1, "WW_BASE_BARE_H"),
        ("src/base/mute.h", GOOD_HEADER[GOOD_HEADER.index("#"):] % ("BASE_MUTE", "BASE_MUTE"), 1, "opens with a comment"),
        ("src/base/long.c", "int x;\n" * (MAX_FILE_LINES + 1), MAX_FILE_LINES + 1, "file has 501"),
        ("src/base/longf.c", body(MAX_FUNCTION_LINES + 1), 2, "function has 61"),
        ("src/base/longk.c", body(61).replace("void)\n{", "void) {"), 1, "function has 61"),
        ("src/base/why.c", body(61, "{ /* lint: long */"), 2, "needs a reason"),
        ("src/net/sql.c", 'char *q = "SELECT "\n    "1";\n', 1, "SQL text"),
        ("src/service/sql.c", 'char *q =\n    "insert into x values";\n', 2, "SQL text"),
        ("src/service/upd.c", 'char *q = "update t set "\n"a = 1";\n', 1, "SQL text"),
        ("src/auth/x.sql", "SELECT 1;\n", 1, "SQL belongs"),
        ("docs/end.md", "fine\n%s: later\n" % LOOSE_ENDS[0], 2, "loose end"),
        ("docs/path.md", "see /%s/me/x\n" % "home", 1, "absolute path"),
        ("tests/path.py", 'p = "/%s/x"\n' % "work", 1, "absolute path"),
        ("deploy/path.conf", "root=/%s/x\n" % "root", 1, "absolute path"),
    ]
    rows += [("docs/%s.md" % w.lower(), w + "\n", 1, "loose end") for w in LOOSE_ENDS[1:]]
    for name in list(BANNED) + list(BANNED_CALLS):
        use = "goto out;" if name == "goto" else "%s(a, b);" % name
        rows.append(("src/store/call_%s.c" % name, "\n    %s\n" % use, 2, "%s is banned" % name))
    rows.append(("src/base/ptr.c", "f = strcpy;\n", 1, "strcpy is banned"))
    rows.append(("src/base/bi.c", "__builtin_strcpy(a, b);\n", 1, "strcpy is banned"))
    for name in COMPARISONS:
        rows.append(("src/auth/%s.c" % name, "x = %s(a, b, n);\n" % name, 1, "use ct_equal"))
    return rows + innocent()


def innocent():
    return [
        ("src/main.c", '#include "config.h"\n#include "service/login.h"\n', 0, ""),
        ("src/commands_keys.c", '#include "config.h"\n', 0, ""),
        ("src/service/login.c", '#include "auth/a.h"\n#include "store/s.h"\n#include <stdio.h>\n', 0, ""),
        ("src/base/good.h", GOOD_HEADER % ("BASE_GOOD", "BASE_GOOD"), 0, ""),
        ("src/base/names.c", "x->system(1); t.rand(2); snprintf(a); random_bytes(b); gets_x(c);\n", 0, ""),
        ("src/base/quiet.c", '/* strcpy, goto */ // system(1)\nchar *s = "strcpy(a) goto";\n', 0, ""),
        ("src/auth/pub.c", 'x = strcmp(a, "RS256"); /* lint: public */\n', 0, ""),
        ("src/net/cmp.c", "x = memcmp(a, b, n);\n", 0, ""),
        ("src/store/sql.c", 'char *q = "SELECT 1";\n', 0, ""),
        ("src/net/prose.c", 'p("select a key from the list"); p("could not update the set"); p("BEGIN CERTIFICATE");\n', 0, ""),
        ("src/base/just.c", body(MAX_FUNCTION_LINES), 0, ""),
        ("src/base/table.c", "static const int t[] = {\n" + "    1,\n" * 80 + "};\n", 0, ""),
        ("src/base/allow.c", body(80, "{ /* lint: long: one flat table of cases */"), 0, ""),
        ("docs/url.md", "https://example.com/%s/x mkstemp(name.XXXXXX)\n" % "home", 0, ""),
        ("build/junk.md", LOOSE_ENDS[0] + "\n", 0, ""),
    ]


def self_test():
    rows = planted()
    with tempfile.TemporaryDirectory() as root:
        for name, content, _, _ in rows:
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(content)
        _, findings = check_tree(root)
    failed = 0
    for name, _, line, part in rows:
        mine = [(n, m) for path, n, m in findings if path == name]
        good = not mine if line == 0 else len(mine) == 1 and mine[0][0] == line and part in mine[0][1]
        if not good:
            failed += 1
            print("self-test: %s: expected %s, got %s" % (name, (line, part) if line else "nothing", mine))
    if failed:
        return 1
    caught = sum(1 for row in rows if row[2])
    print("lint: self-test caught %d violations and let %d innocent files pass"
          % (caught, len(rows) - caught))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    args = parser.parse_args()
    if args.self_test:
        return self_test()
    count, rows = check_tree(args.root)
    for path, line, message in rows:
        print("%s:%d: %s" % (path, line, message))
    if rows:
        print("lint: %d files, %d findings" % (count, len(rows)))
        return 1
    print("lint: %d files, no findings" % count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
