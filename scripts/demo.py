"""Three synthetic brains as asked, with a preview: python scripts/demo.py [--output_dir demo]"""

from pathlib import Path

import fire

from synthzoo.bundle.compose import run_bundle

ROOT = Path(__file__).resolve().parents[1]
ASKED = {"age": [30, 60, 80], "sex": ["F", "M", "F"], "ventricle_ml": [12, 40, 90], "brain_ml": [1250, 1200, 1050]}


def main(output_dir: str = "demo") -> None:
    """Generate the three brains into `output_dir`/brains; what is complete is kept."""
    folder = Path(output_dir).resolve() / "brains"
    print("demo: three brains from the shipped weights of brain_mr_synthesis_ldm")
    run_bundle(
        ROOT / "bundles" / "brain_mr_synthesis_ldm",
        overrides={**ASKED, "num_samples": 3, "seed": 1, "output_dir": str(folder)},
    )
    for number in range(3):
        asked = ", ".join(f"{name} {values[number]}" for name, values in ASKED.items())
        print(f"  sub-{number + 1:04d}: asked {asked}")
    print(f"demo: look at {folder / 'preview.png'}")


if __name__ == "__main__":
    fire.Fire(main)
