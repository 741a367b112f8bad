"""``hashsearch serve --ray``: the service over shards that lie with processes of a Ray cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from serving import serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx

    from hashsearch.cluster.local import LocalCluster

pytestmark = pytest.mark.slow

NEAR = {"id": "dark/3.png", "k": "9", "radius": "3"}
LIGHT = {**NEAR, "label": "light"}


def search(client: httpx.Client, form: dict[str, str]) -> httpx.Response:
    return client.post("/api/search", files={name: (None, form[name]) for name in form})


def found(client: httpx.Client, form: dict[str, str]) -> dict[str, Any]:
    answer = search(client, form)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return {name: document[name] for name in document if name not in {"timing_ms", "generation"}}


def until(ask: Callable[[], httpx.Response], text: str) -> httpx.Response:
    """The first of a few answers that says this, else the last."""
    for _ in range(10):
        answer = ask()
        if text in answer.text:
            break
    return answer


def test_it_answers_as_over_one_file_or_says_what_is_missing(
    shop: Path, run: Any, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("shard", "shop", "--shards", "2").status == 0
    with serving(shop, "shop") as server:
        expected = [found(server.client, form) for form in (NEAR, LIGHT)]
    with serving(shop, "shop.shards") as server:
        assert [found(server.client, form) for form in (NEAR, LIGHT)] == expected
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    options = ["shop.shards", "--ray", "--timeout", "6"]
    with serving(shop, *options) as whole, serving(shop, *options, "--partial-ok") as partial:
        for server in (whole, partial):
            assert [found(server.client, form) for form in (NEAR, LIGHT)] == expected
            thumbnail = expected[0]["matches"][0]["thumbnail"]
            assert server.client.get(thumbnail).status_code == 200
        lost = sorted((shop / "indexes" / "shop.shards").glob("*.h5"))[1]
        lost.rename(shop / "away")
        cluster.kill_actors()
        # The other shard, whose process was killed too, takes a while to be back.
        refused = until(lambda: search(whole.client, NEAR), "lacks its shard")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "5"
        assert f"no answer of shard {lost.name} within 3 seconds" in refused.json()["detail"]
        answer = until(lambda: search(partial.client, NEAR), '"matches"').json()
        assert answer["missing_shards"] == [lost.name]
        assert answer["histogram"] == expected[0]["histogram"]
        assert 0 < len(answer["matches"]) <= 9
        (shop / "away").rename(lost)
