"""One process that tags documents as the service asks, over the socket that is its standard input.

It ends with the service, however that ends.
"""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import socket
import threading
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from annotations.errors import CheckpointError, StandpointError, first_line
from inference.memory import few_arenas, keep_trimmed
from inference.service.batching import Answer, TaggedBatch
from inference.service.config import ServiceConfig
from inference.service.pipes import Message, Unpacking, packed
from inference.service.problems import Problem
from inference.service.running import quiet
from inference.service.worker import Worker, loaded
from inference.web import failure

SIZE = 1 << 18


class Outbox:
    """What is to be told, sent by a thread of its own: what comes meanwhile goes together."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        threading.Thread(target=self._send, name="send", daemon=True).start()

    def tell(self, *message: object) -> None:
        """Send a message soon."""
        self._messages.put(message)

    def tagged(self, batch: TaggedBatch) -> None:
        """A batch has been tagged."""
        self.tell("batch", *batch)

    def _send(self) -> None:
        while True:
            some = [self._messages.get()]
            while not self._messages.empty():
                some.append(self._messages.get())
            try:
                self._link.sendall(packed(some))
            except OSError:
                os._exit(0)


def main() -> None:
    """Load a checkpoint, say so, then answer documents until the service hangs up."""
    faulthandler.enable()
    few_arenas()
    keep_trimmed()
    quiet()
    # Whoever ends the service ends this: a document under way is still answered.
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    link = socket.socket(fileno=os.dup(0))
    outbox, unpacking = Outbox(link), Unpacking()
    worker, under_way = None, dict[int, Future[Answer]]()
    while data := link.recv(SIZE):
        for kind, *rest in unpacking.feed(data):
            if kind == "load":
                worker = _load(outbox, *rest)
            elif kind == "tag":
                number, item, offsets = rest
                if worker is None or not worker.alive:
                    # Better dead than silent: what it was asked is given to another process.
                    os._exit(1)
                under_way[number] = done = worker.submit(item, offsets)
                done.add_done_callback(partial(_answer, outbox, under_way, number))
            elif kind == "cancel" and (taken_back := under_way.get(rest[0])):
                taken_back.cancel()
    os._exit(0)


def _load(outbox: Outbox, folder: Path, version: str, config: ServiceConfig) -> Worker | None:
    """What tags with a checkpoint; the service is told of it, or why there is none."""
    try:
        worker = Worker(loaded(folder, config.engine), version, config.batching, outbox)
    except CheckpointError as error:
        outbox.tell("damaged", error.problems)
    except StandpointError as error:
        outbox.tell("refused", str(error))
    except Exception as error:
        outbox.tell("failed", first_line(error))
    else:
        outbox.tell("ready", worker.engine, worker.schema)
        return worker
    return None


def _answer(outbox: Outbox, under_way: dict[int, Future[Answer]], number: int, done: Future[Answer]) -> None:
    """Tell what came of a document, unless it was taken back."""
    del under_way[number]
    if done.cancelled():
        return
    error = done.exception()
    if error is None:
        outbox.tell("tagged", number, *done.result())
    elif isinstance(error, Problem):
        outbox.tell("problem", number, error.kind.name, error.detail)
    elif isinstance(error, Exception):
        outbox.tell("broken", number, type(error).__name__, failure(error))


if __name__ == "__main__":
    main()
