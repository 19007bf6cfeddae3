"""What the tests' own processes stand on: a forked program has the arguments, streams, folder and end of one that was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from warm import FOR_CHILDREN, STANDPOINT, Warm, children, run

TELLS = """
import os, sys, torch
print(os.getcwd(), os.environ.get("MARK"), os.environ.get("HOME"), sys.argv, torch.get_num_threads(), sys.stdin.read())
print("aside", file=sys.stderr)
sys.exit(5)
"""


def test_a_program_has_its_own_arguments_streams_folder_and_end(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("a line")
    with (tmp_path / "given").open() as given:
        environment = {"MARK": "m", "OMP_NUM_THREADS": "2"}
        done = run([sys.executable, "-c", TELLS, "x"], cwd=tmp_path, env=environment, stdin=given)
    assert done.stdout == f"{tmp_path} m None ['-c', 'x'] 2 a line\n"
    assert (done.returncode, done.stderr) == (5, "aside\n")
    script = tmp_path / "script.py"
    script.write_text("import sys, neighbour\nprint(__name__, sys.argv[1:], neighbour.HERE)")
    (tmp_path / "neighbour.py").write_text("HERE = 1")
    assert run([sys.executable, str(script), "y"]).stdout == "__main__ ['y'] 1\n"
    assert run([sys.executable, "-m", "json.tool", "--help"]).stdout.startswith("usage: python -m json.tool")
    assert run([STANDPOINT, "no-such-command"]).returncode == 2


def test_it_is_a_child_that_can_be_killed() -> None:
    code = "import os, time; print(os.getpid(), os.getsid(0), flush=True); time.sleep(600)"
    for kind in (signal.SIGKILL, signal.SIGTERM):
        with Warm([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            assert process.stdout.readline() == f"{process.pid} {process.pid}\n"
            process.send_signal(kind)
        assert process.returncode == -kind


def test_other_programs_start_as_usual() -> None:
    with children():
        done = subprocess.run(["sh", "-c", "echo here; exit 3"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "here\n")


def test_its_own_children_are_warm_where_that_is_asked_for() -> None:
    inner = "import sys; print('torch' in sys.modules, flush=True); sys.exit(7)"
    code = f"import subprocess, sys; print(subprocess.run([sys.executable, '-c', {inner!r}]).returncode)"
    for environment, loaded in (({}, "False"), (FOR_CHILDREN, "True")):
        done = run([sys.executable, "-c", code], env=os.environ | environment)
        assert done.stdout == f"{loaded}\n7\n", done.stderr
