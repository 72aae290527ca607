"""What only a GPU can show. Without one these tests are skipped, and say so."""

import pytest
import torch

NO_GPU = "there is no GPU here: nothing of the GPU path runs without one"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "/tests/gpu/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=NO_GPU))
