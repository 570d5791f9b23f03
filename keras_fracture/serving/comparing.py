"""What two forms of one model give for the same drawn inputs: the network, its SavedModel, a converted file."""

import numpy as np

LARGEST = 1e-4  # difference between two forms; rounding makes 5e-6
_ENDPOINT = "serving_default"
_ROWS = (1, 3)  # one image, and several: a file may be converted for one alone
_SQUARES = 4  # a side, grey, under noise: for noise alone classifiers give one probability


def random_inputs(facts, rows):
    """Arrays by name that `serving_default` takes: images in the model's pixel range, noise, labels.

    Args:
        facts: The model's metadata.
        rows: How many images.
    """
    rng = np.random.default_rng(rows)
    low, high = facts["pixel_range"] or (0, 1)
    inputs = {}
    for name, tensor in facts["endpoints"][_ENDPOINT]["inputs"].items():
        shape = (rows, *(size or 64 for size in tensor["shape"][1:]))  # some networks take any size
        if name == "labels":
            inputs[name] = rng.integers(0, facts["config"]["num_classes"], shape, np.int32)
        elif name == "noise":
            inputs[name] = rng.standard_normal(shape, np.float32)
        else:
            squares = rng.random((rows, _SQUARES, _SQUARES, shape[3]))
            for axis in (1, 2):
                squares = squares.repeat(-(-shape[axis] // _SQUARES), axis)
            images = 0.8 * squares[:, : shape[1], : shape[2]] + 0.2 * rng.random(shape)
            inputs[name] = (low + (high - low) * images).astype(np.float32)
    return inputs


def difference(first, second, facts):
    """The largest difference between what two functions give; NaN if one gives it.

    Args:
        first: Function of what `serving_default` takes, arrays by name, to its outputs by name.
        second: Another one; what it gives beside is passed over.
        facts: The model's metadata.
    """
    largest = []
    for rows in _ROWS:
        inputs = random_inputs(facts, rows)
        wanted, got = first(**inputs), second(**inputs)
        largest += [np.abs(np.asarray(got[name]) - np.asarray(wanted[name])).max() for name in wanted]
    return float(np.max(largest))
