"""Answers of real shards are noted, and the simulated wait is what probability says."""

from __future__ import annotations

import numpy as np
import pytest

from hashsearch.bench.fan_out import fan_out, shard_answers


def test_every_answer_of_every_shard_is_noted() -> None:
    base = np.random.default_rng(0).integers(0, 256, (50, 5), dtype=np.uint8)
    found = shard_answers(1000, 3, 20, base, n_bits=16)
    assert (found["items"], found["shards"], found["queries"]) == (1000, 3, 20)
    for name in ("clock_us", "processor_us"):
        assert len(found[name]) == 60
        assert min(found[name]) > 0


@pytest.mark.parametrize("shards", [1, 10, 100])
def test_the_slowest_of_many_is_as_likely_as_it_must_be(shards: int) -> None:
    answers = np.random.default_rng(1).permutation(np.arange(1.0, 100_001.0))
    waits = fan_out(answers, shards, network_us=500.0)
    for share in (0.5, 0.99):
        # All are below x with the probability that one is, to the power of their number.
        expected = 100_000 * share ** (1 / shards)
        assert np.quantile(waits, share) - 500 == pytest.approx(expected, rel=0.02)


def test_the_same_seed_draws_the_same() -> None:
    answers = np.arange(1000.0)
    one, again = (fan_out(answers, 5, network_us=0, draws=50, seed=3) for _ in range(2))
    assert one.tolist() == again.tolist()
    assert one.tolist() != fan_out(answers, 5, network_us=0, draws=50, seed=4).tolist()
