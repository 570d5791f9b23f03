"""The baselines that an experiment's classifiers are held against."""

from keras_fracture.data import facts
from keras_fracture.evaluation import baselines


def fit_baselines(config, sets, data_dir=None, threshold=None, seeds=None):
    """Fits them on an experiment's splits, with as many seeds as its classifiers have, but no fewer than `FITS`.

    Args:
        config: An `experiment.config.Config`.
        sets: Split name to `splits.Split`, as `splits.load_splits` gives them.
        data_dir: Where real data lie.
        threshold: That of the classifiers, None where each seed's is chosen on validation.
        seeds: How many; None takes the configuration's.

    Returns:
        `evaluation.baselines.Baselines`.

    Raises:
        EvaluationError: A split lacks a class.
    """
    known = facts.read(config.data, data_dir, **config.reading)
    tables = {name: split.table for name, split in sets.items()}
    return baselines.fit(tables, known, max(seeds or config.seeds, baselines.FITS), config.seed, threshold)
