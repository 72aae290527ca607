import shutil
from pathlib import Path

import pytest
from alpamayo_export.checkpoint import Checkpoint, open_checkpoint
from alpamayo_export.limits import Limits
from checkpoint_copy import CheckpointCopy


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> CheckpointCopy:
    return CheckpointCopy.make(checkpoint, tmp_path)


@pytest.fixture(scope="session")
def limits() -> Limits:
    return Limits()


@pytest.fixture(scope="session")
def opened(checkpoint) -> Checkpoint:
    return open_checkpoint(str(checkpoint))


@pytest.fixture
def spoilt(repository, tmp_path) -> Path:
    """A copy of the exported repository, to be spoilt."""
    return Path(shutil.copytree(repository, tmp_path / "repository", ignore=shutil.ignore_patterns("__pycache__")))
