#!/usr/bin/env python3
"""Runs the benches, and puts their tables into benches/README.md and its chart.

    python3 benches/measure.py              all of them
    python3 benches/measure.py overhead     only some; the tables of the others stay
"""

import platform
import re
import subprocess
import sys
from pathlib import Path

import chart

BENCHES = ["overhead", "allocations", "instructions", "scaling", "throughput"]
HERE = Path(__file__).parent
README = HERE / "README.md"


def output(*command: str) -> str:
    run = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout.strip()


def where() -> str:
    commit = output("git", "describe", "--always", "--dirty", "--exclude=*")
    models = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    cpu = f"{len(models)} cores of {models[0]}" if models else platform.machine()
    return f"Measured at commit {commit}: {cpu}, {platform.system()}, {output('rustc', '--version')}."


def main() -> None:
    # Reads the commit first, since each bench changes the README.
    measured = where()
    for bench in sys.argv[1:] or BENCHES:
        print(f"cargo bench --bench {bench}", file=sys.stderr)
        tables = output("cargo", "bench", "--quiet", "--bench", bench)
        # The title of a table becomes a heading.
        tables = re.sub(r"^(?=[^|\s])", "#### ", tables, flags=re.MULTILINE)
        tables = re.sub(r"\n{3,}", "\n\n", tables)
        part = f"<!-- {bench} -->\n{measured}\n\n{tables}\n<!-- end -->"
        text = README.read_text()
        text, found = re.subn(f"<!-- {bench} -->.*?<!-- end -->", lambda _: part, text, flags=re.DOTALL)
        assert found == 1, f"no place for {bench} in {README}"
        README.write_text(text)
    chart.main()


if __name__ == "__main__":
    main()
