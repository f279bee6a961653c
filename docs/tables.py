"""Writes the tables of results and speed into the pages, from docs/results/*.json: `python docs/tables.py`.

A page has a table between `<!-- table: FILE/NAME -->` and `<!-- /table -->`. FILE.json holds `columns`, each a title or
`{"title", "digits", "unit"}`, and `rows` of cells. A cell is text, a number, `[mean, half-width of its interval]`,
`{"mean", "least", "greatest"}`, or stands for others: `{"card": entry of maml_tf.pretrained, "steps": [0, 1], ...}` for
the results on the card of published weights, one cell a step, where its other keys choose among the card's protocols;
`{"from": "FILE/NAME", "row": its first cell, "cells": [1, 2]}` for cells of another table, with their digits.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import Any

DOCS = pathlib.Path(__file__).resolve().parent
PROJECT = DOCS.parent
CARDS = PROJECT / "maml_tf" / "pretrained" / "weights"
PAGES = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]
_SPACE = "\u00a0"  # At which a browser breaks no line.
_PLACE = re.compile(r"(<!-- table: ([\w/]+) -->\n).*?(<!-- /table -->)", re.DOTALL)


def page_with_tables(text: str) -> str:
    """Returns a page's text with every table as the results have it.

    Raises:
        ValueError: If a place for a table is not closed, or names a table that is not there.
    """
    if len(_PLACE.findall(text)) != text.count("<!-- table:"):
        raise ValueError("Expected every `<!-- table: FILE/NAME -->` to be followed by `<!-- /table -->`.")
    return _PLACE.sub(lambda place: place[1] + markdown(find(place[2])) + place[3], text)


def find(name: str) -> dict[str, Any]:
    """Returns the table `FILE/NAME`."""
    if name in _DRAWN:
        return _DRAWN[name]()
    file, _, table = name.partition("/")
    try:
        return read(DOCS / "results" / f"{file}.json")["tables"][table]
    except (OSError, KeyError) as error:
        raise ValueError(f"Expected docs/results/{file}.json to hold the table {table!r}.") from error


def read(path: pathlib.Path) -> dict[str, Any]:
    """Returns what a JSON file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def markdown(table: dict[str, Any]) -> str:
    """Returns a table in Markdown."""
    titles = [column["title"] if isinstance(column, dict) else column for column in table["columns"]]
    rows = [titles, ["---"] * len(titles), *(_row(table, row) for row in table["rows"])]
    return "".join(f"| {' | '.join(row)} |\n".replace("|  |", "| |").replace("|  |", "| |") for row in rows)


def entries() -> dict[str, Any]:
    """Returns the table of the published weights, drawn from their cards."""
    columns = ["entry", "measured", *({"title": title, "digits": 2} for title in ("before", "1 step", "last")), "steps"]
    rows = []
    for path in sorted(CARDS.glob("*.json")):
        last = max(_rows(path.stem).values(), key=lambda row: row["step"])
        unit = ", %" if last["metric"] == "accuracy" else ""
        steps = {"card": path.stem, "steps": [0, 1, last["step"]]}
        rows.append([f"`{path.stem}`", last["metric"] + unit, steps, last["step"]])
    return {"columns": columns, "rows": rows}


def compared() -> dict[str, Any]:
    """Returns the table of all few-shot methods under one setting, of what bin/compare.py wrote."""
    columns = [
        "method",
        {"title": "accuracy", "unit": "%", "digits": 1},
        "seeds",
        {"title": "processor time of a training", "unit": "s", "digits": 0},
        {"title": "memory", "unit": "MiB", "digits": 0},
    ]
    rows = []
    for line in read(DOCS / "results" / "comparison.json")["lines"]:
        percent, count = [100 * value for value in line["accuracies"]], len(line["accuracies"])
        spread = {"mean": sum(percent) / count, "least": min(percent), "greatest": max(percent)}
        accuracy = spread if count > 1 else [percent[0], 100 * line["ci95"][0]]
        rows.append([line["label"], accuracy, count, line["cpu_seconds"], line["peak_mebibytes"]])
    return {"columns": columns, "rows": rows}


# Tables of files that are not made of tables.
_DRAWN = {"comparison/methods": compared, "pretrained/entries": entries}


def _expanded(cell: Any) -> Iterator[Any]:
    if isinstance(cell, dict) and "from" in cell:
        yield from _cells_of(find(cell["from"]), cell["row"], cell["cells"])
        return
    if not (isinstance(cell, dict) and "card" in cell):
        yield cell
        return
    asked = {key: value for key, value in cell.items() if key not in ("card", "steps")}
    rows = _rows(cell["card"], **asked)
    for step in cell["steps"]:
        scale = 100 if rows[step]["metric"] == "accuracy" else 1
        yield [scale * rows[step]["mean"], scale * rows[step]["ci95"]]


def _cells_of(table: dict[str, Any], name: str, places: list[int]) -> Iterator[str]:
    texts = next((_row(table, row) for row in table["rows"] if row[0] == name), None)
    if texts is None:
        raise ValueError(f"Expected a row {name!r} among {[row[0] for row in table['rows']]}.")
    yield from (texts[place] for place in places)


def _row(table: dict[str, Any], row: list[Any]) -> list[str]:
    cells = [cell for given in row for cell in _expanded(given)]
    if len(cells) != len(table["columns"]):
        raise ValueError(f"Expected {len(table['columns'])} cells in a row. Received: {row}")
    columns = [column if isinstance(column, dict) else {} for column in table["columns"]]
    return [_text(cell, column) for cell, column in zip(cells, columns, strict=True)]


def _rows(card: str, **asked: Any) -> dict[int, dict[str, Any]]:
    """Returns a card's rows by step: of the first protocol that has what is asked for, and of its first metric."""
    for result in read(CARDS / f"{card}.json")["results"]:
        if all((result["protocol"] or {}).get(key) == value for key, value in asked.items()):
            first = result["rows"][0]
            same = [row for row in result["rows"] if all(row[key] == first[key] for key in ("metric", "shots"))]
            return {row["step"]: row for row in same}
    raise ValueError(f"Expected the card of {card} to have results with {asked}.")


def _text(cell: Any, column: dict[str, Any]) -> str:
    if cell is None or isinstance(cell, str):
        return cell or ""
    unit = _SPACE + column["unit"] if "unit" in column else ""
    if isinstance(cell, list):
        mean, half_width = (_number(value, column) for value in cell)
        return f"{mean}{_SPACE}±{_SPACE}{half_width}{unit}"
    if isinstance(cell, dict):
        mean, least, greatest = (_number(cell[key], column) for key in ("mean", "least", "greatest"))
        return f"{mean} ({least} to {greatest}){unit}"
    return _number(cell, column) + unit


def _number(value: float, column: dict[str, Any]) -> str:
    return f"{value:,.{column['digits']}f}" if "digits" in column else f"{value:,}"


def main(arguments: list[str]) -> int:
    """Writes the tables, or with --check says which pages are not as the results have them."""
    parser = argparse.ArgumentParser(description="Writes the tables of docs/ from docs/results/*.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page would change")
    check = parser.parse_args(arguments).check
    changed = []
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = page_with_tables(before)
        if after != before:
            changed.append(page.relative_to(PROJECT).as_posix())
            if not check:
                page.write_text(after, encoding="utf-8")
    sys.stdout.write("".join(f"{'differs' if check else 'written'}: {page}\n" for page in changed))
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
