"""Every part of a repository against the torch modules of its checkpoint."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from alpamayo_model_repository.contract import MAX_SEED
from tqdm import tqdm

from alpamayo_export import repository as repo
from alpamayo_export.checkpoint import Checkpoint
from alpamayo_export.errors import ExportError
from alpamayo_export.verify.denoiser import verify_denoiser
from alpamayo_export.verify.files import describe, verify_files, verify_record
from alpamayo_export.verify.reasoner import verify_reasoner, verify_weights
from alpamayo_export.verify.report import Row, failed, summary, table
from alpamayo_export.verify.tolerances import EXACT
from alpamayo_export.verify.unicycle import verify_unicycle


def verify(repository: Path, checkpoint: Checkpoint, seed: int) -> list[Row]:
    """Runs each exported part, and what it was exported from, on the same random inputs.

    On the GPU if torch sees one, in the repository's precision. What cannot be loaded or run is a row that fails.

    Args:
        repository: exported from `checkpoint`.
        checkpoint: whose modules say what is right.
        seed: of the inputs; each part has a stream of its own.

    Raises:
        ExportError: it is no repository.
    """
    described = describe(repository)
    target = described.target
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reasoner, denoiser, unicycle = (repository / it / "1" for it in (repo.REASONER, repo.DENOISER, repo.UNICYCLE))
    streams = iter(np.random.default_rng(seed).spawn(3))
    parts: dict[str, Iterator[Row]] = {
        "recorded files": verify_record(repository),
        "files": verify_files(repository, checkpoint, described),
        "reasoner: weights": verify_weights(reasoner, checkpoint),
        "reasoner": verify_reasoner(reasoner, checkpoint, target, next(streams), device),
        "denoiser": verify_denoiser(denoiser, checkpoint, target, next(streams), device),
        "unicycle": verify_unicycle(unicycle, checkpoint, target, next(streams)),
    }
    rows = []
    for part, compared in tqdm(parts.items(), desc="verifying", unit="part", delay=2):
        rows += list(_guarded(part, compared))
    return rows


def _guarded(part: str, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    except Exception as error:  # whatever a broken file makes of the libraries that read it
        said = " ".join(str(error).split())
        yield Row(part, float("inf"), EXACT, f"it does not run: {type(error).__name__}: {said[:300]}")


def draw_seed() -> int:
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0] % MAX_SEED)


def verified(checkpoint: Checkpoint, seed: int) -> Callable[[Path], None]:
    """A check for `export`: prints the table to stderr, and raises ExportError if a row of it fails."""

    def check(repository: Path) -> None:
        rows = verify(repository, checkpoint, seed)
        print(f"{table(rows)}\n{summary(rows)} (seed {seed})", file=sys.stderr)
        if wrong := failed(rows):
            raise ExportError(
                f"the exported repository does not compute what its checkpoint does: {wrong[0].part} is off by "
                f"{wrong[0].error:.3g}, at most {wrong[0].tolerance:.3g} is right; nothing was written "
                "(--no-verify writes it all the same)"
            )

    return check
