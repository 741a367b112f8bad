"""Recorded runs of suites as tables, plots and one page of Markdown."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from scipy.stats import ttest_1samp

from hashsearch.bench.protocols import PROTOCOLS
from hashsearch.bench.report_plots import against_bits, discriminators
from hashsearch.bench.statistics import holm, over_seeds, paired_test
from hashsearch.bench.suite import load_suite, read_runs
from hashsearch.bench.tables import Table, interval
from hashsearch.datasets.duplicates import duplicates
from hashsearch.errors import SuiteError
from hashsearch.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashsearch.bench.suite import Run, Suite
    from hashsearch.datasets.image_set import ImageSet

__all__ = [
    "RUNS",
    "Group",
    "check_report",
    "group_runs",
    "record_duplicates",
    "render",
    "report_tables",
    "summarise",
    "unclaimed_records",
    "write_report",
]

RUNS, PLOTS = Path("recorded/runs"), Path("recorded/plots")
"""Where records and plots lie, from the folder of the suites."""

DUPLICATES = Path("recorded/duplicates.json")

_SUBJECTS = ("adversarial", "ladder")  # whose differences a section begins with
_HEAD = """# Benchmarks

Rendered from recorded runs by `hashsearch bench --suite FILE`, which runs what a suite
lists and is not recorded yet; never edited by hand. A row is made again by deleting its
records under `recorded/runs` and the encoders in the cache folder, and giving that command."""
_TOLERANCE = 8.0  # grey levels
_UNKNOWN = {"value": None, "low": None, "high": None}


@dataclass(frozen=True)
class Group:
    """The runs of one system, at one length of code, by one protocol: its seeds.

    Attributes:
        system: what the report calls it.
        protocol: the name.
        code: bits of the semantic code and of the fine code, such as ``48 + 64``.
        n_bits: of the semantic code; 0 where there is none.
        records: one a seed, by seed.
    """

    system: str
    protocol: str
    code: str
    n_bits: int
    records: dict[int, dict[str, Any]]

    @property
    def seconds(self) -> float | None:
        """Mean time of a training; None where nothing is trained."""
        taken = [
            sum(epoch["seconds"] for epoch in record["training"].get("history", []))
            for record in self.records.values()
        ]
        return float(np.mean(taken)) if any(taken) else None

    @property
    def same_queries(self) -> bool:
        """Whether every seed asked the same queries; that of unseen types chooses them."""
        return len({record["queries_sha256"] for record in self.records.values()}) == 1

    def values(self, seeds: Sequence[int] | None = None) -> npt.NDArray[np.float64]:
        """Average precision, ``float64 (seeds, q)``, of these seeds, else of all."""
        return np.array(
            [
                self.records[seed]["result"]["average_precision"]
                for seed in (self.records if seeds is None else seeds)
            ],
            dtype=np.float64,
        )

    @property
    def summary(self) -> dict[str, Any]:
        """Mean average precision with its interval; see :func:`summarise`."""
        return summarise(self.values(), same_queries=self.same_queries)

    def figures(self, *keys: str, seeds: Sequence[int] | None = None) -> npt.NDArray[np.float64]:
        """Of an estimate in the results, or a bare figure: ``float64 (seeds,)``.

        Args:
            keys: its path in the results.
            seeds: of the runs; all if left out.

        Returns:
            One a seed, NaN where a run has none.
        """
        values = []
        for seed in self.records if seeds is None else seeds:
            value: Any = self.records[seed]["result"]
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            value = value["value"] if isinstance(value, dict) else value
            values.append(np.nan if value is None else value)
        return np.array(values, dtype=np.float64)

    def mean_of(self, *keys: str) -> float | None:
        """Mean of :meth:`figures`; None where a run has none."""
        mean = float(self.figures(*keys).mean())
        return None if np.isnan(mean) else mean

    def estimate(self, *keys: str) -> dict[str, Any]:
        """Mean of :meth:`figures` with its interval, which is of Student's t over the seeds.

        Where there is one seed it is that of the run, over its queries.
        """
        if len(self.records) > 1:
            return _over_means(self.figures(*keys))
        (record,) = self.records.values()
        found = record["result"]
        for key in keys:
            found = found.get(key, {})
        return found or _UNKNOWN


def group_runs(records: Mapping[Run, dict[str, Any]]) -> list[Group]:
    """The records by system, code and protocol, in the order of the suite."""
    groups: dict[tuple[str, str, str], Group] = {}
    for run, record in records.items():
        plan = run.plan
        code = "pixels" if plan is None else str(plan.n_bits)
        if plan is not None and plan.fine_bits:
            code += f" + {plan.fine_bits}"
        key = (run.protocol, run.system, code)
        if key not in groups:
            n_bits = 0 if plan is None else plan.n_bits
            groups[key] = Group(run.system, run.protocol, code, n_bits, {})
        groups[key].records[run.seed] = record
    return list(groups.values())


@dataclass(frozen=True)
class _Section:
    """What the report says of one protocol: a table, its groups, and a finding or nothing."""

    groups: list[Group]
    table: Table
    finding: str


def _sections(suite: Suite, records: Mapping[Run, dict[str, Any]]) -> dict[str, _Section]:
    """By protocol, of the runs that are recorded."""
    groups = group_runs(records)
    made = {}
    for name, protocol in PROTOCOLS.items():
        chosen = [group for group in groups if group.protocol == name]
        if chosen and protocol.neighbours == "same-item":
            made[name] = _Section(chosen, _same_item(name, chosen), "")
        elif chosen:
            # A test takes a while: the table and the finding share them.
            tests = {
                baseline: [_against(group, chosen, baseline) for group in chosen]
                for baseline in suite.baselines
            }
            adjusted, radius = _adjusted(tests), suite.runs[0].radius  # one for all of a suite
            made[name] = _Section(
                chosen,
                _ranking(name, chosen, tests, adjusted, radius),
                _finding(chosen, tests, adjusted, radius),
            )
    return made


def report_tables(suite: Suite, records: Mapping[Run, dict[str, Any]]) -> list[Table]:
    """A table a protocol, of the runs that are recorded."""
    return [section.table for section in _sections(suite, records).values()]


def render(
    suites: Sequence[tuple[Suite, Mapping[Run, dict[str, Any]]]], head: str, plots_folder: str
) -> tuple[str, dict[str, bytes]]:
    """The report.

    Args:
        suites: each with the records that are there.
        head: what stands above, as Markdown.
        plots_folder: where the plots will lie, as the page names them.

    Returns:
        The page as Markdown, and its plots, PNG bytes by file name.
    """
    parts = [head.strip()]
    plots: dict[str, bytes] = {}
    for suite, records in suites:
        parts += [f"## {suite.title}", suite.text, _progress(suite, records)]
        for protocol, section in _sections(suite, records).items():
            table = section.table
            parts += [f"### {table.title}", section.finding, _markdown(table), table.note]
            if len({group.n_bits for group in section.groups if group.n_bits}) > 1:
                name = f"{suite.name}-{protocol}.png"
                plots[name] = against_bits(section.groups, protocol)
                parts.append(f"![{protocol}]({plots_folder}/{name})")
        judged = {  # protocols of one training share it
            (group.system, group.code): group
            for group in group_runs(records)
            if any(_accuracies(group))
        }
        if judged:
            name = f"{suite.name}-discriminator.png"
            shown = list(judged.values())
            accuracies = dict(zip(_labels(shown), map(_accuracies, shown), strict=True))
            plots[name] = discriminators(accuracies)
            parts.append("### How often the discriminator is right")
            parts.append(f"![Accuracy of the discriminator]({plots_folder}/{name})")
    return "\n\n".join(part for part in parts if part) + "\n", plots


def _progress(suite: Suite, records: Mapping[Run, dict[str, Any]]) -> str:
    done = f"{len(records)} of {len(suite.runs)} runs are recorded"
    machines = [r["training"].get("machine", r["machine"]) for r in records.values()]
    cpus = sorted({f"{machine['cores']} cores of {machine['cpu']}" for machine in machines})
    ways = sorted({_way(r["training"]) for r in records.values() if "device" in r["training"]})
    where = f", trained on {'; '.join(cpus)} ({'; '.join(ways) or 'cpu'})" if records else ""
    return f"`{suite.name}.toml`: {done}{where}."


def _way(training: Mapping[str, Any]) -> str:
    """What training seconds depend on besides the machine."""
    threads = training["threads"]
    return f"{training['device']}, {training['precision']}, {threads} thread{'s' * (threads > 1)}"


def _ranking(
    protocol: str,
    groups: list[Group],
    tests: _Tests,
    adjusted: Mapping[_Difference, float],
    radius: int,
) -> Table:
    shown = [name for name in tests if any(tests[name])]
    rows = []
    for number, group in enumerate(groups):
        against: list[str] = []
        for name in shown:
            test = tests[name][number]
            against += ["", ""] if test is None else [_points(test.map), _p(adjusted.get(test))]
        rows.append(
            (
                group.system,
                group.code,
                str(len(group.records)),
                interval(group.summary),
                interval(group.estimate("precision_within")),
                interval(group.estimate("recall_within")),
                _share(group.mean_of("empty_balls")),
                *against,
                "-" if group.seconds is None else f"{group.seconds:,.0f}",
            )
        )
    columns = ["system", "bits", "seeds", "mAP [95 %]"]
    columns += [f"precision within {radius} [95 %]", f"recall within {radius} [95 %]"]
    columns.append("empty balls")
    columns += [text for name in shown for text in (f"mAP less {name}'s", f"p ({name})")]
    columns.append("training s")
    return Table(f"{protocol}: {PROTOCOLS[protocol].says}", tuple(columns), tuple(rows), _NOTE)


_FIGURES_NOTE = "Intervals are of 95 %: Student's t over the seeds, else over the queries of one."
_NOTE = (
    "Intervals are of 95 %. Those of mAP cover queries and trainings where there are several "
    "seeds, else queries alone; those of precision and recall are Student's t over the seeds. "
    "Differences: on the same queries and seeds, in points of 100; p, of mAP: two-sided sign-flip "
    "test over the queries, of these trainings (over the seeds, by Student's t, where each has "
    "queries of its own), Holm-corrected over the table."
)


def _same_item(protocol: str, groups: list[Group]) -> Table:
    rows = [
        (
            group.system,
            group.code,
            str(len(group.records)),
            interval(group.estimate("recall_at", "1")),
            interval(group.estimate("recall_at", "10")),
        )
        for group in groups
    ]
    columns = ("system", "bits", "seeds", "recall@1 [95 %]", "recall@10 [95 %]")
    return Table(f"{protocol}: {PROTOCOLS[protocol].says}", columns, tuple(rows), _FIGURES_NOTE)


@dataclass(frozen=True, eq=False)
class _Difference:
    """Between a group and a baseline, over the seeds that both have.

    ``map`` and ``recall_within`` are estimates, whose value and ends may be None.
    """

    seeds: int
    map: dict[str, Any]
    recall_within: dict[str, Any]
    p_value: float | None


_Tests: TypeAlias = dict[str, list[_Difference | None]]
"""By baseline: each group of a table against it, None where there is nothing to compare."""


def _against(group: Group, groups: list[Group], baseline: str) -> _Difference | None:
    """A group against the baseline of the nearest code, over the seeds that both have."""
    others = [other for other in groups if other.system == baseline]
    # The very code, else the same semantic bits; pixels have none, and take the first.
    others = (
        [other for other in others if other.code == group.code]
        or [other for other in others if other.n_bits == group.n_bits]
        or (others if not group.n_bits else [])
    )
    seeds = [seed for seed in group.records if others and seed in others[0].records]
    if not seeds or others[0] is group:
        return None
    ours, theirs = group.values(seeds), others[0].values(seeds)
    summary = summarise(ours - theirs, same_queries=group.same_queries)
    if summary["value"] is None:
        return None
    if group.same_queries or len(seeds) == 1:
        p_value = paired_test(ours, theirs)["p_value"]
    else:
        p_value = float(ttest_1samp(np.nanmean(ours - theirs, axis=1), 0.0).pvalue)
    recalls = [of.figures("recall_within", seeds=seeds) for of in (group, others[0])]
    return _Difference(len(seeds), summary, _over_means(recalls[0] - recalls[1]), p_value)


def summarise(values: npt.NDArray[np.float64], *, same_queries: bool) -> dict[str, Any]:
    """Mean and 95 % interval of ``float64 (seeds, q)``, as ``value``, ``low`` and ``high``.

    Args:
        values: one row a seed.
        same_queries: whether a column is one query. Where each seed has queries of its own,
            its mean is all that others can be compared by: Student's t over the means.
    """
    if same_queries or len(values) == 1:
        return dict(over_seeds(values))
    return _over_means(np.nanmean(values, axis=1))


def _over_means(means: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Mean of the seeds' figures with Student's t interval; of one seed, without."""
    mean = float(means.mean())
    if np.isnan(mean):
        return _UNKNOWN
    if len(means) == 1:
        return {**_UNKNOWN, "value": mean}
    half = float(stdtrit(len(means) - 1, 0.975) * means.std(ddof=1) / np.sqrt(len(means)))
    return {"value": mean, "low": mean - half, "high": mean + half}


def _adjusted(tests: _Tests) -> dict[_Difference, float]:
    """The p-value of each difference, Holm-corrected over all of a table."""
    every = [test for column in tests.values() for test in column if test is not None]
    tested = [(test, test.p_value) for test in every if test.p_value is not None]
    corrected = holm([p_value for _, p_value in tested])
    return {test: p_value for (test, _), p_value in zip(tested, corrected, strict=True)}


def _finding(
    groups: list[Group], tests: _Tests, adjusted: Mapping[_Difference, float], radius: int
) -> str:
    """What the table says of the paper's objective and of ours, a line a rival."""
    lines = []
    for subject, (baseline, differences) in itertools.product(_SUBJECTS, tests.items()):
        said = []
        for group, test in zip(groups, differences, strict=True):
            if group.system != subject or test is None:
                continue
            text = f"{_points(test.map)} mAP (p {_p(adjusted.get(test))})"
            if test.recall_within["value"] is not None:
                text += f" and {_points(test.recall_within)} recall within {radius}"
            said.append(f"{text} at {group.code} bits, {test.seeds} seed{'s' * (test.seeds > 1)}")
        if said:
            lines.append(f"- **{subject} less {baseline}**: {'; '.join(said)}")
    return "\n".join(lines)


def _accuracies(group: Group) -> list[list[float]]:
    """The discriminator's accuracy by epoch, a list a seed."""
    histories = [record["training"].get("history", []) for record in group.records.values()]
    return [
        [epoch["adversary_accuracy"] for epoch in history]
        for history in histories
        if history and all(epoch["adversary_accuracy"] is not None for epoch in history)
    ]


def _labels(groups: Sequence[Group]) -> list[str]:
    """What tells the groups apart: the system, and what is not the same for all."""
    columns = [
        [group.system for group in groups],
        [f"{group.code} bits" for group in groups],
        [group.protocol for group in groups],
    ]
    told = [column for number, column in enumerate(columns) if not number or len({*column}) > 1]
    return [", ".join(parts) for parts in zip(*told, strict=True)]


def _markdown(table: Table) -> str:
    rule = ["---", "---:", *("---:" for _ in table.columns[2:])]
    lines = [table.columns, rule, *table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _points(difference: dict[str, Any]) -> str:
    value, low, high = (
        None if (end := difference[name]) is None else 100 * end
        for name in ("value", "low", "high")
    )
    return (
        f"{value:+.1f}"
        if low is None or high is None
        else f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
    )


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _suites_of(folder: Path) -> list[Suite]:
    return [load_suite(path) for path in sorted(folder.glob("*.toml"))]


def check_report(folder: Path) -> None:
    """Before hours of training, not after: that a report can be written into the folder.

    Args:
        folder: of the suites.

    Raises:
        SuiteError: some TOML file in it is no suite, or its ``README.md`` is not a report.
    """
    _suites_of(folder)
    page = folder / "README.md"
    if page.is_file() and not page.read_text(encoding="utf-8").startswith(_HEAD):
        raise SuiteError(
            f"{page} is no report, and the report would take its place; move the suites to a "
            "folder of their own"
        )


def write_report(folder: Path) -> list[Path]:
    """Render the recorded runs of all suites of a folder into its ``README.md``.

    Args:
        folder: of the suites' TOML files; records are under ``recorded/runs`` in it, and
            plots go to ``recorded/plots``.

    Returns:
        The files written, the page first.

    Raises:
        SuiteError: a suite or a record cannot be read.
        ArgumentError: the folder refuses the files.
    """
    recorded = [(suite, read_runs(suite, folder / RUNS)) for suite in _suites_of(folder)]
    page, plots = render(recorded, _head(folder), PLOTS.as_posix())
    files = {folder / "README.md": page.encode()}
    files.update({folder / PLOTS / name: content for name, content in plots.items()})
    for path, content in files.items():
        write_atomically(path, content)
    for path in (folder / PLOTS).glob("*.png"):
        if path not in files:
            path.unlink()
    return list(files)


def unclaimed_records(folder: Path) -> list[Path]:
    """Records that no suite of a folder lists any more: of plans that were changed since.

    Args:
        folder: of the suites' TOML files.
    """
    claimed = {folder / RUNS / run.path for suite in _suites_of(folder) for run in suite.runs}
    return sorted({*(folder / RUNS).rglob("*.json")} - claimed)


def record_duplicates(folder: Path, train: ImageSet, test: ImageSet) -> None:
    """Count the test images that training images are copies of, unless that is recorded.

    Args:
        folder: of the suites.
        train: the training split.
        test: the test split.
    """
    path = folder / DUPLICATES
    if path.is_file():
        return
    found = duplicates(test.images, train.images, tolerance=_TOLERANCE)
    record = {
        "test_images": len(test),
        "tolerance": _TOLERANCE,
        "exact": int(found.exact.sum()),
        "near": int(found.near.sum()),
    }
    text = json.dumps(record)
    write_atomically(path, f"{text}\n".encode())


def _head(folder: Path) -> str:
    lines = [_HEAD]
    if (folder / "METHOD.md").is_file():
        lines.append("[METHOD.md](METHOD.md) says what each figure means and how it is made.")
    path = folder / DUPLICATES
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        lines.append(
            f"Of the {found['test_images']:,} test images, {found['exact']} have an "
            f"exact copy among the training images, and {found['near']} more one "
            f"that differs by at most {found['tolerance']:g} grey levels (root mean square). They "
            "are left in, as everybody leaves them in."
        )
    return "\n\n".join(lines)
