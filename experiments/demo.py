"""`make demo`: two photographs become 3D people, and the small world is trained from scratch.

python -m experiments.demo --out out/demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

from experiments.small.run import report, train
from mpose3d import assets
from mpose3d.cli import main as mpose3d
from mpose3d.cli import plainly


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    out = parser.parse_args().out

    status = mpose3d(["infer", *map(str, assets.photographs()), "--out", str(out)])
    if status:
        raise SystemExit(status)
    train(out / "small")
    report(out / "small")

    print(f"\nWritten to {out}:")
    for path in sorted([*out.glob("*.*"), *(out / "small").glob("*.*")]):
        print(f"  {path}")
    pages = ", ".join(str(path) for path in sorted(out.glob("*.html")))
    print(f"\nOpen {pages} in a browser and turn the people with the mouse; then {out / 'small' / 'curves.png'}.")


if __name__ == "__main__":
    raise SystemExit(plainly(main))
