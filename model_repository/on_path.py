"""Importing this makes the stages' modules importable outside of Triton, as `reasoner.*`, `denoiser.*`, `unicycle`.

They lie beside their `model.py`; the shared ones lie here, one level above, until an export copies them.
"""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), *(str(stage) for stage in sorted(_HERE.glob("alpamayo_*/1")))]
