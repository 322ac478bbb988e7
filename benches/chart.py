#!/usr/bin/env python3
"""Draws the tables of the server in `overhead` of benches/README.md: benches/overhead.svg."""

import re
from pathlib import Path

HERE = Path(__file__).parent
CASES = {
    "generate, on": "ID generated, Sentry on",
    "read, on": "ID read, Sentry on",
    "transactions, rate 1.0": "Transactions, all sent",
    "transactions, rate 0.01": "Transactions, 1 in 100 sent",
}
VARIANTS = {
    "peer": ("NewSentry + SentryHttp + SetRequestId + PropagateRequestId + tag", "#b9b4c4"),
    "full+default": ("BindTransactionIdLayer with capture_failures", "#e8833a"),
    "full": ("the same with .hub(base)", "#c4501b"),
}
LEFT, TOP, WIDTH, BAR, GAP = 190, 96, 560, 15, 16


def read() -> dict[str, dict[str, float]]:
    """Nanoseconds added, by case and variant."""
    text = (HERE / "README.md").read_text()
    part = re.search(r"<!-- overhead -->(.*?)<!-- end -->", text, re.DOTALL)
    assert part, "no results of `overhead`"
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in part[1].splitlines()
        if line.startswith("|")
    ]
    found: dict[str, dict[str, float]] = {}
    head: list[str] = []
    for row in rows:
        # Each table has a head of its own, and a case is a row of one table.
        if "bare" in row:
            head = row
        elif row[0] in CASES:
            found[row[0]] = {variant: float(row[head.index(variant)]) for variant in VARIANTS}
    return {case: found[case] for case in CASES}


def main() -> None:
    times = read()
    scale = WIDTH / max(max(of_case.values()) for of_case in times.values())
    height = TOP + len(CASES) * (len(VARIANTS) * BAR + GAP) + 10
    marks = []
    for number, (name, color) in enumerate(VARIANTS.values()):
        x, y = 20 + number % 2 * 480, 44 + number // 2 * 20
        marks.append(f'<rect x="{x}" y="{y}" width="11" height="11" fill="{color}"/>')
        marks.append(f'<text x="{x + 17}" y="{y + 10}">{name}</text>')
    y = TOP
    for case, label in CASES.items():
        middle = y + len(VARIANTS) * BAR / 2 + 4
        marks.append(f'<text x="{LEFT - 10}" y="{middle}" text-anchor="end">{label}</text>')
        for variant, (_, color) in VARIANTS.items():
            time = times[case][variant]
            width = max(time * scale, 1)
            marks.append(
                f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{color}"/>'
            )
            marks.append(f'<text x="{LEFT + width + 6:.1f}" y="{y + 11}">{time:.0f} ns</text>')
            y += BAR
        y += GAP
    body = "\n".join(marks)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 840 {height}" '
        'font-family="sans-serif" font-size="12" role="img" '
        'aria-label="CPU time that each stack of layers adds to a request">\n'
        f'<rect width="840" height="{height}" fill="#fff"/>\n'
        '<text x="20" y="26" font-size="15" font-weight="bold">'
        "CPU time added to a request, over a bare service</text>\n"
        f"{body}\n</svg>\n"
    )
    (HERE / "overhead.svg").write_text(svg)


if __name__ == "__main__":
    main()
