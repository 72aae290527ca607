"""How far an exported part may be from the torch modules: the one table, by the repository's precision.

In fp32 what is right differs by a quarter of these at most, 36 layers deep, and noise of a thousandth on any one weight
matrix shows by more than them. In bf16 both sides are rounded, each in its own order, which comes to half of these;
weights are compared bit by bit besides.
"""

from dataclasses import dataclass
from types import MappingProxyType

EXACT = 0.0
"""Of counts: files, weights, tokens that differ."""


@dataclass(frozen=True)
class Tolerances:
    """Relative, as `differences.relative_error` measures, unless said otherwise."""

    kv_cache: float
    logits: float
    velocity: float
    loop: float  # the denoiser's actions against the sum of its own velocities
    patches: float  # levels of 255: Pillow, which transformers resizes with here, rounds otherwise than torch
    trajectory: float  # computed in float64, answered in float32


TOLERANCES = MappingProxyType(
    {
        "fp32": Tolerances(kv_cache=5e-5, logits=5e-5, velocity=3e-5, loop=1e-5, patches=3, trajectory=1e-6),
        "bf16": Tolerances(kv_cache=0.15, logits=0.15, velocity=0.05, loop=1e-5, patches=3, trajectory=1e-6),
    }
)
