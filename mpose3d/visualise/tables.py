"""Figures as a table on the terminal or in Markdown, and the same figures as CSV and JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from mpose3d.files import whole_or_none


def print_table(title: str, rows: list[dict[str, Any]], columns: list[str], notes: list[str], digits: int = 2) -> None:
    """Print the `columns` of `rows`, floats with `digits` decimals, and the notes below."""
    table = Table(title=title, caption="\n".join(notes), caption_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        cells = (row.get(column, "") for column in columns)
        table.add_row(*(f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell) for cell in cells))
    plain = partial(Console, markup=False, emoji=False)  # brackets and colons are those of names
    # figures are never cut to the width of a window or a pipe
    needed = plain(width=1000).measure(table).maximum
    plain(width=max(Console().width, needed)).print(table)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, for the documentation."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |" for cells in lines)


def write_table(out: Path | None, name: str, rows: list[dict[str, Any]], content: dict[str, Any]) -> None:
    """NAME.csv of `rows` and NAME.json of `content` in `out`; what is undefined is an empty cell, and null."""
    if out is None:
        return
    out = Path(out)
    with whole_or_none(out / f"{name}.csv") as unfinished, unfinished.open("w", newline="") as handle:
        # a sequence in which nobody was found lacks the columns of joints
        writer = csv.DictWriter(handle, list(dict.fromkeys(column for row in rows for column in row)))
        writer.writeheader()
        writer.writerows({key: "" if _undefined(value) else value for key, value in row.items()} for row in rows)
    with whole_or_none(out / f"{name}.json") as unfinished:
        unfinished.write_text(json.dumps(_nulls(content), indent=2) + "\n")


def _undefined(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    return None if _undefined(value) else value
