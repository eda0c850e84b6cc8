"""Write the README's table of results from the records in docs/results.

A record is what `selfsight probe RUN DATA --json` prints. Records named NAME-SEED.json are seeds of
one experiment: the table gives their mean and, where there are several, their range.

Run: python docs/table.py
"""

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
BEGIN, END = "<!-- results: python docs/table.py -->\n", "<!-- end of results -->\n"


def experiments() -> dict[str, list[dict[str, Any]]]:
    """Read the records, gathered by experiment."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((DOCS / "results").glob("*.json")):
        found[path.stem.rpartition("-")[0]].append(json.loads(path.read_text()))
    return found


def percent(values: list[float]) -> str:
    """Write a mean and a range, in %; nothing where nothing was measured."""
    if not values:
        return ""
    middle = f"{100 * mean(values):.1f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def row(name: str, records: list[dict[str, Any]]) -> str:
    """Write one experiment's row."""
    first = records[0]
    machine = f"{first['machine']['cores']} cores"
    best = ", ".join(sorted({record["best_layer"] for record in records}))
    cells = [
        name,
        str(len(records)),
        *(
            percent([r[key] for r in records if key in r])
            for key in ("pixels", "patch_dictionary", "untrained", "trained")
        ),
        percent([r["gain"] for r in records]),
        best,
        f"{first['labels']:,} / {first['test']:,}",
        machine,
        ", ".join(sorted({record["verdict"] for record in records})),
    ]
    return f"| {' | '.join(cells)} |\n"


def table() -> str:
    """Write the whole table."""
    columns = ("run", "seeds", "pixels", "patch dictionary", "untrained", "trained", "gain")
    columns += ("best layer", "labels / test", "machine", "verdict")
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(row(name, records) for name, records in experiments().items())


def main() -> None:
    """Replace what stands between the two marks of the README."""
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(f"{before}{BEGIN}{table()}{END}{after}")


if __name__ == "__main__":
    main()
