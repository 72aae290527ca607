"""What only a GPU can show. Without one these tests are skipped, and say so."""

import pytest
import torch
from alpamayo_export.checkpoint import open_checkpoint
from alpamayo_export.export import Options, export
from alpamayo_export.limits import Limits

NO_GPU = "there is no GPU here: nothing of the GPU path runs without one"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "/tests/gpu/" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason=NO_GPU))


@pytest.fixture(scope="session")
def exported(checkpoint, tmp_path_factory):
    """(precision, runner) to the golden checkpoint, exported so for this GPU."""

    def make(precision, runner):
        output = tmp_path_factory.getbasetemp() / f"gpu-{precision}-{runner}"
        if not output.exists():
            export(open_checkpoint(str(checkpoint)), output, Options(precision, runner, Limits()))
        return output

    return make
