"""One pass of torch's antialiased bicubic kernel for uint8, exactly: its sums of integers as products of matrices."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

A = -0.5  # the cubic's parameter
HALF_WIDTH = 2  # of the filter, in pixels of the coarser grid
WEIGHT_BITS, MAX_PRECISION = 15, 22  # of a weight without its sign; of its part behind the point
MIDDLE = 128  # is taken off all pixels: it halves the sums
BLOCK = 8  # outputs of one product: more would multiply more zeros, fewer would be more calls
EXACT: dict[type[np.floating[Any]], int] = {np.float32: 2**24, np.float64: 2**53}
"""Integers up to here are numbers of that type, and so are all sums of them that stay below, in whatever order."""


@dataclass(frozen=True, eq=False)
class Block:
    """Neighbouring outputs, and the inputs that all of them together come from."""

    outputs: slice
    inputs: slice
    weights: NDArray[np.floating[Any]]
    """(outputs, inputs) integers: times 2^precision."""
    rounding: NDArray[np.floating[Any]]
    """(outputs, 1) integers: a half times 2^precision, and what MIDDLE makes of weights that do not add up to 1."""


@dataclass(frozen=True, eq=False)
class Pass:
    """From lines of one length to lines of another."""

    blocks: list[Block]
    precision: int
    kind: type[np.floating[Any]]

    def __call__(self, pixels: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """(old, n) integers from -128 to 127 to (new, n) such."""
        pixels = pixels.astype(self.kind, copy=False)
        made = np.empty((self.blocks[-1].outputs.stop, pixels.shape[1]), self.kind)
        for block in self.blocks:
            sums = np.matmul(block.weights, pixels[block.inputs], out=made[block.outputs])
            sums += block.rounding
            sums *= 0.5**self.precision  # with floor: the kernel's shift to the right
            np.clip(np.floor(sums, out=sums), -MIDDLE, MIDDLE - 1, out=sums)
        return made


@lru_cache(maxsize=32)
def between(old: int, new: int) -> Pass:
    """The pass from lines of `old` pixels to lines of `new`, which may be longer, too."""
    first, end, weights = _weights(old, new)
    precision = _precision(weights.max())
    weights = np.trunc(weights * 2**precision + np.copysign(0.5, weights))  # half away from zero
    rounding = 2 ** (precision - 1) + MIDDLE * (weights.sum(axis=1, keepdims=True) - 2**precision)
    largest = (MIDDLE * np.abs(weights).sum(axis=1, keepdims=True) + np.abs(rounding)).max()
    kind = next(kind for kind, exact in EXACT.items() if largest <= exact)
    blocks = []
    for start in range(0, new, BLOCK):
        outputs = slice(start, min(start + BLOCK, new))
        inputs = slice(first[outputs].min(), end[outputs].max())
        matrix = np.zeros((outputs.stop - start, inputs.stop - inputs.start), kind)
        for row, i in zip(matrix, range(start, outputs.stop), strict=True):
            row[first[i] - inputs.start : end[i] - inputs.start] = weights[i, : end[i] - first[i]]
        blocks.append(Block(outputs, inputs, matrix, rounding[outputs].astype(kind)))
    return Pass(blocks, precision, kind)


def _weights(old: int, new: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For every output its first input, the one behind its last, and the weights (new, most inputs of an output)."""
    scale = old / new
    stretch = max(scale, 1.0)  # antialiasing
    reach = HALF_WIDTH * stretch
    center = scale * (np.arange(new) + 0.5)
    first = np.maximum((center - reach + 0.5).astype(np.int64), 0)
    end = np.minimum((center + reach + 0.5).astype(np.int64), old)
    inputs = first[:, None] + np.arange(2 * ceil(reach) + 1)
    weights = _cubic((inputs - center[:, None] + 0.5) * (1.0 / stretch))
    weights[inputs >= end[:, None]] = 0.0
    return first, end, weights / weights.cumsum(axis=1)[:, -1:]  # numpy's sum() adds in another order


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = ((A + 2) * x - (A + 3)) * x * x + 1
    far = ((A * x - 5 * A) * x + 8 * A) * x - 4 * A
    return np.where(x < 1, near, np.where(x < HALF_WIDTH, far, 0.0))


def _precision(largest: float) -> int:
    """Bits behind the point with which the largest weight still fits."""
    fits = (p for p in range(MAX_PRECISION) if int(0.5 + largest * 2 ** (p + 1)) >= 2**WEIGHT_BITS)
    return next(fits, MAX_PRECISION)
