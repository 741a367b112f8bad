"""The service against whatever its own OpenAPI document allows, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import make_gallery, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory, encoder_file: Path) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("fuzzed")
    make_gallery(folder, encoder_file).save(folder / "indexes" / "shop.h5")
    with serving(folder) as server:
        yield schemathesis.openapi.from_url(f"{server.client.base_url}/openapi.json")
        assert "Traceback" not in server.log.read_text()


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
OPERATIONS = [
    ("POST", "/api/search"),
    ("GET", "/api/galleries"),
    ("GET", "/api/samples"),
    ("GET", "/api/items/{id}"),
    ("GET", "/api/items/{id}/image"),
    ("GET", "/api/items/{id}/thumbnail"),
    ("GET", "/health"),
    ("GET", "/metrics"),
]


def test_all_of_it_is_fuzzed(schema: Any) -> None:
    found = {
        (operation.ok().method.upper(), operation.ok().path)
        for operation in schema.get_all_operations()
    }
    assert found == set(OPERATIONS)


WITHOUT_ARGUMENTS = {"/api/galleries", "/health", "/metrics"}  # so none can be wrong


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        (method, path, mode)
        for method, path in OPERATIONS
        for mode in schemathesis.GenerationMode
        if mode is schemathesis.GenerationMode.POSITIVE or path not in WITHOUT_ARGUMENTS
    ],
)
def test_nothing_makes_it_fail_or_say_what_it_does_not_document(
    schema: Any, method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    operation = schema[path][method]

    @settings(
        max_examples=25,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def fuzz(case: Any) -> None:
        case.call_and_validate(checks=CHECKS)

    fuzz()
