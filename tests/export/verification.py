"""Parts of a repository compared with its checkpoint, one at a time, and ways to spoil them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.verify.denoiser import verify_denoiser
from alpamayo_export.verify.files import describe, verify_files
from alpamayo_export.verify.reasoner import verify_reasoner
from alpamayo_export.verify.report import Row, failed
from alpamayo_export.verify.unicycle import verify_unicycle
from checkpoint_copy import edited_json

SEED = 0
CPU = torch.device("cpu")
REASONER, DENOISER, UNICYCLE = (f"alpamayo_{stage}/1" for stage in ("reasoner", "denoiser", "unicycle"))


def by_part(rows: Iterator[Row]) -> dict[str, Row]:
    return {row.part: row for row in rows}


def of_files(repository: Path, checkpoint: Checkpoint) -> dict[str, Row]:
    return by_part(verify_files(repository, checkpoint, describe(repository)))


def of_reasoner(repository: Path, checkpoint: Checkpoint) -> dict[str, Row]:
    target = describe(repository).target
    return by_part(verify_reasoner(repository / REASONER, checkpoint, target, np.random.default_rng(SEED), CPU))


def of_denoiser(repository: Path, checkpoint: Checkpoint) -> dict[str, Row]:
    target = describe(repository).target
    return by_part(verify_denoiser(repository / DENOISER, checkpoint, target, np.random.default_rng(SEED), CPU))


def of_unicycle(repository: Path, checkpoint: Checkpoint) -> dict[str, Row]:
    target = describe(repository).target
    return by_part(verify_unicycle(repository / UNICYCLE, checkpoint, target, np.random.default_rng(SEED)))


def failures(rows: dict[str, Row]) -> set[str]:
    return {row.part for row in failed(list(rows.values()))}


def edit(**values: Any) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        with edited_json(path) as content:
            assert values.keys() <= content.keys()
            content.update(values)

    return apply


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return apply


def disturb(tensors: dict[str, torch.Tensor], name: str) -> None:
    """Noise of a thousandth."""
    noise = torch.randn(tensors[name].shape, generator=torch.Generator().manual_seed(1))
    tensors[name] += 1e-3 * tensors[name].std() * noise
