"""Rigid transforms between frames: checks of what a caller gives."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InvalidRequestError

TOLERANCE = 1e-3


def check_rigid(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """(4, 4) float64: a rotation, a translation in the last column, the row 0 0 0 1."""
    transform = finite(name, value, (4, 4))
    if not is_rotation(transform[:3, :3]) or not np.array_equal(transform[3], [0, 0, 0, 1]):
        raise InvalidRequestError(
            f"{name}: got {transform.tolist()}, wanted a rotation (orthonormal, determinant +1) "
            "beside a translation in the last column, above the row 0 0 0 1"
        )
    return transform


def is_rotation(matrix: NDArray[np.float64]) -> bool:
    """Whether a finite (3, 3) is orthonormal and no mirror."""
    orthonormal = np.allclose(matrix @ matrix.T, np.eye(3), rtol=0, atol=TOLERANCE)
    return bool(orthonormal and np.linalg.det(matrix) > 0)


def finite(name: str, value: ArrayLike, *shapes: tuple[int, ...]) -> NDArray[np.float64]:
    """`value` as a float64 array of its own, of one of these shapes."""
    wanted = f"wanted {' or '.join(map(str, shapes))} finite numbers"
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor with a gradient
        raise InvalidRequestError(f"{name}: {wanted}, got {error}") from error
    if array.shape not in shapes:
        raise InvalidRequestError(f"{name}: got shape {array.shape}, {wanted}")
    if not np.isfinite(array).all():
        raise InvalidRequestError(f"{name}: got {array.tolist()}, {wanted}")
    return array
