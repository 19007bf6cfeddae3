"""One process that tags shards as its parent asks, a line of JSON each. It ends with its parent, however that ends."""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from annotations.errors import StandpointError
from inference.archive.settings import Settings
from inference.archive.shards import Shard

Answer = dict[str, Any]


def main() -> None:
    """Read settings, say which engine runs, then answer each shard with its outcome."""
    faulthandler.enable()
    # Ctrl-C is the parent's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries may print; the answers have a channel of their own.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_listen, args=(sys.stdin, lines), daemon=True).start()
        _work(Settings.from_json(lines.get()), lines, answers)


def _listen(source: IO[str], lines: queue.Queue[str]) -> None:
    for line in source:
        lines.put(line)
    # The parent is gone, or has no more to ask: nothing that is half-written has a name.
    os._exit(0)


def _work(settings: Settings, lines: queue.Queue[str], answers: IO[str]) -> None:
    from inference.archive.tagging import ShardTagger, own_process

    loaded: list[ShardTagger] = []

    def load() -> Answer:
        loaded.append(own_process(settings))
        return {"engine": loaded[0].tagger.engine.name}

    _tell(answers, load)
    while True:
        shard = Shard.from_dict(json.loads(lines.get()))
        _tell(answers, lambda shard=shard: loaded[0].perform(shard).to_dict())  # type: ignore[misc]


def _tell(answers: IO[str], work: Callable[[], Answer]) -> None:
    """Answer with what a piece of work returns, or with its error; an unforeseen one ends the process."""
    try:
        answer = work()
    except StandpointError as error:
        answer = {"error": str(error)}
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
