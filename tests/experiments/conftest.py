import sys
from pathlib import Path

# The scripts import one another as they do when they are run: from their own folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
