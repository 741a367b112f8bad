"""Recorded runs of one protocol, seed by seed: what they measure, and how two systems differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from scipy.stats import ttest_1samp

from hashsearch.bench.statistics import holm, over_seeds, paired_difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashsearch.bench.statistics import Interval, PairedDifference
    from hashsearch.bench.suite import Run

__all__ = [
    "RANKING",
    "SAME_ITEM",
    "Difference",
    "Differences",
    "Group",
    "adjusted",
    "differences",
    "group_runs",
    "summarise",
]

RANKING = ("average_precision", "recall_within")
SAME_ITEM = ("recall_at_10", "recall_at_1")
"""The figures by which systems are compared, where neighbours are of one type, or one item."""


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
    def plan(self) -> dict[str, Any]:
        """What was trained, by its first seed; empty where nothing was."""
        return next(iter(self.records.values()))["plan"] or {}

    @property
    def seconds(self) -> float | None:
        """Mean time of a training; None where nothing is trained."""
        taken = [
            sum(epoch["seconds"] for epoch in record["training"].get("history", []))
            for record in self.records.values()
        ]
        return float(np.mean(taken)) if any(taken) else None

    @property
    def figures(self) -> tuple[str, ...]:
        """What is measured of each query."""
        return tuple(next(iter(self.records.values()))["result"]["per_query"])

    def queries(self, seed: int) -> str | None:
        """A digest of what a seed asked; None if there is no such run."""
        return self.records[seed]["queries_sha256"] if seed in self.records else None

    @property
    def same_queries(self) -> bool:
        """Whether every seed asked the same queries; that of unseen types chooses them."""
        return len({record["queries_sha256"] for record in self.records.values()}) == 1

    def values(
        self, figure: str = "average_precision", seeds: Sequence[int] | None = None
    ) -> npt.NDArray[np.float64] | None:
        """A figure of each query.

        Args:
            figure: a key of ``per_query`` in the results.
            seeds: of the runs; all if left out.

        Returns:
            ``float64 (seeds, q)``, NaN where undefined; None where it is not measured.
        """
        found = [
            self.records[seed]["result"]["per_query"].get(figure)
            for seed in (self.records if seeds is None else seeds)
        ]
        return None if None in found else np.array(found, dtype=np.float64)

    def summary(self, figure: str = "average_precision") -> Interval:
        """Mean of a figure with its interval; see :func:`summarise`."""
        values = self.values(figure)
        if values is None:
            return {"value": None, "low": None, "high": None}
        return summarise(values, same_queries=self.same_queries)

    def mean_of(self, figure: str) -> float | None:
        """Mean over the seeds of a bare figure in the results; None where there is none."""
        values = [record["result"].get(figure) for record in self.records.values()]
        return None if None in values else float(np.mean(values))


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
class Difference:
    """Between a group and a baseline, over the seeds that both have.

    Attributes:
        seeds: how many.
        first: of the first figure that was asked for. The interval and p are those of
            :func:`~hashsearch.bench.statistics.paired_difference`; where each seed has queries
            of its own, of Student's t over the seeds.
        second: of the second, likewise; None where it is not measured.
    """

    seeds: int
    first: PairedDifference
    second: PairedDifference | None


Differences: TypeAlias = "dict[str, list[Difference | None]]"
"""By baseline: each group of a table against it, None where there is nothing to compare."""


def differences(
    groups: Sequence[Group], baselines: Sequence[str], figures: tuple[str, str] = RANKING
) -> Differences:
    """Each group against each baseline of the nearest code.

    Args:
        groups: of one protocol.
        baselines: names of systems; those that are not among the groups differ from nothing.
        figures: keys of ``per_query`` in the results.
    """
    return {
        name: [_against(group, groups, name, figures) for group in groups] for name in baselines
    }


def _against(
    group: Group, groups: Sequence[Group], baseline: str, figures: tuple[str, str]
) -> Difference | None:
    """A group against the baseline of the nearest code, over the seeds that both have."""
    others = [other for other in groups if other.system == baseline]
    if not others:
        return None
    # The very code, else the nearest number of semantic bits; pixels have none.
    other = min(others, key=lambda one: (one.code != group.code, abs(one.n_bits - group.n_bits)))
    if other is group:
        return None
    seeds = [seed for seed in group.records if group.queries(seed) == other.queries(seed)]
    first, second = (_differ(group, other, figure, seeds) for figure in figures)
    return None if first is None else Difference(len(seeds), first, second)


def _differ(
    group: Group, other: Group, figure: str, seeds: Sequence[int]
) -> PairedDifference | None:
    """A figure of one group less that of the other; None where there is nothing to compare."""
    ours, theirs = group.values(figure, seeds), other.values(figure, seeds)
    if not seeds or ours is None or theirs is None:
        return None
    if group.same_queries or len(seeds) == 1:
        found = paired_difference(ours, theirs)
    else:
        means = np.nanmean(ours - theirs, axis=1)
        p_value = float(ttest_1samp(means, 0.0).pvalue)
        found = {**_over_means(means), "p_value": p_value}
    if found["value"] is None:
        return None
    # Shares differ by 1 at most, whatever Student's t of few seeds allows.
    low, high = found["low"], found["high"]
    return {
        **found,
        "low": None if low is None else max(low, -1.0),
        "high": None if high is None else min(high, 1.0),
    }


def summarise(values: npt.NDArray[np.float64], *, same_queries: bool) -> Interval:
    """Mean and 95 % interval of shares, ``float64 (seeds, q)``.

    Args:
        values: one row a seed.
        same_queries: whether a column is one query. Where each seed has queries of its own,
            its mean is all that others can be compared by: Student's t over the means.

    Returns:
        ``value``, ``low`` and ``high``; no end lies outside 0 to 1.
    """
    if same_queries or len(values) == 1:
        found = over_seeds(values)
        value, low, high = found["value"], found["low"], found["high"]
    else:
        means = _over_means(np.nanmean(values, axis=1))
        value, low, high = means["value"], means["low"], means["high"]
    return {
        "value": value,
        "low": None if low is None else max(low, 0.0),
        "high": None if high is None else min(high, 1.0),
    }


def _over_means(means: npt.NDArray[np.float64]) -> Interval:
    """Mean of some seeds' figures with Student's t interval."""
    mean = float(means.mean())
    half = float(stdtrit(len(means) - 1, 0.975) * means.std(ddof=1) / np.sqrt(len(means)))
    return {"value": mean, "low": mean - half, "high": mean + half}


def adjusted(tests: Sequence[Difference | None]) -> list[float | None]:
    """The p of each first figure, Holm-corrected over all of them; None where there is none."""
    known = [test.first["p_value"] for test in tests if test is not None]
    corrected = iter(holm([p_value for p_value in known if p_value is not None]))
    return [
        None if test is None or test.first["p_value"] is None else next(corrected) for test in tests
    ]
