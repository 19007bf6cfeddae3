"""Files that are there whole or not at all, whatever ends the process or the machine. It knows bytes, not documents."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from annotations.errors import ConfigError, JobError


@contextmanager
def durable(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes its name only when the block has ended without an error and its bytes lie on the disk.

    Processes may write the same file at once: the last one whole stays.

    Raises:
        JobError: it cannot be written: the disk is full, say.
    """
    # A name of its own: two machines may have equal process numbers.
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _settle(path.parent)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
    except OSError as error:
        raise JobError(
            f"{path}: cannot be written ({error.strerror or error}); what is finished is kept: make room, and give the "
            "same command again"
        ) from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a small file. Raises like `durable`."""
    with durable(path) as file:
        file.write(content)


def _settle(folder: Path) -> None:
    """Let a rename survive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; the lock ends with the process, however that ends.

    Raises:
        ConfigError: another process holds it.
        JobError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise JobError(f"{folder}: cannot be made ({error.strerror}); choose another --output") from error
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(folder, "another job is writing here; wait for it, or choose another --output") from error
        except OSError:
            # Some network file systems lock no folders; writing the same shard twice does no harm.
            pass
        yield
    finally:
        os.close(number)
