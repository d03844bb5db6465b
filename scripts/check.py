"""Say what a file is: python scripts/check.py FILE...; exit 0 synthetic, 2 derived from an image, 3 not marked."""

import sys

from synthzoo.cli import run
from synthzoo.errors import UserError
from synthzoo.io.marks import read_mark


def main(*files: str) -> None:
    """Print a line for each file; the exit code is the highest of theirs, or 1 for a file that cannot be read."""
    if not files:
        raise UserError("no file is given: python scripts/check.py FILE...")
    codes = []
    for file in map(str, files):
        mark = read_mark(file)
        print(f"{file}: {mark or 'not marked'}")
        codes.append(3 if mark is None else 0 if mark.synthetic else 2)
    sys.exit(max(codes))


if __name__ == "__main__":
    run(main)
