"""How a measurement ends: one page with the command that made it and the machine, printed, and kept beside its numbers if asked.

It knows nothing of what was measured. Comparisons whose rows were made on several days use `encoder_runs.save_table`.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from training.run_directory import machine, now, write_table


def command_of(script: str, given: Sequence[str] | None = None) -> str:
    """What to type for the same again; `given`: the arguments, None for the process's own."""
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *(sys.argv[1:] if given is None else given)])


def publish(
    script: str,
    given: Sequence[str] | None,
    title: str,
    table: str,
    values: Mapping[str, object],
    save: Path | None,
) -> None:
    """Print the page; write SAVE.md and SAVE.json where a place is given. `given` as for `command_of`."""
    command = command_of(script, given)
    made = now()
    page = f"# {title}\n\nCommand: `{command}`\n\nMade {made} on {json.dumps(machine())}.\n\n{table}"
    print(page)
    if save:
        write_table(save, page, {"command": command, **values, **machine(), "made": made})
