class DemoError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


def check_between(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raises DemoError if `value` is smaller than `least` or larger than `most`."""
    if value < least:
        raise DemoError(f"{name}: got {value}, wanted at least {least}")
    if most is not None and value > most:
        raise DemoError(f"{name}: got {value}, wanted at most {most}")
