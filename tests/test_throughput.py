"""The benchmark of tagging speed: what it makes of measured rounds."""

from __future__ import annotations

from throughput import PIPELINE, factors, table


def test_a_contender_is_compared_within_each_round() -> None:
    speeds = {
        f"{PIPELINE}, batch 1": [10.0, 20.0, 40.0],
        f"{PIPELINE}, batch 8": [20.0, 10.0, 30.0],
        "torch": [40.0, 60.0, 200.0],
    }
    rows = [{"name": name, "speeds": own, "speed": own[1], "same": 1.0} for name, own in speeds.items()]
    assert factors(rows, "torch") == [2.0, 3.0, 5.0]
    told = table(
        {"sentences": rows, "paragraphs": rows}, [{"name": "torch", "p50": 3.0, "p99": 4.0}], 2.0, {"fp32": 480.0}
    )
    assert "| torch | 60 | 3.0 (2.0–5.0) | 1.000 | 60 | 3.0 (2.0–5.0) | 1.000 | 25% | 3.0 | 4.0 |" in told
