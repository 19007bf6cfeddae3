"""Learning curves: parts really nest, the fit finds a law that is there, nothing is claimed that the data cannot tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_main_path import cli, gold, write_run
from test_run_comparison import spoilt
from typer.testing import CliRunner
from warm import Warm

from annotations.document import Document
from annotations.errors import ConfigError
from annotations.schema import Schema
from annotations.storage import write_jsonl
from training.cli import app
from training.config import LearningCurveConfig
from training.folds import folds
from training.learning_curve.outlook import Estimate, Outlook, Prediction, SizeScore, outlooks
from training.learning_curve.plot import Line, Point, svg
from training.learning_curve.power_law import fit
from training.learning_curve.report import drawing, markdown
from training.learning_curve.run import Grown, chosen_sizes, drawn, planned

ENTRY = [sys.executable, "-c", "from training.cli import main; main()"]


def settings_of(**values: object) -> LearningCurveConfig:
    return LearningCurveConfig.build(values, where="test")


@given(st.integers(3, 8), st.sets(st.integers(0, 99), min_size=1, max_size=3), st.sampled_from([None, 2, 3]))
def test_smaller_parts_lie_within_larger_ones(groups: int, seeds: set[int], count: int | None) -> None:
    schema = Schema.load("configs/schema.yaml")
    dealing = list(folds(gold(groups), count))
    most = min(len({one.fold for one in fold.train}) for fold in dealing)
    before: dict[tuple[int, str], set[str]] = {}
    tasks = list(planned(dealing, settings_of(seeds=sorted(seeds), folds=count), schema))
    for task in tasks:
        here = {one.fold for one in task.fold.train}
        assert len(here) == task.size <= most
        assert not here & {one.fold for one in task.fold.test}
        assert before.get((task.seed, task.fold.name), set()) < here
        before[task.seed, task.fold.name] = here
        # A group comes whole.
        assert len(task.fold.train) == 2 * task.size
    assert len(tasks) == len(seeds) * len(dealing) * len({task.size for task in tasks})
    assert tasks == list(planned(dealing, settings_of(seeds=sorted(seeds), folds=count), schema))


def test_seeds_and_folds_draw_orders_of_their_own(schema: Schema) -> None:
    tasks = list(planned(list(folds(gold(6))), settings_of(seeds=[0, 1, 2, 3], sizes=[2]), schema))
    parts = {(task.fold.name, frozenset(one.fold for one in task.fold.train)) for task in tasks}
    assert len(parts) > 12
    groups = {f"g{number}" for number in range(8)}
    orders = {tuple(drawn(groups, seed, fold)) for seed in range(3) for fold in ("a", "b")}
    assert len(orders) == 6
    assert drawn({"a", "b", "c", "d"}, 0, "x") == ["a", "d", "b", "c"]


def test_groups_without_annotations_are_no_training_groups(schema: Schema) -> None:
    documents = [*gold(3), Document(id="bare", text="Words.", group="bare")]
    for task in planned(list(folds(documents)), settings_of(sizes=[1, 2]), schema):
        assert "bare" not in {one.fold for one in task.fold.train}


def test_sizes_are_chosen_as_asked() -> None:
    assert chosen_sizes(settings_of(), 4) == [1, 2, 3, 4]
    assert chosen_sizes(settings_of(), 100) == [1, 3, 6, 16, 40, 100]
    assert chosen_sizes(settings_of(sizes=[3, 1, 3]), 4) == [1, 3]
    assert chosen_sizes(settings_of(fractions=[1, 0.01, 0.5]), 10) == [1, 5, 10]
    with pytest.raises(ConfigError, match="5 groups cannot be drawn: a fold trains on 4"):
        chosen_sizes(settings_of(sizes=[2, 5, 9]), 4)
    with pytest.raises(ConfigError, match="choose one"):
        settings_of(sizes=[1], fractions=[0.5])


@given(st.floats(0.3, 1.0), st.floats(0.05, 0.6), st.sampled_from([0.2, 0.5, 1.0, 1.5]))
def test_the_fit_finds_a_law_that_is_there(ceiling: float, gap: float, exponent: float) -> None:
    sizes = np.asarray([1.0, 2.0, 4.0, 8.0, 16.0])
    gap = min(gap, ceiling)
    scores = (ceiling - gap * sizes**-exponent)[None, :]
    assert fit(sizes, scores).at(32)[0] == pytest.approx(ceiling - gap * 32**-exponent, abs=0.01)


@given(st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=5))
def test_the_fit_is_bounded_and_as_good_as_a_flat_line(curves: list[list[float]]) -> None:
    sizes, scores = np.asarray([1.0, 2.0, 3.0, 4.0]), np.asarray(curves)
    law = fit(sizes, scores)
    weights = np.arange(1, 5) / 10
    assert np.all((law.ceiling >= 0) & (law.ceiling <= 1))
    assert np.all((law.at(8) >= 0) & (law.at(8) <= 1))
    fitted = law.ceiling[:, None] - law.gap[:, None] * sizes ** -law.exponent[:, None]
    flat = ((scores - (scores @ weights)[:, None]) ** 2) @ weights
    assert np.all(((scores - fitted) ** 2) @ weights <= flat + 1e-9)
    alone = [float(fit(sizes, row[None, :]).at(8)[0]) for row in scores]
    assert alone == pytest.approx(law.at(8).tolist())


def grown(documents: Sequence[Document], wrong: dict[int, list[set[int]]]) -> list[Grown]:
    """Sizes with, for each seed, the places of the documents that are spoilt."""
    return [
        Grown(size, [spoilt(documents, bad) for bad in seeds], float(size), {"entity": 3.0 * size})
        for size, seeds in wrong.items()
    ]


def test_a_curve_that_rises_in_all_groups_predicts_a_gain(schema: Schema) -> None:
    # Of every article's three names one more is found at each size, in every group alike.
    documents = gold(12)
    wrong = {1: 20, 2: 14, 3: 10, 4: 6}
    curve = grown(documents, {size: [set(range(0, 2 * bad, 2))] * 2 for size, bad in wrong.items()})
    found = outlooks(curve, documents, schema)[0]
    assert [size.score.value for size in found.sizes] == sorted(size.score.value for size in found.sizes)
    assert found.predicted and found.predicted.groups == 8
    assert found.predicted.score.low <= found.predicted.score.value <= found.predicted.score.high
    assert found.predicted.gain.value > 0


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high)


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (estimate(0.05, 0.02, 0.08), "entity: more annotation should help: at 8 groups"),
        (estimate(0.05, -0.02, 0.12), "entity: the data cannot tell whether more annotation will help: at 8 groups"),
        (estimate(-0.05, -0.1, -0.02), "entity: the score falls with more annotation"),
        (estimate(0.002, -0.004, 0.006), "entity: more annotation of this kind should change little"),
    ],
)
def test_the_conclusion_says_no_more_than_the_interval(gain: Estimate, said: str) -> None:
    sizes = [SizeScore(n, n, n, estimate(0.5, 0.4, 0.6), (0.5,)) for n in (1, 2, 3, 4)]
    ahead = Prediction(8, estimate(0.6, 0.5, 0.7), gain)
    assert Outlook("entity", "micro F1", 5, sizes, gain, ahead).conclusion().startswith(said)


def test_too_few_sizes_or_groups_cannot_tell(schema: Schema) -> None:
    documents = gold(3)
    three = outlooks(grown(documents, {n: [set()] for n in (1, 2, 3)}), documents, schema)[0]
    assert three.predicted is None
    assert "3 sizes are too few to fit a curve (4 are needed); from 2 to 3 groups" in three.conclusion()
    assert "one size" in outlooks(grown(documents, {1: [set()]}), documents, schema)[0].conclusion()
    single = outlooks(grown(documents[:2], {n: [set()] for n in (1, 2, 3, 4)}), documents[:2], schema)[0]
    assert "cannot tell" in single.conclusion() and "one group" in single.conclusion()


def test_one_group_has_no_interval_and_no_prediction(schema: Schema) -> None:
    documents = gold(2)
    [entity] = [
        one
        for one in outlooks(grown(documents, {n: [{0}] for n in (1, 2, 3, 4)}), documents, schema)
        if one.layer == "entity"
    ]
    assert all(size["interval"] for size in entity.to_dict()["sizes"]) and entity.predicted
    single = outlooks(grown(documents[:2], {n: [{0}, set()] for n in (1, 2, 3, 4)}), documents[:2], schema)[0]
    values = single.to_dict()
    assert [size["interval"] for size in values["sizes"]] == [None] * 4
    assert values["predicted"] is None
    rows = [line for line in markdown([single], [], picture="x.svg").splitlines() if line.startswith("| entity")]
    assert len(rows) == 4 and all(row.endswith("| none, one group |") for row in rows)
    ElementTree.fromstring(drawing([single]))


def test_the_interval_covers_seeds_as_well_as_groups(schema: Schema) -> None:
    documents = gold(12)
    everything = set(range(24))
    same = outlooks(grown(documents, {1: [set(), set()]}), documents, schema)[0].sizes[0]
    apart = outlooks(grown(documents, {1: [set(), everything]}), documents, schema)[0].sizes[0]
    assert (same.score.low, same.score.high) == (1, 1)
    assert (apart.score.value, apart.score.low, apart.score.high) == (0.5, 0, 1)
    assert apart.by_seed == (1, 0)


def test_the_drawing_is_one_and_stays_inside() -> None:
    lines = [
        Line("a < b", [Point(1, 0.2, 0.1, 0.3), Point(4, 0.9, 0.8, 1.0)], [Point(8, 1.0, 0.9, 1.0)]),
        Line("flat", [Point(1, 0.5, 0.5, 0.5)]),
    ]
    root = ElementTree.fromstring(svg(lines, "groups"))
    texts = [part.text for part in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a < b", "flat", "1", "4", "8", "groups"} <= set(texts)
    drawn_lines = [part.get("points", "") for part in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert len(drawn_lines) == 3
    for place in (float(number) for points in drawn_lines for pair in points.split() for number in pair.split(",")):
        assert 0 <= place <= 640


def test_a_learning_curve_through_the_command_line(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(3))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    arguments = ["learning-curve", str(config), "--seeds", "0", "--folds", "2", "--save", str(tmp_path / "saved")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    assert "| entity | 1 | 2.0 | 3.0 | micro F1 |" in result.stdout
    assert "- entity: the data cannot tell whether more annotation will help: one size makes no curve." in result.stdout
    assert "warning: no document is labelled" in result.stderr
    assert "2 trainings, 0 of them done" in result.stderr
    saved = json.loads((tmp_path / "saved.json").read_text())
    assert [layer["layer"] for layer in saved["layers"]] == ["entity", "stance", "document"]
    ElementTree.parse(tmp_path / "saved.svg")
    assert (tmp_path / "run" / "learning-curve-2-fold.svg").exists()
    assert "choose one" in CliRunner().invoke(app, [*arguments, "--sizes", "1", "--fractions", "1"]).stderr
    assert "a fold trains on 1" in CliRunner().invoke(app, [*arguments, "--sizes", "7"]).stderr
    # Work on other data is not mixed with this.
    write_jsonl(data, gold(4))
    assert "another data" in CliRunner().invoke(app, arguments).stderr
    assert "another data" in CliRunner().invoke(app, ["crossval", str(config), "--no-baselines"]).stderr


def test_a_killed_learning_curve_goes_on(tmp_path: Path, encoders: Callable[[str], Path]) -> None:
    data = tmp_path / "gold.jsonl"
    write_jsonl(data, gold(2))
    config = write_run(tmp_path, "configs/schema.yaml", data, encoders("bert"))
    command = [*ENTRY, "learning-curve", str(config), "--seeds", "0,1"]
    kept = tmp_path / "run" / "curve"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with Warm(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment) as process:
        began = time.monotonic()
        while not list(kept.rglob("*.jsonl")):
            assert process.poll() is None, "the command ended before it could be killed"
            assert time.monotonic() - began < 300
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*.jsonl")}
    assert 1 <= len(before) < 4
    said = cli("learning-curve", config, "--seeds", "0,1")
    after = {path: path.stat().st_mtime_ns for path in kept.rglob("*.jsonl")}
    assert len(after) == 4
    assert {path: after[path] for path in before} == before
    assert "one size makes no curve" in said
    assert "Will more annotation help?" in (tmp_path / "run" / "learning-curve.md").read_text()
