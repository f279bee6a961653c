"""The check of how many there are of something."""

from __future__ import annotations


def check_counts(least: int, **counts: int) -> None:
    """Refuses counts that are too small.

    Args:
        least: The smallest that will do.
        **counts: The counts by their names, which the error says.

    Raises:
        ValueError: If one is smaller.
    """
    for name, count in counts.items():
        if count < least:
            raise ValueError(f"Expected {name} to be at least {least}. Received: {name}={count}")
