"""What can keep the server from being started."""


class LaunchError(Exception):
    """The server cannot be started. The message says what is missing or wrong, and what to do about it."""
