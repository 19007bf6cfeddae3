"""Archive jobs on a Ray cluster of several nodes on this machine, one of which is killed: the bytes are the usual ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from archives import archive, files, run, until
from warm import started

from inference import checkpoint
from inference.archive.settings import Settings
from inference.tagger import Tagger

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs ray")

COMMAND = [sys.executable, "-c", "from training.cli import main; main()", "tag"]
NODE: dict[str, Any] = {"node_ip_address": "127.0.0.1", "object_store_memory": 80_000_000, "include_dashboard": False}


@pytest.fixture
def cluster() -> Iterator[tuple[Any, list[Any]]]:
    """A cluster whose head does no work, and its two nodes of one processor each."""
    found = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0})
    try:
        yield found, [found.add_node(**NODE, num_cpus=1) for _ in range(2)]
    finally:
        found.shutdown()


def test_a_node_that_is_killed_costs_no_document(tmp_path: Path, tagger: Tagger, cluster: Any) -> None:
    whole, nodes = cluster
    checkpoint.save(tmp_path / "model", tagger.engine.model, tagger.tokenizer)
    job = Settings(archive(tmp_path / "in", 450), tmp_path / "out", tmp_path / "model", form="parquet", shard_size=15)
    given = {"input": job.input, "output": job.output, "model": job.model, "ray": whole.address, "shard-size": 15}
    command = [*COMMAND, *(part for name, value in given.items() for part in (f"--{name}", str(value)))]
    writers: set[str] = set()

    def both_work() -> bool:
        """Half-written files name the process that writes them."""
        writers.update(path.name.split(".")[3].split("-")[0] for path in job.output.glob(".part-*.part"))
        return len(writers) == 2

    # Otherwise Ray looks for 127.0.0.1 at the machine's address in the network.
    with started(command, env=os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}) as process:
        until(both_work, process)
        whole.remove_node(nodes[1], allow_graceful=False)
        at = len(list(job.output.glob("part-*")))
        told, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert at < 31, "the node was killed too late"
    assert "450 documents in 31 shards; 2 could not be tagged" in told
    other = replace(job, output=tmp_path / "whole")
    run(other)
    assert files(job.output) == files(other.output)


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, tagger: Tagger) -> None:
    from annotations.errors import ConfigError
    from inference.archive.job import tag_archive
    from inference.archive.ray_cluster import cluster as on

    checkpoint.save(tmp_path / "model", tagger.engine.model, tagger.tokenizer)
    job = Settings(archive(tmp_path / "in"), tmp_path / "out", tmp_path / "model", form="jsonl")
    with pytest.raises(ConfigError, match=r"--ray 127.0.0.1:9: no Ray cluster answers .*ray start --head"):
        tag_archive(job, on("127.0.0.1:9", None), lambda _: None)
    assert not files(job.output)
