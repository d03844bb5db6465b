"""EchoNet-Synthetic's released weights -> models/paper.pt: python scripts/convert_echonet_weights.py --folder FOLDER"""

from pathlib import Path

from synthzoo.bundle.compose import load_config
from synthzoo.cli import run
from synthzoo.networks.released import read_folder
from synthzoo.networks.saving import save_atomically
from synthzoo.systems.echonet_synthetic.published_weights import published_state
from synthzoo.systems.hidden_subspaces.published_weights import convert_reid


def main(
    folder: str,
    lidm: str = "lidm_dynamic",
    reid: str = "reidentification_dynamic",
    out: str | None = None,
    bundle: str = "bundles/echo_us_cine_synthesis_ldm",
) -> None:
    """Convert a copy of huggingface.co/HReynaud/EchoNet-Synthetic (pip install huggingface_hub; `hf download`).

    A bundle that tells no patients apart takes the first three parts alone.

    Args:
        folder: of the copy, with vae/, lidm_*/, lvdm/ and reidentification_*/.
        lidm: which image model in it.
        reid: which re-identification network in it.
        out: file to write; by default models/paper.pt of the bundle.
        bundle: folder of the bundle.
    """
    out = Path(out or Path(bundle) / "models" / "paper.pt")
    network = load_config(Path(bundle), ["paper"]).get_parsed_content("network_def")
    names = {"vae": "vae", "lidm": lidm, "lvdm": "lvdm"} | ({"reid": reid} if network.reid is not None else {})
    parts = {part: read_folder(Path(folder) / name) for part, name in names.items()}
    if "reid" in parts:
        parts["reid"] = convert_reid(parts["reid"], network.reid)
    state = published_state(parts, network)
    save_atomically({name: value.clone() for name, value in state.items()}, out)
    left = "; the filter is empty until calibrate_filter.json has seen training videos" if "reid" in parts else ""
    print(f"{out}: {len(state)} tensors{left}.")


if __name__ == "__main__":
    run(main)
