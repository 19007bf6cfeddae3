"""Starts Python programs in processes of their own that need not load torch anew: a server that has loaded it forks them.

A process started so is a child of the caller like any other: it has pipes, and may be killed, stopped and waited for. Those
that it starts itself begin as usual, unless its environment says otherwise: see `FOR_CHILDREN`.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from subprocess import DEVNULL, PIPE, CompletedProcess, Popen
from threading import Lock
from typing import Any
from unittest.mock import patch

LOADED = ("training.cli", "training.runs", "inference.tagger")
"""What the server loads before it forks."""
STANDPOINT = str(Path(sys.executable).with_name("standpoint"))
"""The command as it was installed."""
MESSAGE = 1 << 20
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36
FOR_CHILDREN = {"WARM_CHILDREN": "1"}
"""In the environment of a process that is started warm: so are the Python programs that it starts, by a server of its own."""
NAME = "warm"
"""What the system calls a server that a process has for its children."""
_lock = Lock()


class Warm(Popen[Any]):
    """`subprocess.Popen` whose `python -c CODE`, `python -m MODULE`, `python SCRIPT` and `standpoint` begin with torch loaded.

    Of what the interpreter itself is told by its environment, the number of threads alone is heeded.
    """

    def _execute_child(self, args: Any, *given: Any) -> None:
        if isinstance(args, str) or os.fspath(args[0]) not in (sys.executable, STANDPOINT):
            super()._execute_child(args, *given)  # type: ignore[misc]
            return
        names = list(signature(Popen._execute_child).parameters)[1:]  # type: ignore[attr-defined]
        asked = dict(zip(names, (args, *given), strict=True))
        pipes = [asked[f"{name}{end}"] for name in ("p2c", "c2p", "err") for end in ("read", "write")]
        job = {
            "command": [os.fspath(one) for one in args],
            "environment": dict(os.environ if asked["env"] is None else asked["env"]),
            "folder": os.fspath(asked["cwd"] or Path.cwd()),
            "session": asked["start_new_session"],
        }
        streams = [own if pipe < 0 else pipe for own, pipe in enumerate((pipes[0], pipes[3], pipes[5]))]
        try:
            with _lock:
                self.pid = _forked(job, streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


@contextmanager
def children() -> Iterator[None]:
    """Processes that our code in this process starts are warm."""
    with patch.object(subprocess, "Popen", Warm):
        yield


@contextmanager
def started(command: list[str], **more: Any) -> Iterator[Warm]:
    """A warm process whose words can be read; it does not outlive the block."""
    with Warm(command, stdout=PIPE, stderr=PIPE, text=True, **more) as process:
        try:
            yield process
        finally:
            process.kill()


def run(command: list[str], given: str = "", **more: Any) -> CompletedProcess[str]:
    """A warm process that has ended, with what it said; `given` is its standard input; it may take ten minutes."""
    with started(command, **({"stdin": PIPE} if given else {}), **more) as process:
        said, told = process.communicate(given or None, timeout=600)
    return CompletedProcess(command, process.returncode, said, told)


def _forked(job: dict[str, Any], streams: list[int]) -> int:
    """The number of a new process. Its parent, which the server forks as well, ends at once, so that it becomes our child."""
    server, system = _server(), ctypes.CDLL(None)
    system.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        socket.send_fds(server, [json.dumps(job).encode()], streams)
        return int(server.recv(MESSAGE))
    finally:
        system.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@lru_cache(maxsize=1)
def _server() -> socket.socket:
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = Popen(
        [sys.executable, __file__, str(its.fileno())], pass_fds=[its.fileno()], stdin=DEVNULL, stdout=DEVNULL
    )
    its.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(asked: socket.socket) -> dict[str, Any] | None:
    """In each process that was asked for, its job; in the server None, when nobody can ask any more."""
    while True:
        message, streams, *_ = socket.recv_fds(asked, MESSAGE, 3)
        if not message:
            return None
        told, tell = os.pipe()
        between = os.fork()
        if between:
            os.waitpid(between, 0)
            # Now the process is an orphan, and the caller its next ancestor that takes such in.
            asked.send(os.read(told, 100))
            for one in (told, tell, *streams):
                os.close(one)
            continue
        number = os.fork()
        if number:
            os.write(tell, str(number).encode())
            os._exit(0)
        for one in (told, tell):
            os.close(one)
        for own, stream in enumerate(streams):
            os.dup2(stream, own)
            os.close(stream)
        asked.close()
        job: dict[str, Any] = json.loads(message)
        return job


def _become(job: dict[str, Any]) -> None:
    """Make this process what the job says, and run its program."""
    if job["session"]:
        os.setsid()
    if FOR_CHILDREN.items() <= job["environment"].items():
        job = _with_server(job)
    # Those of the server know what its own streams could do.
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(job["environment"])
    os.chdir(job["folder"])
    if threads := os.environ.get("OMP_NUM_THREADS"):
        import torch

        torch.set_num_threads(int(threads))
    program, *rest = job["command"]
    if program != sys.executable:
        rest = [program, *rest]
    kind = rest[0]
    sys.path.insert(0, "" if kind in ("-c", "-m") else str(Path(kind).parent))
    sys.argv = [kind, *rest[2:]] if kind in ("-c", "-m") else rest
    if kind == "-c":
        exec(compile(rest[1], "<string>", "exec"), {"__name__": "__main__"})
    elif kind == "-m":
        runpy.run_module(rest[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(kind, run_name="__main__")


def _with_server(job: dict[str, Any]) -> dict[str, Any]:
    """Fork a server for the children of a process; each of them leaves here as well, with its own job."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        its.close()
        globals()["_server"] = lambda: ours
        subprocess.Popen = Warm  # type: ignore[misc]
        return job
    ours.close()
    _call_itself(NAME)
    # The words of a process end when it does, not when its server does.
    nothing = os.open(os.devnull, os.O_RDWR)
    for own in range(3):
        os.dup2(nothing, own)
    os.close(nothing)
    own_job = _serve(its)
    if own_job is None:
        os._exit(0)
    _call_itself("python")
    return own_job


def _call_itself(name: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def main() -> None:
    """Load, then fork what is asked for."""
    sys.path.pop(0)
    # Ctrl-C is the tests' business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in LOADED:
        import_module(name)
    gc.collect()
    gc.freeze()
    if job := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _become(job)


if __name__ == "__main__":
    main()
