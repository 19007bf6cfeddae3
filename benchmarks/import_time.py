"""How long do imports take? Each in a process of its own, beside those of transformers, torch and spaCy.

The median of several runs after one that fills the disk's cache; starting Python is measured alone and taken off.

Run: python benchmarks/import_time.py --save benchmarks/results/import_time
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from pages import publish

IMPORTS = {
    "import inference": "what a program that may tag later pays",
    "from inference import Tagger": "torch, transformers and all that tagging needs",
    "import annotations.schema, annotations.document": "annotators' tools",
    "from training.cli import app": "what `standpoint --help` loads",
    "import torch": "",
    "import transformers": "",
    "from transformers import pipeline": "",
    "import spacy": "",
}
Row = dict[str, Any]
COUNT = "import sys; sys.stdout.write(str(len(sys.modules)))"


def seconds(code: str, runs: int) -> tuple[list[float], int]:
    """Wall seconds of each run, and how many modules were loaded. Raises CalledProcessError where the code fails."""
    times: list[float] = []
    modules = 0
    for _ in range(runs + 1):
        began = time.perf_counter()
        command = [sys.executable, "-c", f"{code}\n{COUNT}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        times.append(time.perf_counter() - began)
        modules = int(done.stdout)
    return times[1:], modules


def measured(runs: int) -> list[Row]:
    """All rows of the table; what is not installed is left out."""
    bare, none = seconds("pass", runs)
    rows: list[Row] = []
    for code, about in IMPORTS.items():
        try:
            times, modules = seconds(code, runs)
        except subprocess.CalledProcessError as error:
            if "ModuleNotFoundError" not in error.stderr:
                raise
            continue
        took = [one - median(bare) for one in times]
        rows.append(
            {"import": code, "about": about, "seconds": median(took), "slowest": max(took), "modules": modules - none}
        )
    return rows


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| | seconds, median | slowest | modules | |", "|---|---:|---:|---:|---|"]
    for row in rows:
        lines.append(
            f"| `{row['import']}` | {row['seconds']:.3f} | {row['slowest']:.3f} | {row['modules']} | {row['about']} |"
        )
    return "\n".join(lines)


def main(given: Sequence[str] | None = None) -> list[Row]:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--save", type=Path, help="write SAVE.md and SAVE.json")
    options = parser.parse_args(given)
    rows = measured(options.runs)
    publish(__file__, given, "What imports cost", table(rows), {"rows": rows}, options.save)
    return rows


if __name__ == "__main__":
    main()
