"""`load`: a data set by name, prepared on first use."""

import contextlib
import functools
import importlib
import io
import logging
import re
import shutil

from keras_fracture import files, parallel
from keras_fracture.data import catalogue, locations, split_files
from keras_fracture.data.counts import check_whole
from keras_fracture.data.library_settings import tfds_errors_only
from keras_fracture.data.own.layout import Layout
from keras_fracture.data.scan import folder_fingerprint
from keras_fracture.data.splits import FILE, NAMES, check
from keras_fracture.errors import DataError, OutputError, meant

_LOG = logging.getLogger(__name__)
_FAR = 0.1  # from a share that was asked for


@tfds_errors_only()
def prepare(
    name, policy="grouped", *, shares=None, seed=0, splits=None, data_dir=None, keep_conflicts=False, finding=None,
    columns=None, patient=None, workers=parallel.HERE,
):  # fmt: skip
    """Prepares a data set's records for one split policy, unless that was done before.

    Args:
        name: One of `names()`, a name that `data add` remembered, or the path of own X-rays: a folder or a table.
        policy: One of `splits.POLICIES`, of which each data set has its own: `official` where lists come along,
            `studies` with `fracatlas` alone.
        shares: Of train, validation and test; default is the data set's own. Where the data set says which images to
            test on (`paper` and `official` of most, `grouped` of `phantom`) only the ratio of train to validation
            counts, see `splits.assign`: what is reached instead is logged.
        seed: Of the drawing of the splits, 0 or more.
        splits: Path of a split file (see `split_files`), in place of `policy`, `shares` and `seed`.
        data_dir: Where real data lie, see `locations.data_dir`.
        keep_conflicts: Whether images whose label contradicts itself stay in.
        finding: Of own X-rays: the label that is the finding, where names do not tell; all others count as healthy.
        columns: Of own X-rays: which column of their table is what, as "image=path,label=dx,patient=pid", where names
            do not tell; see `own.sheet.ROLES`.
        patient: Of own X-rays: a regular expression that tells the patient by an image's path below the folder.
        workers: `parallel.Workers` that read the files.

    Returns:
        A prepared TFDS builder, whose `as_dataset` gives the pixels that `Records` gives. What TFDS reads of its folder
        by itself (`tfds.builder_from_directory`) is decoded TFDS's way, JPEG some levels off.

    Raises:
        DataError: No such data set or policy, files missing, another layout; a seed that is no whole number from 0;
            or a split file that does not fit.
        OutputError: The cache cannot be written.
    """
    given, policy = _chosen(policy, shares, seed, splits)
    layout, root = catalogue.find(name, data_dir, finding=finding, columns=columns, patient=patient)
    if not given and policy not in layout.POLICIES:
        raise DataError(
            f"{name} has no split policy of that name. Choose one of {', '.join(layout.POLICIES)}. "
            f"Received: {policy!r}"
        )
    import tensorflow_datasets as tfds

    from keras_fracture.data.builder import config

    tfds.display_progress_bar(False)
    setting = config(layout, policy, shares, seed, keep_conflicts, given)
    folder = locations.cache_dir() / "records"
    if root is not None:
        # Records are kept apart by what they were made from: another folder, another set of records.
        folder /= layout.key if isinstance(layout, Layout) else folder_fingerprint(root, movable=False)
    builder = _builder(name, layout, config=setting, data_dir=folder)
    lock = folder / f"{builder.name}.lock"
    if builder.is_prepared():
        files.unlock(lock)
        return _with_shares_said(builder, shares)
    download = tfds.download.DownloadConfig(manual_dir=root)
    # A process that prepares this data set is waited for; what a killed one left half-written is removed.
    with files.locked(lock, wait=True):
        for left in (folder / builder.name).rglob("incomplete.*"):  # as TFDS names them
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        builder = _builder(name, layout, config=setting, data_dir=folder)
        builder.workers = workers
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # TFDS's own words; there is a progress bar
                builder.download_and_prepare(download_config=download)
        except (OSError, RuntimeError) as error:  # TFDS turns a full disk into a RuntimeError
            raise OutputError(f"Records of {name} cannot be written to {folder}: {error}") from error
    return _with_shares_said(builder, shares)


def _with_shares_said(builder, shares):
    """The builder; where splits are far from the shares that were asked for, that is logged."""
    if shares:
        counts = [builder.info.splits[name].num_examples for name in NAMES]
        reached = tuple(count / sum(counts) for count in counts)
        if max(abs(one - other) for one, other in zip(reached, shares, strict=True)) > _FAR:
            _say_shares(f"{builder.name}/{builder.builder_config.name}", tuple(shares), reached)
    return builder


@functools.lru_cache  # once, not for each split that is loaded
def _say_shares(name, *shares):
    asked, reached = (", ".join(f"{100 * share:.0f}" for share in each) for each in shares)
    _LOG.warning(
        "%s has %s %% of its images in train, validation and test: images that a data set holds out to test on stay "
        "the test split, and no patient is divided. Received: shares of %s %%", name, reached, asked,
    )  # fmt: skip


def _chosen(policy, shares, seed, splits):
    """The split file, None where there is none, and the name of the policy."""
    check_whole(DataError, seed=(seed, 0))
    if splits is None:
        check(policy, shares or (1, 0, 0))
        return None, policy
    if shares or seed or policy not in ("grouped", FILE):
        raise DataError(
            f"A split file says all that policy, shares and seed could: leave these out. "
            f"Received: {policy!r}, {shares}, {seed}"
        )
    return split_files.read(splits), FILE


def _builder(name, layout, **options):
    if isinstance(layout, Layout):
        from keras_fracture.data.own.builder import Builder

        return Builder(layout, **options)
    return importlib.import_module(f"keras_fracture.data.datasets.{name}.{name}_dataset_builder").Builder(
        **options
    )


def load(name, split="train", policy="grouped", **options):
    r"""Loads one split of a data set, as records that give datasets for training.

    Example:
        >>> train = load("phantom", split="train").batched(32, size=64)  # a tf.data.Dataset of (images, labels)
        >>> train = load("my_folder", finding="tumour", patient=r"patient(\d+)_")

    Args:
        name: As in `prepare`.
        split: "train", "validation" or "test"; parts of them `data.Records` takes.
        policy: One of `splits.POLICIES`.
        **options: Those of `prepare`.

    Returns:
        `pipeline.Records`: no `tf.data.Dataset` itself. Its `batched` gives one of batches for `fit`, `raw` one of the
        encoded records, `arrays` all images in memory, `table` what is known of each image, `len` how many there are.

    Raises:
        DataError: No such data set, split or policy, or files that are missing.
        OutputError: The cache cannot be written.
    """
    from keras_fracture.data.pipeline import Records

    if split not in NAMES:
        if re.match(rf"({'|'.join(NAMES)})\s*[\[+]", str(split)):  # TFDS's words, which `Records` takes
            raise DataError(
                "Parts of splits, between which one patient's images may be divided, are taken by "
                f"data.Records(data.prepare({name!r}), {split!r}), with policy and options for prepare. "
                f"Received: {split!r}"
            )
        raise DataError(
            f"No such split. Choose one of {', '.join(NAMES)}. {meant(split, NAMES)}Received: {split!r}"
        )
    return Records(prepare(name, policy, **options), split)


def load_all(name, policy="grouped", **options):
    """All three splits, a dict of split name to what `load` gives; arguments and errors as there."""
    return {split: load(name, split, policy, **options) for split in NAMES}


def names():
    """Names of the data sets `load` knows."""
    return list(catalogue.NAMES)
