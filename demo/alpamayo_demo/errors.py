class DemoError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


def check_at_most(most: int, name: str, value: int) -> None:
    """Raises DemoError if `value` is larger than that."""
    if value > most:
        raise DemoError(f"{name}: got {value}, wanted at most {most}")


def check_at_least(least: int, name: str, value: int) -> None:
    """Raises DemoError if `value` is smaller than that."""
    if value < least:
        raise DemoError(f"{name}: got {value}, wanted at least {least}")
