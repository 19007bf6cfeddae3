"""Decides when to train the next version, and runs one job at a time in a process of its own.

It knows changes, jobs and the clock. What a job does is `training.retraining.job`'s business.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from annotations.errors import first_line
from training.retraining.changes import Changes
from training.retraining.config import ServeConfig
from training.retraining.jobs import FINAL, Job, Json, State, find, jobs, next_name

COMMAND = (sys.executable, "-m", "training.retraining.job")
ATTEMPTS = 3
STOP_SECONDS = 10.0
RETRY_SECONDS = 10.0

T = TypeVar("T")


class GivenUpError(Exception):
    """Trying again is of no use: it is time to stop, or the job's folder is gone."""


@dataclass
class Trigger:
    """When changes start a job: once there are enough of them, and then no more for a while."""

    enough: int | None
    quiet: float
    patience: float
    last: float | None = None
    """Time of the latest change; None where changes wait for another one, as they do behind a failed job."""
    full: float | None = None
    """Time since when there are enough."""

    def change(self, count: int, now: float) -> None:
        """There was a change, and there are `count` now."""
        self.last = now
        if self.enough is None or count < self.enough:
            # A job may have settled the others meanwhile.
            self.full = None
        elif self.full is None:
            self.full = now

    def reset(self) -> None:
        """Wait for another change."""
        self.last = self.full = None

    def due(self) -> float | None:
        """The time at which a job is to start; None where nothing is due before another change."""
        if self.last is None or self.full is None:
            return None
        return min(self.last + self.quiet, self.full + self.patience)


class Retraining:
    """The backend's learner: counts changes, queues jobs, watches over the one that runs. Safe for several threads."""

    def __init__(self, settings: ServeConfig, say: Callable[[str], None], command: Sequence[str] = COMMAND) -> None:
        self.settings, self.say, self.command = settings, say, command
        self.folder = settings.store / "jobs"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._changes = Changes(settings.store / "changes.txt")
        self._trigger = Trigger(settings.retrain_after, settings.quiet_seconds, settings.patience_seconds)
        self._wake = threading.Condition()
        self._queued: list[Job] = []
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._loop, name="retraining", daemon=True)

    def start(self) -> None:
        """Take up what an earlier process left, and begin to watch."""
        self._recover()
        if len(self._changes):
            self.say(f"{len(self._changes)} annotations have changed since the model last learned")
            self._trigger.change(len(self._changes), time.monotonic())
        self._thread.start()

    def stop(self) -> None:
        """End the running job, if any; it goes on at the next start."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
            process = self._process
        if process is not None and process.stdin is not None:
            # The job ends when its input does.
            process.stdin.close()
        self._thread.join(STOP_SECONDS)
        if process is not None and process.poll() is None:
            process.kill()
            self._thread.join(STOP_SECONDS)

    def changed(self, names: Sequence[str]) -> None:
        """Note changed annotations; several changes of one count once."""
        with self._wake:
            self._changes.add(names)
            self._trigger.change(len(self._changes), time.monotonic())
            self._wake.notify_all()

    def request(self) -> str:
        """Queue a job, unless one is queued already; returns its id."""
        with self._wake:
            if not self._queued:
                self._queue("the server asked for training")
            return self._queued[-1].id

    def status(self, job: str) -> Json | None:
        """What is known of a job, None for an unknown one."""
        found = find(self.folder, job)
        return found.status if found else None

    def _queue(self, reason: str) -> None:
        self._queued.append(Job.create(self.folder / next_name(self.folder), self.settings, reason))
        self._wake.notify_all()

    def _recover(self) -> None:
        """Settle what finished jobs have learned; queue again those that were cut short."""
        for job in jobs(self.folder):
            status = job.status
            state = State(status["state"])
            if state in (State.SWAPPED, State.KEPT):
                self._changes.settle(status["upto"])
            if state in FINAL:
                continue
            if status.get("attempts", 0) >= ATTEMPTS:
                job.clear()
                job.tell(State.FAILED, reason=f"it was interrupted {ATTEMPTS} times; see {job.log}, then train again")
                self.say(f"{job.id}: {job.status['reason']}")
                continue
            if state is not State.QUEUED:
                job.tell(State.INTERRUPTED)
                self.say(f"{job.id} was interrupted ({state}); it goes on from its last step")
            self._queued.append(job)

    def _loop(self) -> None:
        while not self._stopping:
            with suppress(GivenUpError):
                if job := self._insist("the next job", self._next):
                    self._run(job)

    def _insist(self, what: str, step: Callable[[], T], job: Job | None = None) -> T:
        """Do a step, again and again where it fails, as it does on a full disk: this thread must outlive that.

        Raises:
            GivenUpError: it is time to stop, or the job is gone.
        """
        while True:
            try:
                return step()
            except Exception as error:
                self._tell(f"{what}: {first_line(error)}; trying again in {RETRY_SECONDS:g} seconds")
            if job and not find(self.folder, job.id):
                self._tell(f"{what}: its folder is gone, and the job with it")
                raise GivenUpError
            with self._wake:
                if self._wake.wait_for(lambda: self._stopping, RETRY_SECONDS):
                    raise GivenUpError

    def _tell(self, text: str) -> None:
        # What is said may go to a file on the same full disk.
        with suppress(OSError):
            self.say(text)

    def _next(self) -> Job | None:
        """Wait for the next job; None when it is time to stop."""
        with self._wake:
            while not self._stopping:
                if self._queued:
                    return self._queued.pop(0)
                due = self._trigger.due()
                left = None if due is None else due - time.monotonic()
                if left is not None and left <= 0:
                    self._queue(f"{len(self._changes)} annotations changed")
                else:
                    self._wake.wait(left)
            return None

    def _run(self, job: Job) -> None:
        """Three steps, each tried again by itself: no job is run twice because its end could not be noted."""
        self._insist(f"{job.id} cannot begin", partial(self._begin, job), job)
        code = self._insist(f"{job.id} cannot be started", partial(self._watch, job), job)
        self._insist(f"{job.id} has ended, which cannot be noted", partial(self._conclude, job, code), job)

    def _begin(self, job: Job) -> None:
        status = job.status
        with self._wake:
            # What changes from here on may be missed by the job's pull, so it counts for the next one.
            upto = status.get("upto", self._changes.last)
            self._trigger.reset()
        job.tell(State(status["state"]), upto=upto, attempts=status.get("attempts", 0) + 1)
        self._tell(f"{job.id} begins ({status['because']}); log: {job.log}")

    def _watch(self, job: Job) -> int:
        """Start the job's process and wait for its end. Returns its exit status."""
        with job.log.open("ab") as log:
            process = subprocess.Popen(
                [*self.command, str(job.folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                # Ctrl-C is for the backend, which ends the job in its own way.
                start_new_session=True,
            )
        # Leaving the block closes the input.
        with process:
            with self._wake:
                self._process = process
                if self._stopping and process.stdin is not None:
                    process.stdin.close()
            code = process.wait()
            with self._wake:
                self._process = None
        return code

    def _conclude(self, job: Job, code: int) -> None:
        if not job.finished:
            if self._stopping:
                job.tell(State.INTERRUPTED, attempts=job.status["attempts"] - 1)
                return
            # A process that was killed has removed nothing.
            job.clear()
            ended = f"signal {-code}" if code < 0 else f"status {code}"
            job.tell(State.FAILED, reason=f"its process ended with {ended} while {job.state}; see {job.log}")
        status = job.status
        with self._wake:
            if status["state"] != State.FAILED:
                self._changes.settle(status["upto"])
                if len(self._changes):
                    self._trigger.change(len(self._changes), time.monotonic())
        self._tell(f"{job.id} {status['state']}: {status['reason']}")
