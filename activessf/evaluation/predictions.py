"""predictions.csv: what a classifier said of the test cells of one fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from activessf.manifests import PREDICTIONS, PROBABILITY_PREFIX, write_table


def write_predictions(
    cells: pd.DataFrame, probabilities: NDArray[np.float64], classes: Sequence[str], path: Path
) -> None:
    """Write the predictions of one fold.

    Args:
        cells: The test cells, n rows, columns as in `manifests.PREDICTIONS` but for `predicted`.
        probabilities: (n, classes), rows summing to 1.
        classes: Class names, in the order of the columns of `probabilities`.
        path: The file to write.
    """
    predicted = [classes[index] for index in probabilities.argmax(axis=1)]
    columns = {f"{PROBABILITY_PREFIX}{name}": probabilities[:, index] for index, name in enumerate(classes)}
    table = cells.assign(predicted=predicted)[list(PREDICTIONS)].reset_index(drop=True)
    write_table(pd.concat([table, pd.DataFrame(columns)], axis=1), path)
