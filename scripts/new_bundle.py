"""Make the skeleton of a bundle: python scripts/new_bundle.py brain_mr_synthesis_flow --task synthesis"""

from synthzoo.bundle.new import new_bundle
from synthzoo.cli import run

if __name__ == "__main__":
    run(lambda name, task="synthesis", root=".": print(new_bundle(name, task, root)))
