"""Released weights -> models/paper.pt: python scripts/convert_weights.py --autoencoder FILE --diffusion FILE"""

from pathlib import Path

from synthzoo.bundle.compose import load_config
from synthzoo.cli import run
from synthzoo.networks.saving import save_atomically
from synthzoo.networks.weights import read_state
from synthzoo.systems.brain_ldm.published_weights import MD5, composite_state, md5, read_diffusion


def main(
    autoencoder: str,
    diffusion: str,
    out: str | None = None,
    bundle: str = "bundles/brain_mr_synthesis_ldm",
    half: bool = False,
    overlay: str = "paper",
) -> None:
    """Convert the two files named in the bundle's large_files.yml, or MAISI's two.

    Args:
        autoencoder: state dict of the released autoencoder.
        diffusion: state dict of the released denoiser.
        out: file to write; by default models/paper.pt of the bundle, or models/maisi.pt.
        bundle: folder of the bundle.
        half: store the weights as float16, half as large.
        overlay: config whose network takes them, paper or paper_maisi.
    """
    out = Path(out or Path(bundle) / "models" / f"{overlay.removeprefix('paper_')}.pt")
    first, (second, scale_factor) = read_state(autoencoder), read_diffusion(diffusion)
    for name, path in (("autoencoder", autoencoder), ("diffusion", diffusion)) if overlay == "paper" else ():
        digest = md5(path)
        print(f"{path}: md5 {digest}, {'the released file' if digest == MD5[name] else 'another file than released'}")
    network = load_config(Path(bundle), [overlay]).get_parsed_content("network_def")
    state = composite_state(first, second, network, scale_factor)
    weights = {name for name, _ in network.named_parameters()}
    save_atomically({k: v.half() if half and k in weights else v.clone() for k, v in state.items()}, out)
    print(f"{out}: {len(state)} tensors, {sum(value.numel() for value in state.values()) / 1e6:.1f} million numbers")


if __name__ == "__main__":
    run(main)
