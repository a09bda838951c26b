#!/usr/bin/env python3
"""Turns src/store/sql/NNNN_name.DIALECT.sql into C tables: embed_sql.py OUT.c FILE...

Versions must be 1, 2, 3, ... without a gap and exist in both dialects under one name.
"""
import re
import sys
from pathlib import Path

DIALECTS = ("sqlite", "postgresql")


def c_string(sql: str) -> str:
    lines = []
    for line in sql.splitlines():
        escaped = line.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'        "{escaped}\\n"')
    return "\n".join(lines)


def main() -> int:
    out, files = Path(sys.argv[1]), [Path(f) for f in sys.argv[2:]]
    found: dict[str, dict[int, tuple[str, str]]] = {d: {} for d in DIALECTS}
    for file in files:
        m = re.fullmatch(r"(\d{4})_([a-z0-9_]+)\.(sqlite|postgresql)\.sql", file.name)
        if not m:
            print(f"{file}: not NNNN_name.DIALECT.sql", file=sys.stderr)
            return 1
        found[m[3]][int(m[1])] = (m[2], file.read_text())
    count = len(found["sqlite"])
    for d in DIALECTS:
        if sorted(found[d]) != list(range(1, count + 1)):
            print(f"{d}: versions are {sorted(found[d])}, not 1 to {count}", file=sys.stderr)
            return 1
    for v in range(1, count + 1):
        if found["sqlite"][v][0] != found["postgresql"][v][0]:
            print(f"version {v} has two names", file=sys.stderr)
            return 1
    text = '/* Made by tools/embed_sql.py from src/store/sql/. */\n#include "store/ops.h"\n\n'
    for d in DIALECTS:
        text += f"const struct store_migration STORE_MIGRATIONS_{d.upper()}[] = {{\n"
        for v in range(1, count + 1):
            name, sql = found[d][v]
            text += f'    {{{v}, "{name}",\n{c_string(sql)}}},\n'
        text += "};\n\n"
    text += f"const unsigned STORE_MIGRATION_COUNT = {count};\n"
    out.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
