"""Recorded runs of suites as tables, plots and one page of Markdown."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashsearch.bench.comparison import SAME_ITEM, adjusted, differences, group_runs
from hashsearch.bench.protocols import PROTOCOLS
from hashsearch.bench.report_plots import discriminators, of_systems
from hashsearch.bench.suite import load_suite, read_runs
from hashsearch.bench.tables import Table, interval
from hashsearch.datasets.duplicates import duplicates
from hashsearch.errors import SuiteError
from hashsearch.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashsearch.bench.comparison import Difference, Differences, Group
    from hashsearch.bench.suite import Run, Suite
    from hashsearch.datasets.image_set import ImageSet

__all__ = [
    "RUNS",
    "check_report",
    "record_duplicates",
    "render",
    "report_tables",
    "unclaimed_records",
    "write_report",
]

RUNS, PLOTS = Path("recorded/runs"), Path("recorded/plots")
"""Where records and plots lie, from the folder of the suites."""

DUPLICATES = Path("recorded/duplicates.json")

_SUBJECTS = ("adversarial", "ladder")  # whose differences a section begins with
_RIVAL = "dch"  # whom the paper claims to beat
_OVERVIEW = (
    *("system", "suite", "protocol", "network", "bits", "seeds"),
    *("mAP", "recall in the ball"),
)
_MARK = "# Benchmarks\n\nRendered from recorded runs by "  # how every report begins
_HEAD = f"""{_MARK}`hashsearch bench --suite FILE`, which runs what a suite
lists and is not recorded yet (with `--render`: nothing); never edited by hand. A row is made
again by deleting its records under `recorded/runs`, and in the cache folder the encoders that
they name under `cached_as`, and giving that command."""
_TOLERANCE = 8.0  # grey levels


@dataclass(frozen=True)
class _Section:
    """What the report says of one protocol: tables, their groups, and a finding or nothing."""

    groups: list[Group]
    tables: list[Table]
    finding: str
    tests: Differences


def _sections(suite: Suite, records: Mapping[Run, dict[str, Any]]) -> dict[str, _Section]:
    """By protocol, of the runs that are recorded."""
    groups = group_runs(records)
    made = {}
    for name, protocol in PROTOCOLS.items():
        chosen = [group for group in groups if group.protocol == name]
        if not chosen:
            continue
        rule = None if protocol.neighbours is None else protocol.neighbours.name
        # A test takes a while: the tables and the finding share them.
        if rule == "pairs":
            made[name] = _Section(chosen, [_judged(name, chosen)], "", {})
        elif rule == "same-item":
            tests = differences(chosen, suite.baselines, SAME_ITEM)
            made[name] = _Section(chosen, [_same_item(name, chosen, tests)], "", tests)
        else:
            tests = differences(chosen, suite.baselines)
            radius = suite.runs[0].radius  # one for all of a suite
            tables = [_ranking(name, chosen, tests, radius)]
            if any(map(any, tests.values())):
                tables.append(_ball(name, chosen, tests, radius))
            made[name] = _Section(chosen, tables, _finding(chosen, tests, radius), tests)
    return made


def report_tables(suite: Suite, records: Mapping[Run, dict[str, Any]]) -> list[Table]:
    """The tables of each protocol, of the runs that are recorded."""
    return [table for section in _sections(suite, records).values() for table in section.tables]


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
    sections = [_sections(suite, records) for suite, records in suites]
    parts = [head.strip(), *_overview([suite for suite, _ in suites], sections)]
    plots: dict[str, bytes] = {}
    for (suite, records), of_suite in zip(suites, sections, strict=True):
        parts += [f"## {suite.title}", suite.text, _progress(suite, records)]
        for protocol, section in of_suite.items():
            parts += [f"### {protocol}: {PROTOCOLS[protocol].says}", section.finding]
            for table in section.tables:
                parts += [_markdown(table), table.note]
            if section.tests:  # judged pairs have no figure that systems are compared by
                name = f"{suite.name}-{protocol}.png"
                plots[name] = of_systems(section.groups, protocol)
                parts.append(f"![{protocol}]({plots_folder}/{name})")
        judged = {  # protocols of one training share it
            (group.system, group.code): group
            for group in group_runs(records)
            if any(_accuracies(group))
        }
        if judged:
            name = f"{suite.name}-discriminator.png"
            shown = list(judged.values())
            named = dict(zip(_labels(shown), shown, strict=True))
            plots[name] = discriminators(
                {label: _accuracies(group) for label, group in named.items()},
                {
                    label: group.plan["epochs"]
                    for label, group in named.items()
                    if group.plan["settle_epochs"]
                },
            )
            parts.append("### How often the discriminator is right")
            parts.append(f"![Accuracy of the discriminator]({plots_folder}/{name})")
    return "\n\n".join(part for part in parts if part) + "\n", plots


def _overview(suites: Sequence[Suite], sections: Sequence[Mapping[str, _Section]]) -> list[str]:
    """Of all suites, what the paper claims: its objective, and ours, less the rival's."""
    parts: list[str] = []
    for subject in _SUBJECTS:
        found = [
            (suite, protocol, group, test, p_value)
            for suite, of_suite in zip(suites, sections, strict=True)
            for protocol, section in of_suite.items()
            if section.tests and SAME_ITEM[0] not in section.groups[0].figures
            for group, test, p_value in _against_rival(section)
            if group.system.partition(",")[0] == subject and test is not None
            # Of another network, its difference is not the objective's.
            if group.plan.get("backbone") == _network_of(_RIVAL, section.groups)
        ]
        rows = tuple(
            (
                group.system,
                suite.title,
                protocol,
                group.plan.get("backbone", "-"),
                group.code,
                str(test.seeds),
                _told(test.first, p_value),
                "-" if test.second is None else _told(test.second),
            )
            for suite, protocol, group, test, p_value in found
        )
        if rows:
            parts += [f"### {subject} less {_RIVAL}", _markdown(Table("", _OVERVIEW, rows, ""))]
    if parts:
        note = (
            "In points of 100, on the same queries and seeds, with 95 % intervals; p, of mAP, as "
            "in the suite: Holm-corrected over all its systems against the rival. Where no rival "
            "has the same length of code, it is the one of the nearest; where the rival has "
            "another network, the row is left out here. What is not called otherwise is trained "
            "by its own defaults. "
            "Those of adversarial change its Hamming loss in the settling epochs, which draws "
            "neighbours into the ball; what its terms do to it, the rows that are not settled and "
            "the ablation tell. Each suite below says what was trained and how."
        )
        parts = [f"## Do they rank better than {_RIVAL}?", *parts, note]
    return parts


def _against_rival(
    section: _Section,
) -> Iterator[tuple[Group, Difference | None, float | None]]:
    """Each group of a table, how it differs from the rival, and p as the table has it."""
    column = section.tests.get(_RIVAL, [])
    return zip(section.groups, column, adjusted(column), strict=False)


def _network_of(system: str, groups: Sequence[Group]) -> str | None:
    return next((group.plan.get("backbone") for group in groups if group.system == system), None)


def _progress(suite: Suite, records: Mapping[Run, dict[str, Any]]) -> str:
    done = f"{len(records)} of {len(suite.runs)} runs are recorded"
    ways: dict[str, list[str]] = {}
    for run, record in records.items():
        if "device" in record["training"]:
            ways.setdefault(_way(record), []).append(run.system)
    said = sorted(ways)
    if len(ways) > 1:
        said = [f"{way}: {', '.join(dict.fromkeys(ways[way]))}" for way in said]
    where = f", trained on {'; '.join(said)}" if said else ""
    copies = max((record["result"].get("copies", 0) for record in records.values()), default=0)
    if copies:
        where += f"; photos measured with the very content of one that trained: {copies:,}"
    data = suite.photos
    of = "" if data is None else f" of {data.name} (neighbours: {data.rule})"
    return f"`{suite.name}.toml`: {done}{of}{where}."


def _way(record: Mapping[str, Any]) -> str:
    """What training seconds depend on."""
    training = record["training"]
    machine, threads = training.get("machine", record["machine"]), training["threads"]
    network = (record["plan"] or {}).get("backbone")
    where = f"{machine['cores']} cores of {machine['cpu']}"
    where = f"{network} on {where}" if network else where
    with_threads = f"{threads} thread{'s' * (threads > 1)}"
    return f"{where} ({training['device']}, {training['precision']}, {with_threads})"


def _ranking(protocol: str, groups: list[Group], tests: Differences, radius: int) -> Table:
    against = _against_each(tests)
    rows = tuple(
        (
            group.system,
            group.code,
            str(len(group.records)),
            interval(group.summary()),
            interval(group.summary("precision_within")),
            interval(group.summary("recall_within")),
            _share(group.mean_of("empty_balls")),
            *(column[number] for column in against.values()),
            "-" if group.seconds is None else f"{group.seconds:,.0f}",
        )
        for number, group in enumerate(groups)
    )
    columns = (
        *("system", "bits", "seeds", "mAP [95 %]"),
        *(f"precision within {radius} [95 %]", f"recall within {radius} [95 %]"),
        "empty balls",
        *(f"mAP less {name}'s" for name in against),
        "training s",
    )
    return Table(f"{protocol}: {PROTOCOLS[protocol].says}", columns, rows, _NOTE)


def _ball(protocol: str, groups: list[Group], tests: Differences, radius: int) -> Table:
    """How many more of the neighbours lie in the ball."""
    shown = [name for name in tests if any(tests[name])]
    rows = tuple(
        (
            group.system,
            group.code,
            *(
                ""
                if (test := tests[name][number]) is None or not test.second
                else _told(test.second)
                for name in shown
            ),
        )
        for number, group in enumerate(groups)
    )
    columns = ("system", "bits", *(f"recall within {radius} less {name}'s" for name in shown))
    return Table(f"{protocol}: recall within {radius}, compared", columns, rows, "")


def _against_each(tests: Differences) -> dict[str, list[str]]:
    """By baseline that anything differs from: the first figure of each group less that one's."""
    told = {}
    for name, column in tests.items():
        if any(column):
            told[name] = [
                "" if test is None else _told(test.first, p_value)
                for test, p_value in zip(column, adjusted(column), strict=True)
            ]
    return told


_INTERVALS = (
    "Intervals are of 95 %, and cover queries and trainings where there are several seeds, else "
    "queries alone."
)
_NOTE = (
    f"{_INTERVALS} Differences: on the same queries and seeds, in points of 100, with intervals "
    "of the same kind, from the rival of the same length of code, or the nearest; p: by the same "
    "model (one seed: a sign-flip test over the queries), Holm-corrected over its column. "
    "Intervals are not corrected."
)


def _same_item(protocol: str, groups: list[Group], tests: Differences) -> Table:
    against = _against_each(tests)
    rows = tuple(
        (
            group.system,
            group.code,
            str(len(group.records)),
            interval(group.summary("recall_at_1")),
            interval(group.summary("recall_at_10")),
            *(column[number] for column in against.values()),
        )
        for number, group in enumerate(groups)
    )
    columns = (
        *("system", "bits", "seeds", "recall@1 [95 %]", "recall@10 [95 %]"),
        *(f"recall@10 less {name}'s" for name in against),
    )
    return Table(f"{protocol}: {PROTOCOLS[protocol].says}", columns, rows, _NOTE)


def _judged(protocol: str, groups: list[Group]) -> Table:
    """Of judged pairs: means over the seeds, and the widest of their intervals."""
    results = [[record["result"] for record in group.records.values()] for group in groups]
    radius = results[0][0]["radius"]
    rows = tuple(
        (
            group.system,
            group.code,
            str(len(of_seeds)),
            interval(_widest([result["relevant_outside"] for result in of_seeds])),
            interval(_widest([result["irrelevant_inside"] for result in of_seeds])),
        )
        for group, of_seeds in zip(groups, results, strict=True)
    )
    first = results[0][0]
    columns = (
        *("system", "bits", "seeds", f"relevant pairs beyond {radius} [95 %]"),
        f"irrelevant pairs within {radius} [95 %]",
    )
    note = (
        f"Of {first['relevant']:,} relevant and {first['irrelevant']:,} irrelevant pairs of "
        f"{first['queries']:,} queries in {first['file']}. Intervals are over queries; of several "
        "seeds it is the widest."
    )
    return Table(f"{protocol}: {PROTOCOLS[protocol].says}", columns, rows, note)


def _widest(shares: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Mean of the values that are known, least low and greatest high."""
    known = {
        end: [share[end] for share in shares if share[end] is not None]
        for end in ("value", "low", "high")
    }
    return {
        "value": sum(known["value"]) / len(known["value"]) if known["value"] else None,
        "low": min(known["low"], default=None),
        "high": max(known["high"], default=None),
    }


def _finding(groups: list[Group], tests: Differences, radius: int) -> str:
    """What the table says of the paper's objective and of ours, a line a rival."""
    systems = dict.fromkeys(group.system for group in groups)
    subjects = [name for name in systems if name.partition(",")[0] in _SUBJECTS]
    lines = []
    for subject, (baseline, column) in itertools.product(subjects, tests.items()):
        for group, test, p_value in zip(groups, column, adjusted(column), strict=True):
            if group.system != subject or test is None:
                continue
            text = f"mAP {_told(test.first, p_value)}"
            if test.second is not None:
                text += f"; recall within {radius} {_told(test.second)}"
            seeds = f"{test.seeds} seed{'s' * (test.seeds > 1)}"
            lines.append(f"- **{subject}** less **{baseline}**, {group.code} bits, {seeds}: {text}")
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
    """The systems; with the length of the code where one stands there with several."""
    systems = [group.system for group in groups]
    if len({*systems}) == len(systems):
        return systems
    return [f"{group.system}, {group.code} bits" for group in groups]


def _markdown(table: Table) -> str:
    rule = ["---", "---:", *("---:" for _ in table.columns[2:])]
    lines = [table.columns, rule, *table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _told(difference: Mapping[str, Any], p_value: float | None = None) -> str:
    """A difference in points of 100, with its interval and its p, where they are known."""
    value, low, high = (difference[name] for name in ("value", "low", "high"))
    text = f"{100 * value:+.1f}"
    if low is not None:
        text += f" [{100 * low:+.1f}, {100 * high:+.1f}]"
    if p_value is not None:
        text += f", p {'< 0.001' if p_value < 0.001 else f'{p_value:.3f}'}"
    return text


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _suites_of(folder: Path) -> list[Suite]:
    suites = [load_suite(path) for path in sorted(folder.glob("*.toml"))]
    return sorted(suites, key=lambda suite: suite.order)


def check_report(folder: Path) -> None:
    """Before hours of training, not after: that a report can be written into the folder.

    Args:
        folder: of the suites.

    Raises:
        SuiteError: some TOML file in it is no suite, or its ``README.md`` is not a report.
    """
    _suites_of(folder)
    page = folder / "README.md"
    if page.is_file() and not page.read_text(encoding="utf-8").startswith(_MARK):
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
            f"Of the {found['test_images']:,} test images, {found['exact']} have an exact copy "
            f"among the training images, and {found['near']} others have one that differs by at "
            f"most {found['tolerance']:g} grey levels (root mean square). All are left in."
        )
    return "\n\n".join(lines)
