"""Generators of every modality in one table: FID and MS-SSIM beside real against real, by one command.

python scripts/adaptability.py                      # every row whose bundle is there, 64 samples each
python scripts/adaptability.py --rows echo,brain_mr # these alone; the others stay as they are
python scripts/adaptability.py --rows none          # only lists the rows and writes the page again
"""

from pathlib import Path

from synthzoo.bundle.compose import run_bundle
from synthzoo.bundle.find import find_bundles
from synthzoo.bundle.index import build_index
from synthzoo.cli import run
from synthzoo.evaluation.adaptability.table import AdaptabilityTable


def main(
    rows: str = "all",
    count: int = 64,
    pairs: int = 100,
    seed: int = 0,
    work_dir: str = "out/adaptability",
    out: str = "docs/adaptability.json",
    root: str = ".",
) -> None:
    """Measure rows and write `docs/adaptability.json` and, through `make index`, the tables of `docs/adaptability.md`.

    Args:
        rows: names with commas between, "all" or "none"; a row that was measured so before is not measured again.
        count: results of each row, and phantoms of each of its two sets.
        pairs: that MS-SSIM compares.
        seed: of subjects, noise and pairs.
        work_dir: keeps phantoms and results, so that a run that was interrupted goes on.
        out: the report.
        root: the checkout.
    """
    bundles = {bundle.name: bundle.resolve() for bundle in find_bundles(root)}
    chosen = None if rows == "all" else [name for name in rows.split(",") if name not in ("", "none")]
    table = AdaptabilityTable(run_bundle, bundles, Path(root) / out, work_dir, count, pairs, seed)
    for name, row in table.measure(chosen)["rows"].items():
        figures = row["measured"] and row["measured"]["sets"]
        print(f"{name}: {figures and {kind: one['fid'] for kind, one in figures.items()}}")
    for path in build_index(root):
        print(f"written: {path}")


if __name__ == "__main__":
    run(main)
