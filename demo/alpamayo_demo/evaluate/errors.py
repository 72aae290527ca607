class EvaluationError(Exception):
    """What was asked for cannot be evaluated; the message says why and what to do."""


def check_at_least(least: int, name: str, value: int) -> None:
    """Raises EvaluationError if `value` is smaller than that."""
    if value < least:
        raise EvaluationError(f"{name}: got {value}, wanted at least {least}")
