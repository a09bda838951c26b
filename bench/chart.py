"""Draws the figures as small SVGs by hand: the same numbers always give the same bytes."""

from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT = 840, 320, 150
BAR, STEP = 20, 34
GOOD, MISSED, TARGET, TEXT, SOFT = "#2a7f62", "#b5541c", "#222222", "#222222", "#666666"


def text(x, y, content, size=13, anchor="start", fill=TEXT, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def panel(rows, y, title, out):
    """Appends one group of bars with its axis; returns the y below it."""
    out.append(text(20, y, title, 14, weight="bold"))
    top = y + 14
    longest = max([r["ratio"] for r in rows] + [r["target"] for r in rows] + [1.0]) * 1.05
    scale = (WIDTH - LEFT - RIGHT) / longest
    bottom = top + STEP * len(rows)
    tick = next(t for t in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 1e9) if longest / t <= 8)
    for i in range(int(longest / tick) + 1):
        x = LEFT + i * tick * scale
        out.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="#dddddd"/>')
        out.append(text(x, bottom + 15, f"{i * tick:g}", 11, "middle", SOFT))
    for i, row in enumerate(rows):
        at = top + i * STEP + (STEP - BAR) / 2
        colour = GOOD if row["met"] else MISSED
        target = LEFT + row["target"] * scale
        label = row["label"] + " / " + row["limit_label"]
        out.append(text(LEFT - 10, at + 15, label, 13, "end"))
        out.append(f'<rect x="{LEFT}" y="{at:.1f}" width="{row["ratio"] * scale:.1f}" height="{BAR}" rx="2" '
                   f'fill="{colour}"/>')
        out.append(f'<line x1="{target:.1f}" y1="{at - 5:.1f}" x2="{target:.1f}" y2="{at + BAR + 5:.1f}" '
                   f'stroke="{TARGET}" stroke-width="2" stroke-dasharray="4 2"/>')
        out.append(text(WIDTH - RIGHT + 12, at + 15, f'{row["ratio"]:.2f}', 13, weight="bold"))
        sign = "\u2265" if row["better"] == "higher" else "\u2264"
        out.append(text(WIDTH - RIGHT + 56, at + 15, f'target {sign} {row["target"]:g}', 11, fill=SOFT))
    return bottom + 44


def page(title, height, body):
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(20, 28, title, 17, weight="bold"),
    ]
    return "\n".join(head + body + ["</svg>", ""])


def draw_hashes(lines, about):
    """lines: dicts with name, ms_median, ms_min, ms_max. Bars of the medians, whiskers from least to greatest."""
    out, top = [], 66
    longest = 1.35 * max(line["ms_median"] for line in lines)
    scale = (WIDTH - LEFT - RIGHT) / longest
    out.append(text(20, 50, about, 12, fill=SOFT))
    for i, line in enumerate(lines):
        at = top + i * STEP + (STEP - BAR) / 2
        ours = line["name"] in ("paired", "single")
        label = {"paired": "Watchword, two at a time", "single": "Watchword, one at a time"}.get(line["name"], line["name"])
        least, most = (LEFT + min(line[k], longest) * scale for k in ("ms_min", "ms_max"))
        out.append(text(LEFT - 10, at + 15, label, 13, "end", weight="bold" if ours else "normal"))
        out.append(f'<rect x="{LEFT}" y="{at:.1f}" width="{line["ms_median"] * scale:.1f}" height="{BAR}" rx="2" '
                   f'fill="{GOOD if ours else "#8a9aa8"}"/>')
        out.append(f'<line x1="{least:.1f}" y1="{at + BAR / 2:.1f}" x2="{most:.1f}" y2="{at + BAR / 2:.1f}" '
                   f'stroke="{TEXT}"/>')
        out.append(text(WIDTH - RIGHT + 12, at + 15, f'{line["ms_median"]:.0f} ms', 13, weight="bold"))
    y = top + STEP * len(lines) + 24
    out.append(text(20, y, "Median milliseconds a hash; the line goes from the least to the greatest seen.", 12, fill=SOFT))
    return page("One Argon2id hash (shorter is better)", y + 20, out)


def draw(rows, notes):
    """rows: dicts with label, limit_label, ratio, target, better (higher/lower), met. notes: lines below."""
    out = []
    y = 58
    higher = [r for r in rows if r["better"] == "higher"]
    lower = [r for r in rows if r["better"] == "lower"]
    if higher:
        y = panel(higher, y, "Share of what the machine can do at most (longer is better)", out)
    if lower:
        y = panel(lower, y, "99th percentile, the time named = 1 (shorter is better)", out)
    for note in notes:
        out.append(text(20, y, note, 12, fill=SOFT))
        y += 18
    return page("Watchword: measured against its limits on the same cores", y, out)
