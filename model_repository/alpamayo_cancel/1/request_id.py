"""The id of a call that is given up: text that no other call has."""

from typing import Any

import numpy.typing as npt
from contract import InvalidRequest, check_shape, shown

MIN_ID = 16  # characters; an id stays cancelled, and whoever guesses one can cancel it


def check_id(request_id: npt.NDArray[Any]) -> str:
    """The id in a tensor of BYTES (1,). Raises InvalidRequest for one that others might use too."""
    check_shape("request_id", request_id, (1,))
    text = bytes(request_id[0]).decode("utf-8", errors="replace")
    if len(text) < MIN_ID:
        raise InvalidRequest(
            f"request_id must have at least {MIN_ID} characters, so that no one else's call has it, such as a UUID; "
            f"got {shown(text)}"
        )
    return text
