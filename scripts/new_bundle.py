"""Make the skeleton of a bundle: python scripts/new_bundle.py brain_mr_synthesis_flow --task synthesis"""

import fire

from synthzoo.bundle.new import new_bundle

if __name__ == "__main__":
    fire.Fire(lambda name, task="synthesis", root=".": print(new_bundle(name, task, root)))
