"""Every paper's smoke ends in finite losses in every precision."""

import numpy as np
import pandas as pd
import pytest

from keras_fracture import papers
from keras_fracture.training import precision

PRECISIONS = [each for each in precision.CHOICES if each != "auto"]


@pytest.mark.slow
@pytest.mark.parametrize("key", papers.names())
@pytest.mark.parametrize("chosen", PRECISIONS)
def test_a_paper_ends_in_finite_losses_in_every_precision(key, chosen, few_phantoms, tmp_path):
    folder = papers.reproduce(key, "smoke", out=tmp_path / "run", overrides=[f"precision={chosen}"])
    tables = list(folder.rglob("history.csv"))
    assert tables
    for path in tables:
        assert np.isfinite(pd.read_csv(path).select_dtypes("number").to_numpy()).all(), path
