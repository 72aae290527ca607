"""Fixtures for all tests. Nothing here needs a GPU, a hub, or weights beyond `tests/golden`."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alpamayo_model_repository.on_path  # noqa: F401  # for the stages' modules
import pytest

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).resolve().parent / "golden"
CHECKPOINT = GOLDEN / "checkpoint"
CASES = ("greedy", "sampled", "no_stop_token")


@pytest.fixture(scope="session")
def checkpoint() -> Path:
    """The golden checkpoint. Not to be written to."""
    return CHECKPOINT


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden checkpoint exported in float32, with the default limits. Not to be written to."""
    from alpamayo_export.checkpoint import open_checkpoint
    from alpamayo_export.export import Options, export
    from alpamayo_export.limits import Limits

    output = tmp_path_factory.mktemp("exported") / "repository"
    limits = Limits()
    export(open_checkpoint(str(CHECKPOINT)), output, Options("fp32", "onnxruntime", limits))
    return output


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights. Not to be written to."""
    from alpamayo_export.random_checkpoint import write_random_checkpoint

    folder = tmp_path_factory.mktemp("made") / "tiny"
    write_random_checkpoint(folder, "tiny")
    return folder


@pytest.fixture(scope="session")
def tiny_repository(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny` exported in float32, with the default limits. Not to be written to."""
    from alpamayo_export.checkpoint import open_checkpoint
    from alpamayo_export.export import Options, export
    from alpamayo_export.limits import Limits

    output = tmp_path_factory.mktemp("exported") / "repository"
    export(open_checkpoint(str(tiny)), output, Options("fp32", "onnxruntime", Limits()))
    return output


@dataclass(frozen=True)
class Golden:
    """What the reference computed: see golden/README.md."""

    name: str
    meta: dict[str, Any]
    vectors: dict[str, Any]  # torch tensors

    def __getitem__(self, tensor: str) -> Any:
        return self.vectors[tensor]


@pytest.fixture(scope="session")
def golden_case() -> Callable[[str], Golden]:
    """A golden case by its name."""
    from safetensors.torch import load_file

    @functools.cache
    def load(name: str) -> Golden:
        meta = json.loads((GOLDEN / name / "meta.json").read_text())
        return Golden(name, meta, load_file(GOLDEN / name / "vectors.safetensors"))

    return load


@pytest.fixture(scope="session", params=CASES)
def golden(request: pytest.FixtureRequest, golden_case: Callable[[str], Golden]) -> Golden:
    """One golden case after the other."""
    return golden_case(request.param)
