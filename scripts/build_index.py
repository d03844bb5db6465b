"""Metadata and metrics files -> bundle_index.json, cards, README table: python scripts/build_index.py [--check]"""

import sys

from synthzoo.bundle.index import build_index
from synthzoo.cli import run


def main(root: str = ".", base_url: str | None = None, check: bool = False) -> None:
    """Write what is stale; with --check only name it and exit with 1."""
    stale = build_index(root, base_url, check)
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path}")
    if check and stale:
        print("error: generated files are stale; run `make index` and commit them.", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    run(main)
