from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tiny_encoder import encoder_bytes

if TYPE_CHECKING:
    from pathlib import Path

# A machine that is busy with something else must not fail a test.
settings.register_profile("hashsearch", deadline=None)
settings.load_profile("hashsearch")


@pytest.fixture(scope="session")
def encoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder whose bits mean nothing, made in no time."""
    path = tmp_path_factory.mktemp("encoders") / "tiny.onnx"
    path.write_bytes(encoder_bytes())
    return path
