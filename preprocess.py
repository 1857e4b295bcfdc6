"""Find the candidate regions of unlabeled slides (stage 1): `python preprocess.py data=bccd data.root=FOLDER`."""

import hydra
from omegaconf import DictConfig

from activessf.cli.job import run
from activessf.cli.script import start


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    """Run stage 1 as configured."""
    from activessf import commands  # brings torch, which --help needn't wait for

    run(commands.preprocess, config)


if __name__ == "__main__":
    start(main)
