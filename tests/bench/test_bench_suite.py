from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_cases import CLASSES
from PIL import Image

from hashsearch.bench import suite as suites
from hashsearch.bench.comparison import adjusted, differences, group_runs
from hashsearch.bench.report import (
    RUNS,
    check_report,
    render,
    report_tables,
    unclaimed_records,
    write_report,
)
from hashsearch.bench.report_plots import discriminators, of_systems
from hashsearch.bench.statistics import holm
from hashsearch.bench.suite import Run, load_suite, make_suite, read_runs
from hashsearch.bench.suite_data import FashionMnist
from hashsearch.bench.suite_run import run_suite
from hashsearch.datasets.fashion_mnist import training_splits
from hashsearch.datasets.image_set import ImageSet
from hashsearch.datasets.parts import TRAINING_PARTS
from hashsearch.errors import ArgumentError, LeakError, SuiteError, TrainingError
from hashsearch.training.fitted import FITTED
from hashsearch.training.objectives import OBJECTIVES
from hashsearch.training.plan import TrainingPlan

SUITE = """
title = "Two systems"
text = "What they do."

[plan]
epochs = 1
settle_epochs = 0
backbone = "lenet"

[[runs]]
objectives = ["lsh", "pixel-sad"]
bits = [8, 16]
seeds = [0, 1]
protocols = ["held-out", "same-item"]

[[runs]]
system = "dch without quantisation"
objectives = ["dch"]
bits = [16]
seeds = [1]
protocols = ["held-out", "seen-gallery"]
plan = { fine_bits = 0, weights = { quantisation = 0.0 } }
"""


def bars(n_items: int, first: str, seed: int) -> ImageSet:
    """Images of bars: where they stand is the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_items) % len(CLASSES)
    images = rng.integers(0, 40, (n_items, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        start = 3 + 6 * label
        image[start : start + rng.integers(2, 6), 4:24] = rng.integers(120, 255)
    ids = tuple(f"{first}-{row}" for row in range(n_items))
    return ImageSet(images, labels.astype(np.int64), CLASSES, ids)


TRAIN, TEST = bars(400, "train", 0), bars(100, "test", 1)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """80 images validate, and nothing is kept beyond a test."""

    def part(images: ImageSet, *, seed: int) -> tuple[ImageSet, ImageSet]:
        del seed
        return training_splits(images, validation=80)

    monkeypatch.setitem(TRAINING_PARTS, "all-labels", part)
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "two.toml"
    path.write_text(SUITE)
    return path


def run_all(path: Path, folder: Path, tell: Any = lambda *_: None) -> dict[Run, dict[str, Any]]:
    suite = load_suite(path)
    return run_suite(suite, folder, FashionMnist(TRAIN, TEST, "bars"), progress=tell)


def test_a_suite_is_every_combination_once(file: Path) -> None:
    file.write_text(f"radius = 3\nbaselines = ['lsh']\n{SUITE}")
    suite = load_suite(file)
    assert suite.baselines == ("lsh",)
    assert (suite.name, suite.title, suite.text) == ("two", "Two systems", "What they do.")
    # lsh: 2 lengths, 2 seeds, 2 protocols; pixels have no length; dch: 2 protocols.
    assert len(suite.runs) == 8 + 4 + 2
    assert len({run.path for run in suite.runs}) == len(suite.runs)
    assert {run.radius for run in suite.runs} == {3}
    dch = suite.runs[-1]
    assert str(dch.path).startswith("seen-gallery/lenet/dch-without-quantisation/16+0/seed-1-")
    assert isinstance(dch.plan, TrainingPlan)
    assert dch.plan.epochs == 1
    assert dch.plan.weights == {"quantisation": 0.0}


def test_machines_share_the_trainings_of_a_suite(file: Path) -> None:
    suite = load_suite(file)
    shares = [suite.share(number, 3) for number in (1, 2, 3)]
    assert sorted(run.path for share in shares for run in share.runs) == sorted(
        run.path for run in suite.runs
    )
    trainings = [{run.training for run in share.runs} for share in shares]
    assert sum(map(len, trainings)) == len(set.union(*trainings))
    assert max(map(len, trainings)) - min(map(len, trainings)) <= 1
    assert suite.share(1, 1) == suite
    with pytest.raises(ArgumentError, match="share 4 of 3: there is no such machine"):
        suite.share(4, 3)


def test_a_changed_plan_is_another_run(file: Path) -> None:
    (*_, run) = load_suite(file).runs
    assert isinstance(run.plan, TrainingPlan)
    changed = replace(run, plan=replace(run.plan, epochs=2))
    assert changed.path != run.path
    assert changed.path.parent == run.path.parent
    assert replace(run, radius=3).path != run.path


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (OBJECTIVES["dch"], "default_weights", {"hamming": 2.0, "quantisation": 0.1}),
        (OBJECTIVES["dch"], "default_constants", {"gamma": 9.0, "settled_gamma": 9.0}),
        (OBJECTIVES["dch"], "revision", 2),
        (FITTED["lsh"], "revision", 2),
    ],
)
def test_what_a_plan_leaves_to_its_objective_tells_runs_apart(
    kind: type, name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told() -> dict[str, tuple[Path, str]]:
        suite = make_suite(["dch", "lsh"], bits=[16], seeds=[0], protocols=["held-out"])
        return {run.system: (run.path, run.training) for run in suite.runs}

    before = told()
    monkeypatch.setattr(kind, name, value)
    after = told()
    concerned, other = ("lsh", "dch") if kind is FITTED["lsh"] else ("dch", "lsh")
    assert after[other] == before[other]
    assert all(new != old for new, old in zip(after[concerned], before[concerned], strict=True))


def test_a_suite_runs_once_and_is_taken_up_again(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    told: list[str] = []
    records = run_all(file, folder, lambda what, *_: told.append(what))
    suite = load_suite(file)
    assert list(records) == list(suite.runs)
    assert len({what.partition(":")[0] for what in told}) == len(suite.runs)
    for run, record in records.items():
        assert json.loads((folder / run.path).read_text()) == record
        assert record["protocol"] == run.protocol
        assert record["machine"]["cores"]
    # One training serves both protocols of a plan.
    assert len(list((tmp_path / "cache" / "encoders").glob("dch-*.onnx"))) == 1

    lost = suite.runs[3].path
    (folder / lost).unlink()
    told.clear()
    again = run_all(file, folder, lambda what, *_: told.append(what))
    assert {what.partition(": ")[2] for what in told} == {str(lost.with_suffix(""))}
    assert again[suite.runs[3]]["result"] == records[suite.runs[3]]["result"]
    assert read_runs(suite, folder) == again


def test_a_suite_stopped_within_a_training_ends_as_an_undisturbed_one(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 5 steps an epoch.
    text = SUITE.replace("epochs = 1", "epochs = 3\nbatch_size = 64")
    file.write_text(text.replace('"lsh", "pixel-sad"', '"pixel-sad"'))
    undisturbed = run_all(file, tmp_path / "undisturbed")
    monkeypatch.setenv("HASHSEARCH_CACHE", str(tmp_path / "other-cache"))

    def stop_in_the_second_epoch(what: str, done: int, total: int) -> None:
        del total
        if "dch" in what and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(file, tmp_path / "stopped", stop_in_the_second_epoch)
    encoders = tmp_path / "other-cache" / "encoders"
    left = [path.name for path in encoders.iterdir()]
    assert left
    assert all(name.startswith("unfinished-dch-") for name in left)
    steps: list[int] = []
    resumed = run_all(file, tmp_path / "stopped", lambda _, done, __: steps.append(done))
    assert min(step for step in steps if step) == 6
    assert not list(encoders.glob("unfinished-*"))
    assert list(resumed) == list(undisturbed)
    for run, record in undisturbed.items():
        assert resumed[run]["result"] == record["result"]
        assert resumed[run]["training"].get("figures") == record["training"].get("figures")


def test_records_of_changed_plans_are_named(file: Path, tmp_path: Path) -> None:
    run_all(file, tmp_path / RUNS)
    assert unclaimed_records(tmp_path) == []
    file.write_text(SUITE.replace("epochs = 1", "epochs = 2"))
    assert {path.parents[1].name for path in unclaimed_records(tmp_path)} == {
        "dch-without-quantisation"
    }


def test_every_run_says_what_it_measured(file: Path, tmp_path: Path) -> None:
    for run, record in run_all(file, tmp_path / "runs").items():
        result = record["result"]
        if run.protocol == "same-item":
            assert 0 <= result["recall_at"]["1"]["value"] <= 1
        else:
            values = result["per_query"]["average_precision"]
            assert len(values) == result["queries"]
            assert np.mean(values) == pytest.approx(result["map"]["value"], abs=1e-4)
            cache = tmp_path / "cache" / "encoders"
            assert run.plan is None or (cache / record["training"]["cached_as"]).is_file()
        assert (record["plan"] is None) == (run.system == "pixel-sad")
        assert bool(record["training"].get("history")) == (run.system != "pixel-sad")


def test_a_run_on_images_that_trained_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaky(images: ImageSet, *, seed: int) -> tuple[ImageSet, ImageSet]:
        del images, seed
        return training_splits(TEST, validation=40)

    monkeypatch.setitem(TRAINING_PARTS, "all-labels", leaky)
    with pytest.raises(LeakError, match="queries of held-out took part in training"):
        run_all(file, tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("*.json"))


def test_a_damaged_record_is_named(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    record = folder / load_suite(file).runs[0].path
    record.parent.mkdir(parents=True)
    for content in ("{", "[]", '{"format": "other", "version": 1}'):
        record.write_text(content)
        with pytest.raises(SuiteError, match="is no whole record of a run"):
            run_all(file, folder)


BAD_SUITES = {
    "no TOML": ("runs = [", "cannot be read as TOML"),
    "no runs": ("title = 'x'", "has no [[runs]]"),
    "an unknown key": ("titel = 'x'\n" + SUITE, "does not know titel"),
    "an unknown objective": (SUITE.replace('"lsh"', '"lhs"'), "number 1: unknown objective 'lhs'"),
    "an unknown protocol": (SUITE.replace("same-item", "same"), "unknown protocol 'same'; known: "),
    "a protocol of other data": (
        SUITE.replace("same-item", "official"),
        "no protocol of this data: 'official'; known: held-out",
    ),
    "pairs without a file": (SUITE.replace("same-item", "pairs"), "or pairs = FILE in a suite"),
    "pairs of nobody": (f"pairs = 'suite.toml'\n{SUITE}", "cannot be read (No such file"),
    "pairs that nothing asks for": (f"pairs = 'two.toml'\n{SUITE}", "no run is of the protocol"),
    "pairs of pixels": (
        f"pairs = 'two.toml'\n{SUITE.replace('same-item', 'pairs')}",
        "pixel-sad compares small grey images of one size, and has no ball; leave it out",
    ),
    "a rule without data": (f"neighbours = 'same-item'\n{SUITE}", "of no meaning without data"),
    "data of a number": (f"data = 3\n{SUITE}", "data cannot be 3"),
    "a size of text": (f"data = 'shop'\nimage_size = '9'\n{SUITE}", "image_size cannot be '9'"),
    "a size of nothing": (f"data = 'shop'\nimage_size = 0\n{SUITE}", "from 1 pixel up, not 0"),
    "columns of numbers": (f"data = 'shop'\ncolumns = {{ id = 1 }}\n{SUITE}", "names by role"),
    "pairs to learn from": (f"data = 'shop'\nneighbours = 'pairs'\n{SUITE}", "one by one"),
    "photos of few labels": (f"data = 'shop'\n{SUITE}", "'held-out'; known: official, official-"),
    "an unknown setting": (
        SUITE.replace("fine_bits", "fine"),
        "number 2: fine: of no meaning for the objective dch",
    ),
    "bits of no byte": (SUITE.replace("[8, 16]", "[8, 12]"), "number 1: "),
    "bits that are a word": (
        SUITE.replace("[8, 16]", '"8"'),
        "bits must be a list of whole numbers",
    ),
    "no seeds": (SUITE.replace("[0, 1]", "[]"), "seeds must be a list of whole numbers"),
    "an unknown key of a run": (SUITE.replace("seeds", "seed"), "unknown: seed"),
    "a radius of none": ("radius = -1\n" + SUITE, "radius must be a whole number"),
    "a baseline of none": ("baselines = 'dch'\n" + SUITE, "baselines must be a list of names"),
    "two plans of one place": (
        SUITE + SUITE[SUITE.rindex("[[runs]]") :].replace("fine_bits", "epochs = 2, fine_bits"),
        "two plans for held-out/dch-without-quantisation/16+0/seed-1; give one of them a name",
    ),
    "a name for two": (
        SUITE.replace('["dch"]', '["dch", "lsh"]'),
        "a system of a name of its own is of one objective",
    ),
}


@pytest.mark.parametrize("case", BAD_SUITES)
def test_a_bad_suite_is_told_in_one_line(file: Path, case: str) -> None:
    content, message = BAD_SUITES[case]
    file.write_text(content)
    with pytest.raises(SuiteError) as told:
        load_suite(file)
    assert message in str(told.value)
    assert "\n" not in str(told.value)
    assert str(file) in str(told.value)


def test_a_suite_that_is_not_there() -> None:
    with pytest.raises(SuiteError, match="no such file"):
        load_suite(Path("gone.toml"))
    with pytest.raises(ArgumentError, match="unknown protocol"):
        make_suite(["lsh"], bits=[8], seeds=[0], protocols=["nowhere"])


def test_without_a_file_each_objective_has_its_defaults() -> None:
    suite = make_suite(["lsh", "dch"], bits=[16], seeds=[3], protocols=["held-out"])
    assert [run.system for run in suite.runs] == ["lsh", "dch"]
    assert suites.make_suite(["dch"], bits=[16], seeds=[3], protocols=["held-out"]).runs == (
        suite.runs[1],
    )


# --- the report ------------------------------------------------------------------------


def record_of(values: list[float | None], accuracy: float | None, queries: str = "") -> Any:
    epoch = {"epoch": 1, "seconds": 60.0, "adversary_accuracy": accuracy}
    return {
        "machine": {"cores": 2, "cpu": "a chip"},
        "plan": {"backbone": "lenet", "epochs": 1, "settle_epochs": 1},
        "queries_sha256": queries,
        "training": {
            "history": [epoch, epoch],
            "device": "cpu",
            "precision": "float32",
            "threads": 2,
        },
        "result": {
            "empty_balls": 0.25,
            "per_query": dict.fromkeys(
                ("average_precision", "precision_within", "recall_within"), values
            ),
        },
    }


@pytest.fixture
def recorded() -> tuple[suites.Suite, dict[Run, Any]]:
    suite = make_suite(["adversarial", "dch"], bits=[16, 32], seeds=[0, 1], protocols=["held-out"])
    rng = np.random.default_rng(0)
    records = {}
    for run in suite.runs:
        better = 0.2 if run.system == "adversarial" else 0.0
        values = (0.4 + better + rng.random(50) / 10).tolist()
        records[run] = record_of(values, 0.7 if better else None)
    return suite, records


def test_groups_are_the_seeds_of_a_system(recorded: tuple[suites.Suite, Any]) -> None:
    groups = group_runs(recorded[1])
    assert [(group.system, group.code) for group in groups] == [
        ("adversarial", "16 + 64"),
        ("adversarial", "32 + 64"),
        ("dch", "16 + 64"),
        ("dch", "32 + 64"),
    ]
    assert all(sorted(group.records) == [0, 1] for group in groups)
    values = groups[0].values()
    assert values is not None
    assert values.shape == (2, 50)
    assert groups[0].values("recall_at_1") is None
    assert groups[0].seconds == 120.0


def test_the_table_tests_each_system_against_its_rivals(
    recorded: tuple[suites.Suite, Any],
) -> None:
    table, ball = report_tables(*recorded)
    assert table.title.startswith("held-out: ")
    assert ball.columns == ("system", "bits", "recall within 2 less dch's")
    # What is not corrected has no p; here the recall is the mAP.
    column = table.columns.index("mAP less dch's")
    assert [row[2] for row in ball.rows] == [row[column].split(", p")[0] for row in table.rows]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert "mAP less dch's" in table.columns
    assert "mAP less classifier-bits's" not in table.columns
    for row in rows:
        ours = row["system"] == "adversarial"
        assert row["seeds"] == "2"
        assert row["mAP [95 %]"].startswith("0.6" if ours else "0.4")
        assert row["empty balls"] == "0.2500"
        assert row["mAP less dch's"][:3] == ("+20" if ours else "")
        assert row["mAP less dch's"].endswith(", p 0.032") is ours
        assert row["recall within 2 [95 %]"] == row["mAP [95 %]"]


def test_the_page_says_what_was_found_and_draws_it(recorded: tuple[suites.Suite, Any]) -> None:
    suite, records = recorded
    page, plots = render([(suite, records)], "# Head", "plots")
    assert page.startswith("# Head\n\n## Do they rank better than dch?\n\n")
    assert "\n\n## Objectives\n\n`objectives.toml`: 8 of 8 runs" in page
    assert "trained on lenet on 2 cores of a chip (cpu, float32, 2 threads)" in page
    finding = next(line for line in page.splitlines() if line.startswith("- **"))
    assert finding.startswith(
        "- **adversarial** less **dch**, 16 + 64 bits, 2 seeds: mAP +20.1 [+14.0, +26.1], p 0.032; "
        "recall within 2 +20.1 [+14.0, +26.1]"
    )
    assert page.count("- **adversarial** less **dch**") == 2
    below = page.partition("\n## Objectives\n")[2]
    assert below.count("| adversarial |") == 4
    assert set(plots) == {"objectives-held-out.png", "objectives-discriminator.png"}
    for name, content in plots.items():
        assert f"(plots/{name})" in page
        assert content.startswith(b"\x89PNG")


def test_seeds_that_ask_different_queries_are_compared_by_their_means() -> None:
    suite = make_suite(["lsh", "dch"], bits=[16], seeds=[0, 1, 2], protocols=["unseen-types"])
    records = {}
    for run in suite.runs:
        base = 0.5 + 0.1 * run.seed + (0.02 if run.system == "lsh" else 0.01 * run.seed)
        records[run] = record_of([base, base, base], None, f"queries of {run.seed}")
    table, _ = report_tables(suite, records)
    row = dict(zip(table.columns, table.rows[0], strict=True))
    # Means 0.52, 0.62, 0.72: 0.62 +- 4.303 * 0.1 / sqrt(3). Differences: 2, 1, 0 points.
    assert row["mAP [95 %]"] == "0.6200 [0.3716, 0.8684]"
    assert row["mAP less dch's"] == "+1.0 [-1.5, +3.5], p 0.225"
    assert row["recall within 2 [95 %]"] == "0.6200 [0.3716, 0.8684]"


def test_an_interval_stays_within_what_a_share_can_be() -> None:
    suite = make_suite(["lsh"], bits=[16], seeds=[0, 1], protocols=["unseen-types"])
    records = {
        run: record_of([0.1 + 0.8 * run.seed] * 3, None, f"queries of {run.seed}")
        for run in suite.runs
    }
    (table,) = report_tables(suite, records)
    assert dict(zip(table.columns, table.rows[0], strict=True))["mAP [95 %]"] == (
        "0.5000 [0.0000, 1.0000]"
    )


def test_of_other_queries_nothing_is_compared() -> None:
    suite = make_suite(["lsh", "dch"], bits=[16], seeds=[0], protocols=["held-out"])
    records = {run: record_of([0.4, 0.6], None, f"queries of {run.system}") for run in suite.runs}
    (table,) = report_tables(suite, records)
    assert not any("less" in column for column in table.columns)


def test_a_length_that_a_rival_lacks_is_compared_with_its_nearest() -> None:
    values = {"lsh": {16: 0.4, 24: 0.5}, "dch": {16: 0.2, 32: 0.3, 64: 0.9}}
    protocols = ["held-out", "same-item"]
    records = {
        run: record_of([value] * 3, None)
        for system, of_bits in values.items()
        for bits, value in of_bits.items()
        for run in make_suite([system], bits=[bits], seeds=[0], protocols=protocols).runs
    }
    for run, record in records.items():
        per_query = record["result"]["per_query"]
        if run.protocol == "same-item":
            found = per_query.pop("average_precision")
            per_query.update(recall_at_1=found, recall_at_10=found)
    suite = make_suite(["dch"], bits=[16], seeds=[0], protocols=protocols)
    table, _, same = report_tables(replace(suite, runs=tuple(records)), records)
    for shown, column in ((table, "mAP less dch's"), (same, "recall@10 less dch's")):
        told = [row[shown.columns.index(column)][:5] for row in shown.rows]
        # 24 is as far from 16 as from 32: the first counts. No system is compared with itself.
        assert told == ["+20.0", "+30.0", "", "", ""]


def test_each_column_is_corrected_for_itself() -> None:
    suite = make_suite(["lsh", "dch", "csq"], bits=[16], seeds=[0, 1], protocols=["held-out"])
    rng = np.random.default_rng(0)
    records = {run: record_of(rng.random(40).tolist(), None) for run in suite.runs}
    groups = group_runs(records)
    tests = differences(groups, ["lsh", "dch"])
    for number, column in enumerate(tests.values()):
        corrected = adjusted(column)
        assert corrected[number] is None  # it does not differ from itself
        known = [test.first["p_value"] or 0.0 for test in column if test is not None]
        assert [p_value for p_value in corrected if p_value is not None] == list(holm(known))
    there, back = tests["lsh"][1], tests["dch"][0]
    assert there is not None
    assert back is not None
    assert there.first["value"] == pytest.approx(-(back.first["value"] or 0.0))
    assert there.first["p_value"] == pytest.approx(back.first["p_value"])


def test_the_page_begins_with_what_the_paper_claims_of_all_suites(
    recorded: tuple[suites.Suite, Any],
) -> None:
    suite, records = recorded
    other = replace(suite, name="others", title="Others")
    page, _ = render([(suite, records), (other, records)], "# Head", "plots")
    overview = page.split("\n## ")[1]
    assert overview.startswith("Do they rank better than dch?\n\n### adversarial less dch")
    rows = [line for line in overview.splitlines() if line.startswith("| adv")]
    assert [row.split(" | ")[:6] for row in rows] == [
        ["| adversarial", title, "held-out", "lenet", f"{bits} + 64", "2"]
        for title in ("Objectives", "Others")
        for bits in (16, 32)
    ]
    # As the table of the suite has them, p and all.
    table, _ = report_tables(suite, records)
    below = [row[table.columns.index("mAP less dch's")] for row in table.rows[:2]]
    assert [row.split(" | ")[6] for row in rows] == 2 * below
    assert all(", p " in text for text in below)


def test_suites_stand_in_the_report_in_their_order(tmp_path: Path) -> None:
    for name, order in (("a", 2), ("b", 1), ("c", 1)):
        (tmp_path / f"{name}.toml").write_text(
            f'title = "Suite {name}"\norder = {order}\n[[runs]]\nobjectives = ["lsh"]\n'
            'bits = [16]\nseeds = [0]\nprotocols = ["held-out"]\n'
        )
    page, *_ = write_report(tmp_path)
    titles = [line for line in page.read_text().splitlines() if line.startswith("## ")]
    assert titles == ["## Suite b", "## Suite c", "## Suite a"]


@pytest.mark.parametrize("bits", [[16], [16, 32]])
def test_systems_are_drawn_as_bars_or_against_bits(bits: list[int]) -> None:
    suite = make_suite(["lsh", "dch"], bits=bits, seeds=[0, 1], protocols=["held-out"])
    records = {run: record_of([0.4, 0.6], None) for run in suite.runs}
    groups = group_runs(records)
    drawn = np.asarray(Image.open(io.BytesIO(of_systems(groups, "held-out"))).convert("RGB"))
    sky = (drawn == (0x56, 0xB4, 0xE9)).all(axis=2)
    assert (int(sky.sum()) > 10_000) is (len(bits) == 1)  # the area of bars


def test_a_training_that_diverges_costs_its_own_runs_alone(file: Path, tmp_path: Path) -> None:
    file.write_text(SUITE.replace("epochs = 1", "epochs = 1\nlearning_rate = 1e39"))
    suite, folder = load_suite(file), tmp_path / "runs"
    with pytest.raises(TrainingError, match="not finite") as caught:
        run_all(file, folder)
    assert str(caught.value).count("seen-gallery/lenet/dch-without-quantisation") == 1
    there = read_runs(suite, folder)
    assert {run.system for run in suite.runs if run not in there} == {"dch without quantisation"}


def test_what_an_objective_cannot_do_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    suite = make_suite(["lsh", "ladder"], bits=[8], seeds=[0], protocols=["held-out"])
    with pytest.raises(ArgumentError, match=r"held-out/small-resnet/ladder.*: 8 bits do not hold"):
        run_suite(
            suite,
            tmp_path / "runs",
            FashionMnist(replace(TRAIN, class_names=(*CLASSES, "cap")), TEST, "bars"),
            progress=lambda *_: None,
        )
    assert not (tmp_path / "runs").exists()


def test_pixels_and_the_same_item_are_reported(file: Path, tmp_path: Path) -> None:
    records = run_all(file, tmp_path / "runs")
    suite = load_suite(file)
    ranking, leaky, same = report_tables(suite, records)
    assert [table.title.split(":")[0] for table in (ranking, leaky, same)] == [
        "held-out",
        "seen-gallery",
        "same-item",
    ]
    assert same.columns == ("system", "bits", "seeds", "recall@1 [95 %]", "recall@10 [95 %]")
    assert [row[:3] for row in ranking.rows][2] == ("pixel-sad", "pixels", "2")
    page, plots = render([(suite, records)], "# Head", "plots")
    assert {"two-held-out.png", "two-same-item.png"} <= set(plots)
    assert "### same-item: " in page


def test_a_report_takes_no_other_files_place(file: Path) -> None:
    check_report(file.parent)
    page, *_ = write_report(file.parent)
    assert "0 of 14 runs are recorded" in page.read_text()
    check_report(file.parent)
    page.write_text("My own page.")
    with pytest.raises(SuiteError, match=r"README.md is no report"):
        check_report(file.parent)
    page.unlink()
    (file.parent / "pyproject.toml").write_text("[project]\nname = 'x'")
    with pytest.raises(SuiteError, match=r"pyproject.toml"):
        check_report(file.parent)


def test_an_encoder_of_other_images_is_refused(file: Path, tmp_path: Path) -> None:
    run_all(file, tmp_path / "runs")
    (encoder, *_) = (tmp_path / "cache" / "encoders").glob("dch-*.onnx")
    (other, *_) = (tmp_path / "cache" / "encoders").glob("lsh-*.onnx")
    shutil.rmtree(tmp_path / "runs")
    encoder.write_bytes(other_images(other.read_bytes()))
    with pytest.raises(LeakError, match="was trained on other images"):
        run_all(file, tmp_path / "runs")


def other_images(model: bytes) -> bytes:
    """An encoder whose record names other training images."""
    name = hashlib.sha256(training_splits(TRAIN, validation=80)[0].images.tobytes()).hexdigest()
    return model.replace(name.encode(), b"0" * 64)


def test_a_page_of_a_suite_that_never_ran_says_so(recorded: tuple[suites.Suite, Any]) -> None:
    page, plots = render([(recorded[0], {})], "# Head", "plots")
    assert "0 of 8 runs are recorded." in page
    assert not plots


@pytest.mark.parametrize(("n_systems", "shape"), [(2, (500, 720)), (6, (360, 720))])
def test_of_many_discriminators_each_has_a_panel(n_systems: int, shape: tuple[int, int]) -> None:
    accuracies = {f"system {number}": [[0.5, 0.6, 0.7], [0.5, 0.8]] for number in range(n_systems)}
    settled, plain = (
        np.asarray(Image.open(io.BytesIO(discriminators(accuracies, after))).convert("L"))
        for after in ({"system 1": 1}, {})
    )
    assert settled.shape == plain.shape == shape
    assert not np.array_equal(settled, plain)
