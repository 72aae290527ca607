import numpy as np


def changed(array: np.ndarray, index: tuple[int, ...], value: float) -> np.ndarray:
    """A copy, with that value there."""
    array = array.copy()
    array[index] = value
    return array
