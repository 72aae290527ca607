"""The id of a call that is given up: text that no other call has."""

from typing import Any

import numpy.typing as npt
from cancellations import MAX_ID_BYTES
from contract import InvalidRequest, check_shape, shown

MIN_ID = 16  # characters; an id stays cancelled for a while, and whoever guesses one can cancel it


def check_id(request_id: npt.NDArray[Any]) -> str:
    """The id in a tensor of BYTES (1,). Raises InvalidRequest for one that others might use too, or no call can have.

    Triton passes on what stands before a NUL of a call's id.
    """
    check_shape("request_id", request_id, (1,))
    content = bytes(request_id[0])
    if len(content) > MAX_ID_BYTES:
        raise InvalidRequest(f"request_id must have at most {MAX_ID_BYTES} bytes, as a UUID has; got {len(content)}")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"request_id must be the call's own id, which is UTF-8; got {shown(content)}: {error}"
        ) from None
    if "\0" in text:
        raise InvalidRequest(f"request_id must have no NUL, which no id that arrives has; got {shown(text)}")
    if len(text) < MIN_ID:
        raise InvalidRequest(
            f"request_id must have at least {MIN_ID} characters, so that no one else's call has it, such as a UUID; "
            f"got {shown(text)}"
        )
    return text
