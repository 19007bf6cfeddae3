"""Does the Dockerfile work? Without a container engine: its steps in a folder, its command as its user, its health check.

Every RUN of the build stage is run with the image's paths moved below a new folder, on the files that `.dockerignore` lets
through. Then the command serves a checkpoint, as the image's user where this is run by root, and the health check must succeed.
What it cannot show: the base image's own Python and system libraries, and a file system that is really read-only.

Run: python benchmarks/image_check.py --checkpoint runs/demo/checkpoint
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from annotations.errors import ConfigError
from training.shell import progress

ROOT = Path(__file__).parent.parent
PORT = "8080"
WAIT = 120
"""Seconds until the service must be healthy."""


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)
    """Instruction in capitals, and its arguments on one line."""

    def of(self, instruction: str) -> list[str]:
        """The arguments of every such instruction, in order."""
        return [arguments for kind, arguments in self.steps if kind == instruction]

    def pairs(self, instruction: str) -> dict[str, str]:
        """The NAME=VALUE of every such instruction (ARG or ENV)."""
        found = [pair.partition("=") for line in self.of(instruction) for pair in line.split()]
        return {name: value.strip('"') for name, _, value in found}


def stages(text: str) -> list[Stage]:
    """A Dockerfile taken apart; a line that ends in a backslash goes on, comments are left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        kind, _, arguments = line.strip().partition(" ")
        if kind == "FROM":
            base, _, name = arguments.partition(" AS ")
            found.append(Stage(base, name))
        elif not found:
            raise ConfigError("Dockerfile", f"{kind} stands before the first FROM")
        else:
            found[-1].steps.append((kind, arguments.strip()))
    return found


def ignored(path: str, patterns: Sequence[str]) -> bool:
    """Whether `.dockerignore` keeps a file out: the last pattern that fits it, or a folder above it, decides.

    Raises:
        ConfigError: a pattern is none of `*`, a path, and `**/name`.
    """
    out = False
    for pattern in patterns:
        bare, parts = pattern.removeprefix("!").split("/"), path.split("/")
        if any("*" in part for part in bare) and bare != ["*"] and not (bare[0] == "**" and len(bare) == 2):
            raise ConfigError(".dockerignore", f"{pattern!r} is a pattern that this check does not know")
        fits = bare == ["*"] or (bare[1] in parts if bare[0] == "**" else parts[: len(bare)] == bare)
        out = not pattern.startswith("!") if fits else out
    return out


def context(root: Path) -> list[str]:
    """The files that a build sends, as git knows them: tracked ones, and new ones that are not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    lines = (root / ".dockerignore").read_text("utf-8").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return sorted(name for name in listed if not ignored(name, patterns) and (root / name).is_file())


def copied(sources: Sequence[str], files: Sequence[str]) -> dict[str, str]:
    """File of the context to its place below the destination, as COPY has it: of a folder, what is in it."""
    found = {}
    for source in sources:
        own = {name: Path(name).name for name in files if name == source}
        own |= {name: name.removeprefix(f"{source}/") for name in files if name.startswith(f"{source}/")}
        if not own:
            raise ConfigError("Dockerfile", f"COPY {source}: there is no such file in the context")
        found |= own
    return found


def build(stage: Stage, root: Path, folder: Path, *, python: str, arguments: Mapping[str, str]) -> None:
    """Run a stage's COPY and RUN with every absolute path of the image below `folder`; `python` is the base image's.

    Raises:
        CalledProcessError: a step fails.
    """
    values = stage.pairs("ARG") | dict(arguments)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= stage.pairs("ENV") | values
    place, files = folder, context(root)
    for kind, line in stage.steps:
        if kind == "WORKDIR":
            place = folder / line.strip("/")
            place.mkdir(parents=True, exist_ok=True)
        elif kind == "COPY":
            *sources, target = line.split()
            for name, below in copied(sources, files).items():
                to = place / target / below
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / name, to)
        elif kind == "RUN":
            moved = line.replace("/opt/", f"{folder}/opt/")
            progress(moved)
            began = time.perf_counter()
            command = json.loads(moved) if moved.startswith("[") else ["/bin/sh", "-c", moved]
            command[0] = python if command[0] == "python" else command[0]
            subprocess.run(command, cwd=place, env=environment, check=True, stdout=sys.stderr)
            progress(f"  {time.perf_counter() - began:.0f} s")


def serve(stage: Stage, folder: Path, checkpoint: Path, port: int) -> None:
    """Start the image's command as its user, wait until its health check succeeds, stop it by SIGTERM.

    Raises:
        ConfigError: it does not become healthy, or does not end well.
    """
    environment = stage.pairs("ENV") | {"PATH": f"{folder}/opt/standpoint/bin:{os.environ['PATH']}"}
    user = stage.of("USER")[0].split(":")
    become = ["setpriv", f"--reuid={user[0]}", f"--regid={user[1]}", "--clear-groups"] if os.geteuid() == 0 else []

    def moved(line: str) -> list[str]:
        parts: list[str] = json.loads(line)
        return [part.replace("/model", str(checkpoint)).replace(PORT, str(port)) for part in parts]

    python = folder / "opt" / "standpoint" / "bin" / "python"
    if subprocess.run([*become, str(python), "-c", "import inference"], cwd="/", env=environment).returncode:
        raise ConfigError("--python", f"user {user[0]} cannot run it ({python.resolve()}); name another")
    command = [*become, *moved(stage.of("ENTRYPOINT")[0])]
    check = moved(stage.of("HEALTHCHECK")[0].partition("CMD ")[2])
    progress(" ".join(command))
    with subprocess.Popen(command, cwd="/", env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr) as service:
        try:
            began = time.monotonic()
            while subprocess.run(check, env=environment, stderr=subprocess.DEVNULL).returncode:
                if service.poll() is not None or time.monotonic() - began > WAIT:
                    raise ConfigError("ENTRYPOINT", f"is not healthy after {time.monotonic() - began:.0f} s")
                time.sleep(0.5)
            progress(
                f"  healthy after {time.monotonic() - began:.0f} s, as user {user[0] if become else 'of this shell'}"
            )
        finally:
            service.terminate()
    if service.returncode:
        raise ConfigError("ENTRYPOINT", f"ended with status {service.returncode} after SIGTERM")


def megabytes(folder: Path) -> float:
    """What a folder's files hold."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def main(given: Sequence[str] | None = None) -> None:
    """Build, serve, tell the size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="serve it; without one, nothing is served")
    parser.add_argument("--arg", action="append", default=[], metavar="NAME=VALUE", help="a build argument")
    parser.add_argument(
        "--python", default=sys.executable, help="in place of the base image's; every user must be able to run it"
    )
    parser.add_argument("--port", type=int, default=18080, help="where to serve in place of the image's port")
    options = parser.parse_args(given)
    if options.checkpoint and not options.checkpoint.is_dir():
        # Before the build, which takes minutes.
        parser.error(
            f"--checkpoint {options.checkpoint}: there is no such folder; `make demo` makes runs/demo/checkpoint"
        )
    first, last = stages((ROOT / "Dockerfile").read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="standpoint-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        arguments = dict(one.partition("=")[::2] for one in options.arg)
        build(first, ROOT, folder, python=options.python, arguments=arguments)
        print(f"{megabytes(folder / 'opt'):.0f} MB beside the base image")
        if options.checkpoint:
            model = folder / "model"
            shutil.copytree(options.checkpoint, model)
            for path in model.iterdir():
                path.chmod(0o644)
            serve(last, folder, model, options.port)
            print("healthy, and ends well")


if __name__ == "__main__":
    main()
