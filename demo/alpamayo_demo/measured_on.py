"""What a result was measured on, told as the benchmarks tell it."""

import sys

from alpamayo_demo.served import ROOT

sys.path.append(str(ROOT / "benchmarks"))
from machine import describe, provenance

__all__ = ["describe", "provenance"]
