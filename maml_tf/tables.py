"""Tables of text, for terminals, logs and Markdown."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Lays out rows in columns, two spaces apart.

    Args:
        rows: The cells, as many in each row; the first row is the head.
        right: The columns that are aligned to the right, from 0.

    Returns:
        A line a row, without spaces at its end.

    Example:
    >>> from maml_tf.tables import aligned
    >>> print(aligned([["step", "loss"], ["0", "4.41"], ["10", "0.102"]], right=[0]))
    step  loss
       0  4.41
      10  0.102
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Writes rows as a table in Markdown.

    Args:
        rows: The cells, as many in each row; the first row is the head.

    Returns:
        A line a row, and one below the head.

    Example:
    >>> from maml_tf.tables import markdown
    >>> print(markdown([["step", "loss"], ["0", "4.41"]]))
    | step | loss |
    |---|---|
    | 0 | 4.41 |
    """
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])
