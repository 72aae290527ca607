"""Fixtures for all tests. Nothing here needs a GPU, a hub, or weights beyond `tests/golden`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = Path(__file__).resolve().parent / "golden"
CHECKPOINT = GOLDEN / "checkpoint"

# A stage's modules lie beside its model.py; the shared ones one level above the models, until an export copies them.
STAGES = ("alpamayo_reasoner", "alpamayo_denoiser", "alpamayo_unicycle")
sys.path[:0] = [str(ROOT / "model_repository"), *(str(ROOT / "model_repository" / stage / "1") for stage in STAGES)]
