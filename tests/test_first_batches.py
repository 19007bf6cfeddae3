"""The first batches of a process, read by several threads at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

openvino = pytest.importorskip("openvino")

BOTH_FIRST = """
import builtins, sys, threading, time
from pathlib import Path
import torch
from inference.engines import openvino

encode = openvino.load(Path(sys.argv[1]), 2, bf16=False)
plain, together = builtins.__import__, threading.Barrier(2)

def slow(*given, **named):
    # Gives the other thread time to come to the same place.
    time.sleep(0.3)
    return plain(*given, **named)

def first():
    together.wait()
    encode(torch.ones((1, 3), dtype=torch.int64), torch.ones((1, 3), dtype=torch.int64))
    print("read")

builtins.__import__ = slow
threads = [threading.Thread(target=first) for _ in range(2)]
for thread in threads:
    thread.start()
"""


def test_threads_that_are_first_at_once_do_not_wait_for_each_other(tmp_path: Path) -> None:
    ops = openvino.opset13
    ids, mask = (ops.parameter([-1, -1], np.int64, name=name) for name in ("input_ids", "attention_mask"))
    states = ops.convert(ops.add(ids, mask), "f32")
    openvino.save_model(openvino.Model([states], [ids, mask], "encoder"), tmp_path / "encoder.xml")
    # Waiting so holds the interpreter's lock: nothing but another process notices.
    command = [sys.executable, "-c", BOTH_FIRST, str(tmp_path)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.count("read") == 2
