"""Chest phantoms as a data set in ChestX-ray14's layout; resumes when started again.

python scripts/generate_phantoms.py --out ds --patients 200 --studies 2,6 --size 256 --processes 2

Writes images/, Data_Entry_2017.csv, BBox_List_2017.csv, train_val_list.txt, test_list.txt and phantom.csv, which holds
reports, volumes and the rest of the truth. Pictures follow from the numbers given here alone.
"""

from pathlib import Path

from tqdm import tqdm

from synthzoo.cli import run
from synthzoo.phantoms.chest.pool import PoolSettings, load_pool
from synthzoo.results.chestxray14 import write_chestxray14


def main(
    out: str,
    style: str = "clinic",
    processes: int = 1,
    cache_dir: str | None = None,
    patients: int = 1000,
    studies: int | tuple[int, int] = (2, 6),
    size: int = 128,
    findings: str = "draw",
    first: int = 0,
    view: str = "PA",
    spread: float = 1.0,
    pose_spread: float = 1.0,
) -> None:
    """Fill the folder `out`.

    Args:
        out: folder of the data set.
        style: "plain", "clinic", or "random" for domain randomisation.
        processes: that make the projections.
        cache_dir: folder of the stored projections, which further sets and trainings read; SYNTHZOO_CACHE if unset.
        patients, studies, size, first, view, spread, pose_spread: see `pool.PoolSettings`.
        findings: "draw", "none", or kinds with commas between them that every study has.
    """
    kinds = tuple(findings.split(",")) if "," in findings else findings
    settings = PoolSettings(patients, studies, size, kinds, first, view, spread, pose_spread)
    pool = load_pool(settings, cache_dir, processes, lambda parts: tqdm(parts, desc="projections"))
    folder = write_chestxray14(Path(str(out)), pool, style, lambda rows: tqdm(rows, desc="radiographs"))
    print(f"data set: {folder} ({len(pool)} radiographs)")


if __name__ == "__main__":
    run(main)
