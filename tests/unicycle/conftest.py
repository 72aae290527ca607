"""The golden checkpoint's action space, and histories of known motion."""

from pathlib import Path

import pytest
from unicycle import UnicycleSettings


@pytest.fixture(scope="session")
def space(repository: Path) -> UnicycleSettings:
    return UnicycleSettings.load(repository / "alpamayo_unicycle" / "1")
