import sys
from pathlib import Path

# What is measured of small sets is tested with the networks of experiments/small_sets.py.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
