"""Archive jobs that are killed, stopped or find no room, at any moment: started again they end as if left alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import warm
from archives import Here, archive, files, killed_again_and_again, run, until
from conftest import ROOT

from annotations.errors import JobError
from inference.archive import crew
from inference.archive.job import processes, tag_archive
from inference.archive.settings import Settings
from inference.archive.shards import Outcome, Shard

COMMAND = [sys.executable, "-c", "from training.cli import main; main()", "tag"]


@pytest.fixture(autouse=True)
def _warm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes of a job in this process or in the command's begin with torch loaded."""
    for name, value in warm.FOR_CHILDREN.items():
        monkeypatch.setenv(name, value)
    with warm.children():
        yield


@pytest.fixture
def job(tmp_path: Path, model: Path) -> Settings:
    return Settings(archive(tmp_path / "in"), tmp_path / "out", model, form="jsonl", shard_size=4)


def whole(job: Settings) -> dict[str, bytes]:
    """What an undisturbed job writes."""
    other = replace(job, output=job.output.with_name("whole"))
    run(other)
    return files(other.output)


def command(job: Settings, *more: str) -> list[str]:
    given = {
        "input": job.input,
        "output": job.output,
        "model": job.model,
        "format": job.form,
        "shard-size": job.shard_size,
    }
    return [*COMMAND, *(part for name, value in given.items() for part in (f"--{name}", str(value))), *more]


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_killed_at_its_first_second_and_every_further_step(job: Settings, form: str) -> None:
    job = replace(job, form=form, shard_size=8)
    ends = killed_again_and_again(job)
    assert ends[-1] == 0
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert len(ends) > 10
    assert files(job.output) == whole(job)


def children(number: int) -> list[int]:
    """Processes that this one has started, but for the server that starts them warm."""
    listing = ["ps", "-o", "pid=,comm=", "--ppid", str(number)]
    found = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.splitlines()
    return [int(line.split()[0]) for line in found if line.split()[1] != warm.NAME]


def alive(number: int) -> bool:
    """Whether a process runs, and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_the_command_killed_stopped_and_with_a_worker_killed_ends_with_the_same_bytes(
    job: Settings, tmp_path: Path
) -> None:
    archive(job.input, 300)
    job = replace(job, form="parquet", shard_size=10)
    two = command(job, "--engine-workers", "2")
    parts = lambda: len(list(job.output.glob("part-*")))  # noqa: E731
    with warm.started(two) as killed:
        until(lambda: parts() >= 3, killed)
        workers = children(killed.pid)
        assert len(workers) == 2
        killed.kill()
        killed.communicate()
    waited = time.monotonic()
    while any(map(alive, workers)):
        assert time.monotonic() - waited < 60, "workers outlive their job"
        time.sleep(0.05)
    before = parts()
    assert 3 <= before < 31
    with warm.started(command(job)) as stopped:
        until(lambda: parts() >= before + 3, stopped)
        stopped.send_signal(signal.SIGINT)
        _, said = stopped.communicate(timeout=300)
    assert stopped.returncode == 130, said
    assert f"Stopped; the same command goes on from {job.output}" in said
    assert not list(job.output.rglob(".*.part"))
    before = parts()
    with warm.started(two) as going:
        until(lambda: parts() >= before + 1, going)
        os.kill(children(going.pid)[0], signal.SIGKILL)
        told, said = going.communicate(timeout=300)
    assert going.returncode == 0, said
    assert "300 documents in 31 shards; 2 could not be tagged" in told
    assert "going on:" in said and "engine: torch" in said
    assert files(job.output) == whole(job)


def test_any_number_of_workers_writes_the_same_bytes(job: Settings) -> None:
    expected = whole(job)
    for count in (1, 3):
        other = replace(job, output=job.output.with_name(f"workers-{count}"))
        tag_archive(other, processes(count), lambda _: None)
        assert files(other.output) == expected


def test_a_shard_that_kills_its_worker_every_time_ends_the_job(
    job: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deadly = tmp_path / "deadly.py"
    deadly.write_text(
        "import os, sys\n"
        "from inference.archive import tagging, worker\n"
        "real = tagging.ShardTagger.perform\n"
        "def perform(self, shard):\n"
        "    if shard.number == 2:\n"
        f"        open({str(tmp_path / 'deaths')!r}, 'a').write('x')\n"
        "        print('out of luck', file=sys.stderr, flush=True)\n"
        "        os.abort()\n"
        "    return real(self, shard)\n"
        "tagging.ShardTagger.perform = perform\n"
        "worker.main()\n"
    )
    with monkeypatch.context() as patched:
        patched.setattr(crew, "COMMAND", (sys.executable, str(deadly)))
        patched.setattr(crew, "ATTEMPTS", 2)
        patched.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        with pytest.raises(JobError, match=r"shard 2 \(.*b\.jsonl.*ended its process 2 times, at last by signal 6"):
            tag_archive(job, processes(1), lambda _: None)
    assert (tmp_path / "deaths").read_text() == "xx"
    run(job)
    assert files(job.output) == whole(job)


def test_a_worker_that_cannot_load_is_told_at_once(job: Settings) -> None:
    broken = job.model.with_name("broken")
    shutil.copytree(job.model, broken, dirs_exist_ok=True)
    (broken / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(JobError, match="cannot be loaded"):
        tag_archive(replace(job, model=broken), processes(1), lambda _: None)
    with pytest.raises(JobError, match=r"--target: 'word .*shorten it"):
        tag_archive(replace(job, targets=("word " * 150,)), processes(1), lambda _: None)
    assert not files(job.output)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs takes root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_full_disk_is_told_and_loses_nothing(job: Settings, form: str, small_disk: Path) -> None:
    job = replace(job, form=form, output=small_disk / "out")
    ballast = small_disk / "ballast"

    class Filling(Here):
        """Leaves no room once three shards are done."""

        def perform(self, shards: Iterator[Shard]) -> Iterator[Outcome]:
            for number, outcome in enumerate(super().perform(shards), 1):
                yield outcome
                if number == 3:
                    subprocess.run(["sh", "-c", f"cat /dev/zero >{ballast}"], check=False, stderr=subprocess.DEVNULL)

    with pytest.raises(JobError, match=r"cannot be written \(No space left on device\).*give the same command again"):
        tag_archive(job, lambda settings: contextlib.nullcontext(Filling(settings)), lambda _: None)
    assert len([name for name in files(job.output) if name.startswith("part-")]) == 3
    assert not list(job.output.rglob(".*.part"))
    ballast.unlink()
    run(job)
    assert files(job.output) == whole(replace(job, output=job.input.parent / "out"))


def test_a_file_that_may_not_grow_is_told_by_the_command(job: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # A worker must have its limit from the command.
    for name in warm.FOR_CHILDREN:
        monkeypatch.delenv(name)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)); "
    python, option, code, *rest = command(job, "--shard-size", "40", "--engine-workers", "1")
    done = warm.run([python, option, limit + code, *rest])
    assert done.returncode == 2, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert set(files(job.output)) == {"manifest.json"}
