"""Pretrain, fine-tune and test (stages 1 to 4): `python train.py ssl=mae selection=activessf fold=0..4 -m`."""

import hydra
from omegaconf import DictConfig

from activessf.cli.job import run
from activessf.cli.script import start


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """Run stages 1 to 4 as configured, each only where its result is missing."""
    from activessf import commands  # brings torch, which --help needn't wait for

    run(commands.train, config, commands.training_devices)


if __name__ == "__main__":
    start(main)
