"""How good stage 1 gets when it is calibrated on a few labeled fields, over several draws of them.

    python experiments/calibration.py --draws 10 data=bccd data.root=../shared/data/bccd
    python experiments/calibration.py --draws 3 --most-checked 300 data=chula_rbc12 data.root=../shared/data/chula_rbc12

Each draw fits to `calibration.num_fields` fields and checks with all others, or as many of them as said. What is
printed is of the checked fields alone: recall and precision at an overlap of 0.5 for boxes, the recall of isolated
points for points. Nothing is written.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from activessf.configuration import CONF, FOLDING, build, without
from activessf.exits import telling_mistakes
from activessf.regions.calibration import agreement_of, calibrated
from activessf.regions.calibration_stage import Plan, labeled_field, parted
from activessf.regions.matching import Agreement


@telling_mistakes
def main() -> int:
    """Print one line a draw, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10, help="how many draws (default 10)")
    parser.add_argument("--most-checked", type=int, default=10**9, help="fields to check with, at most (default: all)")
    parser.add_argument(
        "overrides", nargs="+", help="as for preprocess.py: data=... data.root=... calibration.seed=..."
    )
    options = parser.parse_args()
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("config", [f"paths.output_dir={Path('outputs').absolute()}", *options.overrides])
    print(f"{'draw':>4} {'checked':>8} {'labels':>7} {'recall':>7} {'precision':>10} {'overlap':>8}  normalisation")
    found = [draw(config, number, options.most_checked) for number in range(options.draws)]
    for name, figure in (("mean", np.mean), ("least", np.min)):
        recall, precision = figure([one.recall for one in found]), figure([one.precision for one in found])
        print(f"{name:>5} {recall:>23.3f} {precision:>10.3f}")
    return 0


def draw(config: DictConfig, seed: int, most_checked: int) -> Agreement:
    """Calibrate on one draw of fields and check with others."""
    source = build(without(config.data, "name", *FOLDING))
    settings = config.calibration
    plan = Plan(settings.labels, settings.num_fields, settings.check_share, settings.apart, seed)
    fit, check = parted(source.cells, plan)
    fields = [labeled_field(source.root, image, source.cells, plan.labels) for image in fit]
    region_filter = calibrated(fields, build(config.regions), plan.apart)
    others = (labeled_field(source.root, image, source.cells, plan.labels) for image in check[:most_checked])
    own = agreement_of(region_filter, others, plan.apart)
    print(
        f"{seed:>4} {own.fields:>8} {own.labels:>7} {own.recall:>7.3f} {own.precision:>10.3f} {own.mean_overlap:>8.3f}"
        f"  {region_filter.normalisation}",
        flush=True,
    )
    return own


if __name__ == "__main__":
    sys.exit(main())
