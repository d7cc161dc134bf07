"""Small helpers for numbers that may be absent."""


def known(value: float | None) -> float:
    """The value of a feature that must be defined."""
    assert value is not None
    return value
