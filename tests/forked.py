"""Runs trainings in processes of their own, which may be killed, without loading torch anew for each.

Reads a JSON list of jobs from standard input, and writes one line for each: how it ended and what the run's folder holds.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

import warm
from safetensors.torch import load_file
from test_main_path import gold, write_run
from torch import Tensor

from annotations.errors import StandpointError
from annotations.storage import write_jsonl
from training import runs
from training.config import RunConfig

Job = dict[str, Any]


class Trainings:
    """A run's YAML beside its data, and processes that train with it, one after the other."""

    def __init__(self, folder: Path, encoder: Path, **settings: object) -> None:
        self.folder = folder
        write_jsonl(folder / "gold.jsonl", gold(4))
        self.config = write_run(folder, "configs/schema.yaml", folder / "gold.jsonl", encoder, **settings)
        self.told = ""

    def job(self, name: str, *overrides: str, **more: Any) -> Job:
        """A training into the folder `name`: `die` names where to be killed, `ranks` how many processes train together."""
        run = self.folder / name
        return {"config": str(self.config), "run": str(run), "overrides": [f"output={run}", *overrides], **more}

    def perform(self, *jobs: Job, **environment: str) -> list[Job]:
        """How each of them ended, the hash of what it trained, and its checkpoints; a `command` is run in between."""
        done = warm.run([sys.executable, __file__], json.dumps(jobs), env=os.environ | environment)
        self.told = done.stderr
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def weights(self, name: str) -> dict[str, Tensor]:
        """What a run trained."""
        found: dict[str, Tensor] = load_file(self.folder / name / "checkpoint" / "model.safetensors")
        return found


def free_port() -> int:
    """A port on which the processes of a job can meet."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def die_at(place: str, count: int) -> None:
    """Let this process be killed when it calls `module:name` for the given time."""
    module, _, name = place.partition(":")
    owner: Any = import_module(module)
    *outer, last = name.split(".")
    for part in outer:
        owner = getattr(owner, part)
    real, left = getattr(owner, last), [count]

    def mortal(*args: Any, **rest: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **rest)

    setattr(owner, last, mortal)


def perform(job: Job, rank: int) -> None:
    """Train as one of the job's processes; the exit status is that of the command."""
    if job.get("ranks", 1) > 1:
        os.environ |= {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
        os.environ |= {"WORLD_SIZE": str(job["ranks"]), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job["port"])}
    if "die" in job:
        die_at(*job["die"])
    if "largest_file" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["largest_file"], job["largest_file"]))
    try:
        runs.train(RunConfig.load(job["config"], job.get("overrides", [])))
    except StandpointError as error:
        print(f"standpoint: {error}", file=sys.stderr, flush=True)
        os._exit(2)


def child(job: Job, rank: int) -> int:
    """Start one process, and return its number."""
    sys.stdout.flush()
    number = os.fork()
    if number:
        return number
    os.dup2(2, 1)
    code = 1
    try:
        perform(job, rank)
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def main() -> None:
    """One job after the other, each with as many processes as it asks for."""
    for job in json.load(sys.stdin):
        if "command" in job:
            subprocess.run(job["command"], check=True)
            continue
        numbers = [child(job, rank) for rank in range(job.get("ranks", 1))]
        ends = [os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) for number in numbers]
        run = Path(job["run"])
        told = json.loads((run / "run.json").read_text()) if (run / "run.json").exists() else {}
        kept = sorted(path.parent.name for path in run.glob("trainer/checkpoint-*/trainer_state.json"))
        print(json.dumps({"ends": ends, "version": told.get("model_version"), "kept": kept}), flush=True)


if __name__ == "__main__":
    main()
