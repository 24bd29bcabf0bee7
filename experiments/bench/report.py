"""The results of the benchmarks as tables in docs/performance.md, and as a picture.

    python -m experiments.bench.report [--results out/bench] [--page docs/performance.md]

Each out/bench/NAME.json goes between the lines `<!-- NAME -->` and `<!-- end -->` of the page, whatever stood there;
what the page has no place for is told.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from experiments.bench.timing import shown
from mpose3d.cli import plainly
from mpose3d.files import whole_or_none
from mpose3d.visualise.tables import markdown_table

# a table of more rows is folded
_LONG = 20

_COLOURS = ("#1b6ca8", "#c8553d", "#588157", "#8d6a9f", "#b08900", "#5c5c5c")


def tables(results: dict[str, Any]) -> str:
    """One file of results -> Markdown: the machine in a line, then a table under each name."""
    machine = results["machine"]
    parts = [f"*{_machine(machine)}*", ""]
    for table, rows in itertools.groupby(results["rows"], key=lambda row: row.get("table", "")):
        rows = list(rows)
        asked = any("bar" in row for row in rows)
        head = [table, "ours", "other", "ratio", *(["asked"] if asked else []), "against"]
        cells = []
        for row in rows:
            figures = (shown(row[key], row.get("unit", "s")) for key in ("ours", "other"))
            bar = [_asked(row)] if asked else []
            cells.append([row["row"], *figures, f"{row['ratio']:.3g}", *bar, row.get("against", "")])
        written = markdown_table(head, cells)
        folded = f"<details>\n<summary>{table}</summary>\n\n{written}\n\n</details>"
        parts.append(folded if len(rows) > _LONG else written)
        commands = dict.fromkeys(row["command"] for row in rows)
        parts += ["", *(f"    {command}" for command in commands), ""]
    return "\n".join(parts)


def _asked(row: dict[str, Any]) -> str:
    """The bar of a row, and whether the row is beyond it."""
    if "bar" not in row:
        return ""
    relation, limit = row["bar"].split()
    met = row["ratio"] <= float(limit) if relation == "<=" else row["ratio"] >= float(limit)
    return f"{'≤' if relation == '<=' else '≥'} {limit}{'' if met else ', missed'}"


def _machine(machine: dict[str, Any]) -> str:
    where = machine.get("gpu") or f"{machine['processor']}, {machine['cores']} cores"
    return f"{where}, {machine['threads']} threads, torch {machine['torch']}, {machine['date']}, load {machine['load']}"


def fill(page: str, results: dict[str, dict[str, Any]]) -> tuple[str, list[str]]:
    """The page with its tables, and the names of the results that it has no place for."""
    left = []
    for name, content in results.items():
        before, start, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            left.append(name)
            continue
        page = f"{before}{start}\n{tables(content)}\n{end}{after}"
    return page, left


def picture(results: dict[str, Any], path: Path) -> bool:
    """Time against the number of people, batch 1, one panel for each size; False where there are no such rows."""
    panels: dict[str, dict[str, dict[int, float]]] = {}
    for row in results["rows"]:
        size = re.fullmatch(r"photograph to people, (\d+ px), batch 1", row.get("table", ""))
        people = re.fullmatch(r"(.+), (\d+) people", row["row"])
        if size and people:
            curves = panels.setdefault(size[1], {})
            curves.setdefault(people[1], {})[int(people[2])] = row["ours"]
            if not row["against"].startswith("the same"):
                curves.setdefault(row["against"], {})[int(people[2])] = row["other"]
    if not panels:
        return False
    figure = Figure(figsize=(4.2 * len(panels) + 2, 3.2), layout="constrained")
    for axes, (size, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for colour, (name, points) in zip(itertools.cycle(_COLOURS), curves.items(), strict=False):
            at = sorted(points)
            axes.plot(at, [1e3 * points[n] for n in at], marker="o", color=colour, label=name)
        axes.set(title=size, xlabel="people in the photograph", ylabel="ms", ylim=(0, None), xticks=at)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("out/bench"))
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"))
    args = parser.parse_args()
    results = {path.stem: json.loads(path.read_text()) for path in sorted(args.results.glob("*.json"))}
    if not results:
        raise SystemExit(f"no results in {args.results}: run make bench")
    page, left = fill(args.page.read_text(), results)
    with whole_or_none(args.page) as unfinished:
        unfinished.write_text(page)
    print(f"{args.page}: {', '.join(name for name in results if name not in left) or 'nothing filled'}")
    for name in left:
        print(f"no place for {name}: give the page the lines <!-- {name} --> and <!-- end -->")
    path = args.page.parent / "figures" / "latency.png"
    if "inference" in results and picture(results["inference"], path):
        print(path)


if __name__ == "__main__":
    raise SystemExit(plainly(main))
