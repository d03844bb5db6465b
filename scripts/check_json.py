"""Check that the JSON files of all bundles parse, are in canonical form, and have their common keys in one order.

python scripts/check_json.py            names every problem; exit code 1 if there is one
python scripts/check_json.py --write    first brings configs and index into canonical form; `make format` calls this
"""

import sys
from pathlib import Path

from synthzoo.bundle.form import format_files
from synthzoo.bundle.order import all_problems
from synthzoo.cli import run


def main(root: str = str(Path(__file__).resolve().parents[1]), write: bool = False) -> None:
    """Print every problem and exit with 1 if there is one."""
    for path in format_files(root) if write else ():
        print(f"formatted: {path}")
    problems = all_problems(root)
    print("\n".join(problems) or "JSON files: in order.")
    sys.exit(bool(problems))


if __name__ == "__main__":
    run(main)
