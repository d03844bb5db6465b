"""Check that the JSON files of all bundles parse, are formed alike, and have their common keys in one order.

python scripts/check_json.py
"""

import sys
from pathlib import Path

from synthzoo.bundle.order import all_problems
from synthzoo.cli import run


def main(root: str = str(Path(__file__).resolve().parents[1])) -> None:
    """Print every problem and exit with 1 if there is one."""
    problems = all_problems(root)
    print("\n".join(problems) or "JSON files: in order.")
    sys.exit(bool(problems))


if __name__ == "__main__":
    run(main)
