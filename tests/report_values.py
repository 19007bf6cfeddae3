"""A small report.json as plain values, made by hand, and large ones of the same shape."""

from __future__ import annotations

from typing import Any

Values = dict[str, Any]
ERRORS = [
    "layer",
    "kind",
    "sentence",
    "gold_start",
    "gold_end",
    "gold_label",
    "predicted_start",
    "predicted_end",
    "predicted_label",
    "score",
    "rounds",
]
SLICE = ["name", "documents", "items", "predicted", "accuracy", "precision", "recall", "f1", "low", "high"]
KINDS = ["boundary", "type", "boundary and type", "missed", "spurious"]
TEXTS = ["Mullah Omar 🙂 left Kabul.", "Hekmatyar was seen in Herat’s old town.", "Nobody in Farah denied it."]


def estimate(value: float, *, spread: float | None = 0.1) -> Values:
    low, high = (None, None) if spread is None else (value - spread, value + spread)
    return {"value": value, "low": low, "high": high}


def analysis() -> Values:
    """Two layers with everything and one that nobody annotated."""
    spans = layer("spans", ["PERSON", "PLACE"], "micro")
    spans |= {"curve": curve(), "calibration": calibration(), "baselines": []}
    stance = layer("sentences", ["supports", "denies"], "macro")
    return {
        "format": 1,
        "about": about(),
        "remarks": ["1 document left out: a-7"],
        "layers": {"entity": spans, "stance": stance, "document": unscored()},
        "documents": {
            "columns": ["id", "group", "task", "target"],
            "rows": [["a-1", "article-1", 17, "The Taliban holds Kabul."], ["a-2", "a-2", None, None]],
        },
        "sentences": {
            "columns": ["document", "start", "text"],
            "rows": [[0, 0, TEXTS[0]], [0, 40, TEXTS[1]], [1, 0, TEXTS[2]]],
        },
        "errors": {
            "columns": ERRORS,
            "rows": [
                [0, 0, 0, 0, 11, 0, 7, 11, 0, 0.71, 1],
                [0, 1, 1, 40, 49, 0, 40, 49, 1, 0.44, 1],
                [0, 2, 1, 62, 78, 0, 55, 69, 1, 0.36, 1],
                [0, 3, 2, 10, 15, 1, None, None, None, None, 1],
                [0, 4, 2, None, None, None, 0, 6, 0, 0.55, 1],
                [1, 1, 0, 0, 25, 0, 0, 25, 1, 0.52, 1],
                [1, 3, 2, 0, 26, 1, None, None, None, None, 1],
            ],
        },
    }


def about() -> Values:
    return {
        "name": "runs/checkpoint",
        "kind": "checkpoint",
        "version": "0123abcd",
        "command": "standpoint report runs/checkpoint gold.json",
        "created": "2026-01-02T03:04:05+00:00",
        "standpoint": "0.1.0",
        "python": "3.11.7",
        "packages": {"torch": "2.9.0", "seqeval": None},
        "data": {"files": ["gold.json"], "fingerprint": "fedc", "documents": 3, "groups": 2},
        "training": {"files": ["train.json"], "documents": 8},
        "rounds": ["run"],
        "resamples": 1000,
        "level": 95,
        "task_url": "http://localhost:8080/projects/1/data?task={task}",
    }


def layer(kind: str, labels: list[str], average: str) -> Values:
    spans = kind == "spans"
    counts = {"correct": 3, **{each: int(spans or each in ("type", "missed")) for each in KINDS}}
    row = {"precision": 0.5, "recall": 0.5, "f1-score": 0.5, "support": 6}
    text = {"text": "   precision  recall\n", "rows": {labels[0]: row}}
    accuracy = None if spans else estimate(0.6)
    return {
        "kind": kind,
        "targeted": not spans,
        "labels": [{"name": name, "color": color} for name, color in zip(labels, ("#e6194b", "#888888"), strict=True)],
        "documents": 3,
        "groups": 2,
        "items": 16,
        "remarks": ["1 sentence has no predicted label"],
        "average": average,
        "overall": {
            **{key: estimate(0.6) for key in ("precision", "recall", "f1", "macro_f1")},
            "accuracy": accuracy,
            "by_round": [0.6],
        },
        "per_label": [
            {"label": name, "support": 8, "predicted": 7.5}
            | {key: estimate(0.5, spread=None) for key in ("precision", "recall", "f1")}
            for name in labels
        ],
        "tables": [
            {
                "round": "run",
                "strict": text if spans else None,
                "lenient": text if spans else None,
                "sklearn": None if spans else text,
            }
        ],
        "curve": None,
        "calibration": None,
        "errors": {"all": counts, "labels": dict.fromkeys(labels, counts)},
        "confusion": {"labels": [*labels, "(none)"], "counts": [[4, 2, 1], [0, 9, 1], [1, 0, 0]]},
        "slices": [slice_of("group", ["article-1", "a-2"]), slice_of("names", ["seen", "unseen"])],
        "baselines": [
            {
                "name": "majority",
                "learned_from": "training data",
                "accuracy": estimate(0.6),
                "f1": estimate(0.25),
                "difference": estimate(0.31),
                "conclusion": "better than majority",
            }
        ],
        "not_represented": {"count": 1, "what": ["a-1 4–9 PLACE 'Kabul'"]},
    }


def slice_of(by: str, names: list[str]) -> Values:
    rows = [[name, 2, 8, 8.5, None, 0.75, 0.75, 0.75, 0.6, 0.9] for name in names]
    return {"by": by, "title": f"by {by}", "note": "as documented", "columns": SLICE, "rows": rows}


def curve() -> Values:
    points = {"threshold": [0.3, 0.9], "precision": [0.6, 1.0], "recall": [0.6, 0.2], "f1": [0.6, 0.3], "kept": [16, 3]}
    best = {"threshold": 0.3, "precision": 0.6, "recall": 0.6, "f1": 0.6}
    return {"all": points, "labels": {"PERSON": points}, "best": best}


def calibration() -> Values:
    bins = [{"low": 0.8, "high": 0.9, "count": 6, "confidence": 0.86, "accuracy": 0.83}]
    temperature = {
        "value": 1.3,
        "items": 16,
        "folds": 3,
        "by_fold": [1.3],
        "ece_before": estimate(0.04),
        "ece_after": estimate(0.03),
    }
    temperature |= {
        "nll_before": 0.6,
        "nll_after": 0.5,
        "bins": bins,
        "written": None,
        "conclusion": "it helps",
        "problem": None,
    }
    found = {"items": 16, "without": 1, "ece": estimate(0.04), "confidence": 0.7, "accuracy": 0.68}
    return {**found, "bins": bins, "temperature": temperature}


def unscored() -> Values:
    empty = layer("document", ["supports", "denies"], "macro")
    empty |= dict.fromkeys(("overall", "errors", "confusion", "not_represented"))
    empty |= {key: [] for key in ("per_label", "tables", "slices", "baselines")}
    return {**empty, "documents": 0, "groups": 0, "items": 0, "remarks": ["no document annotates it"]}


def large(documents: int) -> Values:
    """So many documents with three errors each; every tenth one's text holds the word `Kunduz`."""
    values = analysis()
    texts = [
        f"{'Kunduz' if number % 10 == 0 else 'Kabul'} fell on day {number}, they said." for number in range(documents)
    ]
    values["documents"]["rows"] = [[f"d-{at}", f"g-{at // 2}", at, "A claim."] for at in range(documents)]
    values["sentences"]["rows"] = [[number, 100, text] for number, text in enumerate(texts)]
    rows = []
    for number, text in enumerate(texts):
        rows.append([0, 3, number, 100, 105, 1, None, None, None, None, 1])
        rows.append([0, 1, number, 100, 105, 1, 100, 105, 0, 0.25 + number % 2 / 2, 1])
        rows.append([1, 1, number, 100, 100 + len(text), 0, 100, 100 + len(text), 1, 0.5, 1])
    values["errors"]["rows"] = rows
    group = values["layers"]["entity"]["slices"][0]
    group["rows"] = [
        [f"g-{at}", 2, 8, 8, None, 0.5, 0.5, 0.1 + at / documents, None, None] for at in range(documents // 2)
    ]
    return values
