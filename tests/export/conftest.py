from pathlib import Path

import pytest
from alpamayo_export.limits import Limits
from checkpoint_copy import CheckpointCopy


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> CheckpointCopy:
    return CheckpointCopy.make(checkpoint, tmp_path)


@pytest.fixture(scope="session")
def limits() -> Limits:
    return Limits()
