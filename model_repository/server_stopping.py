"""What the launcher and the models agree on for the server's end. A copy goes beside every `model.py`."""

import os

STOPPING_FILE = "ALPAMAYO_STOPPING_FILE"
"""An environment variable: the name of a file that appears when the server takes no new requests."""


class ServerStopping(Exception):
    """The server is about to end, and begins nothing new."""


def raise_if_server_stops() -> None:
    """For the first stage, before it begins. Raises ServerStopping once the file is there."""
    path = os.environ.get(STOPPING_FILE)
    if path and os.path.exists(path):
        raise ServerStopping("the server is stopping and takes no new requests; ask another one, or again later")
