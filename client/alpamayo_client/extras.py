"""What is not installed with the client itself."""


def extra(name: str) -> str:
    """What to do about a package that is missing."""
    return f"install the extra {name!r} of alpamayo-client (in a clone of the project: pip install './client[{name}]')"
