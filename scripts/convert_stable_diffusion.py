"""Stable Diffusion's weights -> models/paper.pt: python scripts/convert_stable_diffusion.py --folder FOLDER"""

from pathlib import Path

from synthzoo.bundle.compose import load_config
from synthzoo.cli import run
from synthzoo.io.files import write_bytes
from synthzoo.networks.saving import save_atomically
from synthzoo.networks.stable_diffusion import tokenizer_files
from synthzoo.networks.stable_diffusion_weights import published_state


def main(
    folder: str,
    out: str | None = None,
    bundle: str = "bundles/chest_xr_grounding_text2image",
    half: bool = False,
) -> None:
    """Convert a local copy of huggingface.co/stabilityai/stable-diffusion-2-base, or of a model tuned from it.

    Args:
        folder: of the copy, with unet/, vae/, text_encoder/, tokenizer/ and scheduler/.
        out: file to write; by default models/paper.pt of the bundle. The tokenizer goes to a folder beside it.
        bundle: folder of the bundle.
        half: store the weights as float16, half as large.
    """
    out = Path(out or Path(bundle) / "models" / "paper.pt")
    files = tokenizer_files(Path(folder) / "tokenizer")
    network = load_config(Path(bundle), ["paper"]).get_parsed_content("network_def")
    state = published_state(folder, network)
    weights = {name for name, _ in network.named_parameters()}
    save_atomically({k: v.half() if half and k in weights else v.clone() for k, v in state.items()}, out)
    for path in files:
        write_bytes(out.parent / "tokenizer" / path.name, path.read_bytes())
    print(f"{out}: {len(state)} tensors, {sum(value.numel() for value in state.values()) / 1e6:.1f} million numbers")
    print(f"{out.parent / 'tokenizer'}: {len(files)} files")


if __name__ == "__main__":
    run(main)
