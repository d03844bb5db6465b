"""monai-generative -> MONAI core: scripts/convert_checkpoint.py --checkpoint FILE --config FILE --out FILE"""

import json
from pathlib import Path

from synthzoo.bundle.compose import config_files
from synthzoo.bundle.literals import LiteralConfig, build_network, network_settings
from synthzoo.cli import run
from synthzoo.networks.generative import core_state
from synthzoo.networks.saving import save_atomically
from synthzoo.networks.weights import read_state


def main(
    checkpoint: str,
    config: str,
    out: str,
    key: str = "network_def",
    overlay: str = "",
    entry: str = "",
    half: bool = False,
) -> None:
    """Convert a checkpoint of one network and print the network's settings as MONAI core takes them.

    Args:
        checkpoint: file of plain tensors, the network's own or beside an optimiser's.
        config: JSON or YAML file that defines the network, in the old names or the new, or the folder of a bundle. It
            is read as data: nothing in it is evaluated or imported.
        out: file to write, a state dict for `load_state_dict` or `load_weights`.
        key: of the network's definition in the config, such as network_def#autoencoder.
        overlay: config of the bundle that lies on its inference.json, such as paper.
        entry: key of the network's tensors in the checkpoint where it holds several networks, such as unet_state_dict.
        half: store the weights as float16, half as large.
    """
    files = config_files(config, [overlay] if overlay else []) if Path(config).is_dir() else [config]
    definition = LiteralConfig(*files)
    own, settings = network_settings(definition, key)
    network = build_network(definition, key)
    state = core_state(read_state(checkpoint, entry), network, checkpoint, key)
    weights = {name for name, _ in network.named_parameters()}
    save_atomically({k: v.half() if half and k in weights else v.clone() for k, v in state.items()}, Path(out))
    print(json.dumps({"_target_": f"{own.__module__}.{own.__name__}", **settings}))
    print(f"{out}: {len(state)} tensors, {sum(value.numel() for value in state.values()) / 1e6:.3f} million numbers")


if __name__ == "__main__":
    run(main)
