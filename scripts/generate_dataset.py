"""A BIDS and nnU-Net data set from a synthesis bundle; resumes when started again, shares its work out under torchrun.

python scripts/generate_dataset.py --bundle brain_mr_synthesis_ldm --num_samples 1000 --age 40,80 --out ds
python scripts/generate_dataset.py --bundle brain_mr_synthesis_ldm --num_samples 96 --balance sex,age --out ds
torchrun --nproc_per_node=2 scripts/generate_dataset.py --bundle brain_mr_synthesis_ldm --requests table.tsv --out ds
"""

from pathlib import Path

from synthzoo.bundle.find import find_bundle
from synthzoo.bundle.keys import typed_value
from synthzoo.cases.table import process_rank
from synthzoo.cli import run
from synthzoo.serving.generation import generate_dataset

ROOT = Path(__file__).resolve().parents[1]


def main(
    bundle: str,
    out: str,
    num_samples: int | None = None,
    requests: str | None = None,
    seed: int = 0,
    balance: str | None = None,
    size_classes: int = 3,
    dataset_id: int = 501,
    **settings: str,
) -> None:
    """Fill the folder `out`.

    Args:
        bundle: name or folder.
        out: folder of the data set; the same command again completes it, a larger num_samples extends it.
        num_samples: number of images.
        requests: CSV or TSV file with a row per image, instead of num_samples.
        seed: decides which conditions and noise are drawn.
        balance: conditions whose combinations come equally often, WMH_ml,core_ml+oedema_ml; a number that may be 0 is
            absent in half of the images; + joins what is present together; --WMH_ml 1,20 is the range where present.
        size_classes: classes of equal width in each of those ranges; they come equally often, too.
        dataset_id: number in nnUNet_raw/DatasetNNN_NAME, which is made where the bundle gives label maps.
        settings: conditions, as a value (--age 70), a range (--age 40,80) or words (--sex F,M), and keys of the
            bundle's inference.json (--steps 10 --batch_size 8).
    """
    typed = {key: typed_value(key, text) for key, text in settings.items()}
    drawn = {"balance": balance, "size_classes": size_classes, "dataset_id": dataset_id}
    folder = generate_dataset(find_bundle(bundle, ROOT), out, num_samples, requests, seed, typed, **drawn)
    if process_rank()[0] == 0:
        print(f"data set: {folder}")


if __name__ == "__main__":
    run(main)
