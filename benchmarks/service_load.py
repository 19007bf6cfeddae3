"""How fast is the service? Latency against offered load up to saturation, and its throughput beside the tagger's in process.

Paragraphs of the gold articles, each made different by a number before it, are tagged in turns in process (`Tagger.tag`) and
over HTTP as fast as it goes, by a service in a process of its own, and by one whose documents several processes tag
(`engine_workers`): rounds of all ways, of which the median counts, since machines are seldom quiet. Then one paragraph a request
at rising rates from an open-loop client in a third process. Without a checkpoint the tagger has the default encoder and random
heads: speed does not depend on what was learned.

Run: python benchmarks/service_load.py --save benchmarks/results/service_load
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pages import publish
from service_client import Service

from annotations.document import Document
from annotations.reading import bare_documents
from annotations.schema import Schema
from inference import checkpoint, checkpoint_files
from inference.config import TaggerConfig
from inference.tagger import Tagger
from training.shell import progress, quiet_libraries

GOLD = Path("annotations/gold.json")
LOADS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2)
"""Offered, as shares of the throughput in process."""
SHORTEST = 200
MANY = 32
IN_PROCESS = "in process"


def paragraphs(count: int) -> list[str]:
    """Paragraphs of the gold articles, over and over, each time with another number."""
    texts = dict.fromkeys(document.text for document in bare_documents(str(GOLD)))
    found = [part for text in texts for part in re.split(r"[\r\n]+", text) if len(part) >= SHORTEST]
    return [f"{number}. {found[number % len(found)]}" for number in range(count)]


def in_process(tagger: Tagger, texts: Sequence[str]) -> float:
    """Paragraphs a second."""
    began = time.perf_counter()
    for _ in tagger.tag(texts):
        pass
    return len(texts) / (time.perf_counter() - began)


def drive(service: Service, bodies: Sequence[str], *options: str) -> dict[str, Any]:
    """What the client in its own process tells, with what the service counted meanwhile."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.write("\n".join(bodies))
        file.flush()
        before = service.metrics()
        client = Path(__file__).with_name("service_client.py")
        command = [sys.executable, str(client), service.host, str(service.port), file.name, *options]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    after = service.metrics()
    return {**found, "counted": {name: after[name] - before.get(name, 0.0) for name in after}}


def load_rows(
    services: dict[str, Service], texts: Sequence[str], base: float, seconds: float, loads: Sequence[float]
) -> Iterator[Any]:
    """One row for each offered load and service."""
    bodies = [json.dumps({"text": text}) for text in texts]
    for share, (name, service) in product(loads, services.items()):
        rate = share * base
        found = drive(service, bodies, "--rate", f"{rate:.3f}", "--seconds", str(seconds))
        counted, times = found["counted"], np.array(found["times"] or [np.nan]) * 1000
        row = {
            "service": name,
            "offered": rate,
            "answered": found["in_time"] / seconds,
            "p50_ms": float(np.percentile(times, 50)),
            "p99_ms": float(np.percentile(times, 99)),
            "documents_a_batch": _mean(counted, "standpoint_batch_documents"),
            "fill": _mean(counted, "standpoint_batch_fill_ratio"),
            "statuses": found["statuses"],
            "client_cpu": found["cpu_seconds"] / found["seconds"],
        }
        progress(json.dumps(row))
        yield row


def _mean(counted: dict[str, float], name: str) -> float:
    return counted[f"{name}_sum"] / max(1.0, counted[f"{name}_count"])


def ways(texts: Sequence[str]) -> dict[str, tuple[list[str], int]]:
    """Ways to ask as fast as it goes: the bodies, and how many clients send them."""
    many = [[{"text": text} for text in texts[start : start + MANY]] for start in range(0, len(texts), MANY)]
    return {
        "1 paragraph a request, 64 clients": ([json.dumps({"text": text}) for text in texts], 64),
        f"{MANY} paragraphs a request, 4 clients": ([json.dumps({"documents": some}) for some in many], 4),
    }


def fast_rows(services: dict[str, Service], tagger: Tagger, texts: Sequence[str], rounds: int) -> dict[str, list[Any]]:
    """Name of the way to what was measured in each round; the first way is in process."""
    found: dict[str, list[Any]] = {IN_PROCESS: []}
    for _ in range(rounds):
        found[IN_PROCESS].append({"answered": in_process(tagger, texts), "fill": 1.0})
        for (way, (bodies, clients)), (own, service) in product(ways(texts).items(), services.items()):
            name = f"{way}{own}"
            told = drive(service, bodies, "--clients", str(clients))
            if set(told["statuses"]) != {"200"}:
                raise SystemExit(f"{name}: answers were {told['statuses']}")
            row = {
                "answered": len(texts) / told["seconds"],
                "fill": _mean(told["counted"], "standpoint_batch_fill_ratio"),
            }
            found.setdefault(name, []).append({**row, "client_cpu": told["cpu_seconds"] / told["seconds"]})
        progress(", ".join(f"{name}: {rows[-1]['answered']:.1f}/s" for name, rows in found.items()))
    return found


def median(rows: Sequence[Any], name: str = "answered") -> float:
    """Of all rounds."""
    return float(np.median([row[name] for row in rows]))


def table(fast: dict[str, list[Any]], loads: Sequence[Any], tokens: float) -> str:
    """Both tables as Markdown."""
    base = median(fast[IN_PROCESS])
    lines = [
        "| as fast as it goes | paragraphs/s | tokens/s | share of in process (each round) | batch fill |",
        "|---|---|---|---|---|",
    ]
    for name, rows in fast.items():
        pairs = zip(rows, fast[IN_PROCESS], strict=True)
        shares = ", ".join(f"{row['answered'] / own['answered']:.0%}" for row, own in pairs)
        speed = median(rows)
        told = [
            name,
            f"{speed:.1f}",
            f"{speed * tokens:,.0f}",
            f"{speed / base:.0%} ({shares})",
            f"{median(rows, 'fill'):.0%}",
        ]
        lines.append(f"| {' | '.join(told)} |")
    lines += [
        "",
        "| offered, requests/s (share) | answered/s | p50, ms | p99, ms | documents a batch | batch fill | refused (429, 503) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in loads:
        cells = [
            f"{row['offered']:.1f} ({row['offered'] / base:.0%}){row['service']}",
            f"{row['answered']:.1f}",
            *(f"{row[name]:.0f}" for name in ("p50_ms", "p99_ms")),
            f"{row['documents_a_batch']:.1f}",
            f"{row['fill']:.0%}",
            ", ".join(str(row["statuses"].get(status, 0)) for status in ("429", "503")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def made_checkpoint(folder: Path) -> Path:
    """The default encoder with random heads."""
    config = TaggerConfig(label_schema=Schema.load("configs/schema.yaml"))
    model, tokenizer = checkpoint.from_encoder(checkpoint_files.DEFAULT_ENCODER, config, 0.1)
    checkpoint.save(folder, model, tokenizer)
    return folder


def measure(path: Path, given: argparse.Namespace, folder: Path) -> tuple[str, dict[str, object]]:
    """The tables and the values behind them."""
    texts = paragraphs(given.paragraphs)
    tagger = Tagger.load(path, engine=given.engine)
    tokens = float(
        np.mean([len(window.ids) for text in texts[:200] for window in tagger.encode([Document(id="a", text=text)])])
    )
    in_process(tagger, texts[:50])
    settings = [f"engine={tagger.engine.name}", *given.settings]
    services: dict[str, Service] = {}
    try:
        services[""] = Service(path, folder / "service.log", settings)
        if given.workers:
            own = [*settings, f"engine_workers={given.workers}"]
            services[f", {given.workers} processes"] = Service(path, folder / "workers.log", own)
        for service in services.values():
            drive(service, [json.dumps({"text": text}) for text in texts[:50]])
        fast = fast_rows(services, tagger, texts, given.rounds)
        loads = list(load_rows(services, texts, median(fast[IN_PROCESS]), given.seconds, given.loads))
        truncations = sum(one.metrics()["standpoint_truncations_total"] for one in services.values())
    finally:
        for service in services.values():
            service.process.terminate()
            service.process.wait(120)
    text = f"{table(fast, loads, tokens)}\n\nTruncations: {truncations:.0f}."
    about = {"engine": tagger.engine.name, "tokens": tokens}
    return f"Engine {tagger.engine.name}.\n\n{text}", {
        **about,
        "fast": fast,
        "loads": loads,
        "truncations": truncations,
    }


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--paragraphs", type=int, default=1000, help="of each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each offered load")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="shares of the throughput in process")
    parser.add_argument("--workers", type=int, default=2, help="processes of the second service; 0 for none")
    parser.add_argument("--settings", nargs="*", default=[], help="of the service, such as batching.tokens=4096")
    parser.add_argument("--save", type=Path)
    given = parser.parse_args()
    quiet_libraries()
    with tempfile.TemporaryDirectory() as folder:
        path = given.checkpoint or made_checkpoint(Path(folder) / "tagger")
        text, values = measure(path, given, Path(folder))
    publish(__file__, None, "The service under load", text, values, given.save)


if __name__ == "__main__":
    main()
