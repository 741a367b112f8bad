"""Recorded runs of suites as tables, plots and one page of Markdown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hashsearch.bench.protocols import PROTOCOLS
from hashsearch.bench.report_plots import against_bits, discriminators
from hashsearch.bench.statistics import holm, over_seeds, paired_test
from hashsearch.bench.suite import load_suite, read_runs
from hashsearch.bench.tables import Table
from hashsearch.datasets.duplicates import duplicates
from hashsearch.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashsearch.bench.statistics import OverSeeds, PairedTest
    from hashsearch.bench.suite import Run, Suite
    from hashsearch.datasets.image_set import ImageSet

__all__ = [
    "RUNS",
    "Group",
    "group_runs",
    "record_duplicates",
    "render",
    "report_tables",
    "write_report",
]

RIVALS = ("dch", "classifier-bits")
"""The systems that all others are tested against, on the same queries."""

RUNS, PLOTS = Path("recorded/runs"), Path("recorded/plots")
"""Where records and plots lie, from the folder of the suites."""

DUPLICATES = Path("recorded/duplicates.json")

_SUBJECT = "adversarial"
_HEAD = """# Benchmarks

Rendered from recorded runs by `hashsearch bench --suite FILE`, which runs what a suite
lists and is not recorded yet; never edited by hand. Any row is made again by deleting its
records under `recorded/runs` and giving that command."""
_TOLERANCE = 8.0  # grey levels


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

    def values(self, seeds: Sequence[int] | None = None) -> npt.NDArray[np.float64]:
        """Average precision, ``float64 (seeds, q)``, of these seeds, else of all."""
        return np.array(
            [
                self.records[seed]["result"]["average_precision"]
                for seed in (self.records if seeds is None else seeds)
            ],
            dtype=np.float64,
        )

    def mean_of(self, *keys: str) -> float | None:
        """Mean over the seeds of an estimate in the results, or of a bare figure."""
        values = []
        for record in self.records.values():
            value: Any = record["result"]
            for key in keys:
                if key not in value:
                    return None
                value = value[key]
            values.append(value["value"] if isinstance(value, dict) else value)
        return float(np.mean(values)) if values and None not in values else None


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


def report_tables(records: Mapping[Run, dict[str, Any]]) -> list[Table]:
    """A table a protocol, of the runs that are recorded."""
    groups = group_runs(records)
    made = []
    for name, protocol in PROTOCOLS.items():
        chosen = [group for group in groups if group.protocol == name]
        if chosen and protocol.neighbours == "same-item":
            made.append(_same_item(name, chosen))
        elif chosen:
            made.append(_ranking(name, chosen))
    return made


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
        parts.append(f"## {suite.title}")
        if suite.text:
            parts.append(suite.text)
        parts.append(_progress(suite, records))
        groups = group_runs(records)
        for table in report_tables(records):
            protocol = table.title.split(":")[0]
            chosen = [group for group in groups if group.protocol == protocol]
            parts.append(f"### {table.title}")
            parts += [finding for finding in [_finding(chosen)] if finding]
            parts.append(_markdown(table))
            if table.note:
                parts.append(table.note)
            if len({group.n_bits for group in chosen if group.n_bits}) > 1:
                name = f"{suite.name}-{protocol}.png"
                plots[name] = against_bits(chosen, protocol)
                parts.append(f"![{protocol}]({plots_folder}/{name})")
        judged = [group for group in groups if any(_accuracies(group))]
        if judged:
            name = f"{suite.name}-discriminator.png"
            plots[name] = discriminators({_label(g): _accuracies(g) for g in judged})
            parts.append("### How often the discriminator is right")
            parts.append(f"![Accuracy of the discriminator]({plots_folder}/{name})")
    return "\n\n".join(parts) + "\n", plots


def _progress(suite: Suite, records: Mapping[Run, dict[str, Any]]) -> str:
    done = f"{len(records)} of {len(suite.runs)} runs are recorded"
    cpus = sorted(
        {f"{r['machine']['cores']} cores of {r['machine']['cpu']}" for r in records.values()}
    )
    devices = sorted({r["training"].get("device", "cpu") for r in records.values()})
    where = f", on {'; '.join(cpus)} ({', '.join(devices)})" if records else ""
    return f"`{suite.name}.toml`: {done}{where}."


def _ranking(protocol: str, groups: list[Group]) -> Table:
    summaries = [over_seeds(group.values()) for group in groups]
    radius = next(
        (record["result"]["radius"] for g in groups for record in g.records.values()
         if "radius" in record["result"]),
        None,
    )  # fmt: skip
    tests = {rival: _tests(groups, rival) for rival in RIVALS}
    rivals = [rival for rival in RIVALS if any(tests[rival])]
    every = [test for rival in rivals for test in tests[rival] if test]
    adjusted = dict(
        zip(map(id, every), holm([test["p_value"] or 0.0 for test in every]), strict=True)
    )
    rows = []
    for number, (group, summary) in enumerate(zip(groups, summaries, strict=True)):
        against = []
        for rival in rivals:
            test = tests[rival][number]
            against += ["", ""] if test is None else [_difference(test), _p(adjusted[id(test)])]
        rows.append(
            (
                group.system,
                group.code,
                str(len(group.records)),
                _interval(summary),
                _share(group.mean_of("precision_within")),
                _share(group.mean_of("recall_within")),
                _share(group.mean_of("empty_balls")),
                *against,
                "-" if group.seconds is None else f"{group.seconds:,.0f}",
            )
        )
    columns = ["system", "bits", "seeds", "mAP [95 %]"]
    columns += [f"precision within {radius}", f"recall within {radius}", "empty balls"]
    columns += [text for rival in rivals for text in (f"mAP less {rival}'s", "p")]
    columns.append("training s")
    return Table(f"{protocol}: {PROTOCOLS[protocol].says}", tuple(columns), tuple(rows), _NOTE)


_NOTE = (
    "Intervals cover queries and trainings where there are several seeds, else queries alone. "
    "Differences: paired, on the same queries, in points of mAP of 100, with the 95 % bootstrap "
    "interval over queries; p: two-sided sign-flip test, Holm-corrected over the table."
)


def _same_item(protocol: str, groups: list[Group]) -> Table:
    rows = [
        (
            group.system,
            group.code,
            str(len(group.records)),
            _share(group.mean_of("recall_at", "1")),
            _share(group.mean_of("recall_at", "10")),
        )
        for group in groups
    ]
    columns = ("system", "bits", "seeds", "recall@1", "recall@10")
    return Table(f"{protocol}: {PROTOCOLS[protocol].says}", columns, tuple(rows))


def _tests(groups: list[Group], rival: str) -> list[PairedTest | None]:
    """Each group against the rival's of the same code, over the seeds that both have."""
    rivals = {group.n_bits: group for group in groups if group.system == rival}
    made: list[PairedTest | None] = []
    for group in groups:
        other = rivals.get(group.n_bits)
        seeds = [seed for seed in group.records if other and seed in other.records]
        if other is None or other is group or not seeds:
            made.append(None)
        else:
            made.append(paired_test(group.values(seeds), other.values(seeds)))
    return made


def _finding(groups: list[Group]) -> str:
    """What the table says of the paper's claim, in a sentence a length of code."""
    said = []
    for rival in RIVALS:
        for group, test in zip(groups, _tests(groups, rival), strict=True):
            if group.system != _SUBJECT or test is None or test["value"] is None:
                continue
            sides = "above" if test["value"] > 0 else "below"
            said.append(
                f"{_SUBJECT} is {abs(100 * test['value']):.1f} points of mAP {sides} {rival} at "
                f"{group.code} bits ({_difference(test)}, p {_p(test['p_value'] or 0.0)} before "
                f"correction, {len(group.records)} seeds)"
            )
    return f"**{'; '.join(said)}.**" if said else ""


def _accuracies(group: Group) -> list[list[float]]:
    """The discriminator's accuracy by epoch, a list a seed."""
    histories = [record["training"].get("history", []) for record in group.records.values()]
    return [
        [epoch["adversary_accuracy"] for epoch in history]
        for history in histories
        if history and all(epoch["adversary_accuracy"] is not None for epoch in history)
    ]


def _label(group: Group) -> str:
    return f"{group.system}, {group.code} bits, {group.protocol}"


def _markdown(table: Table) -> str:
    rule = ["---", "---:", *("---:" for _ in table.columns[2:])]
    lines = [table.columns, rule, *table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _interval(summary: OverSeeds) -> str:
    if summary["value"] is None:
        return "-"
    return f"{summary['value']:.4f} [{summary['low']:.4f}, {summary['high']:.4f}]"


def _difference(test: PairedTest) -> str:
    if test["value"] is None or test["low"] is None or test["high"] is None:
        return "-"
    return f"{100 * test['value']:+.1f} [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}]"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def write_report(folder: Path, *, radius: int = 2) -> list[Path]:
    """Render the recorded runs of all suites of a folder into its ``README.md``.

    Args:
        folder: of the suites' TOML files; records are under ``recorded/runs`` in it, and
            plots go to ``recorded/plots``.
        radius: of the ball, in bits, as the suites were run with.

    Returns:
        The files written, the page first.

    Raises:
        SuiteError: a suite or a record cannot be read.
        ArgumentError: the folder refuses the files.
    """
    suites = [load_suite(path, radius=radius) for path in sorted(folder.glob("*.toml"))]
    recorded = [(suite, read_runs(suite, folder / RUNS)) for suite in suites]
    page, plots = render(recorded, _head(folder), PLOTS.as_posix())
    files = {folder / "README.md": page.encode()}
    files.update({folder / PLOTS / name: content for name, content in plots.items()})
    for path, content in files.items():
        write_atomically(path, content)
    for path in (folder / PLOTS).glob("*.png"):
        if path not in files:
            path.unlink()
    return list(files)


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
