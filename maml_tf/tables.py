"""Tables of text, for terminals and logs."""

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
