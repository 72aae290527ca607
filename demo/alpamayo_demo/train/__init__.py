"""Teaches a small checkpoint of the released architecture to drive the road."""

import sys
from pathlib import Path

# The stages' own modules, which are trained for: `reasoner.*` and `denoiser.*`.
_REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"
_STAGES = ("alpamayo_reasoner", "alpamayo_denoiser")
sys.path[:0] = [str(_REPOSITORY), *(str(_REPOSITORY / stage / "1") for stage in _STAGES)]
