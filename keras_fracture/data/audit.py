"""What is wrong with a data set, found from files and labels alone: `keras-fracture data audit NAME`."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from keras_fracture import parallel
from keras_fracture.data import tables, unread
from keras_fracture.data.catalogue import BOTH_LABELS, catalogue, joined, title
from keras_fracture.data.numbering import labels_beside
from keras_fracture.data.scan import SCALARS

# Balanced accuracy from which one number alone is called a shortcut, if it is also above `chance`.
_SHORTCUT = 0.60
_PERMUTATIONS = 200


def audit(name, data_dir=None, progress=True, workers=parallel.HERE, **reading):
    """Finds faults.

    Args:
        name: A data set, or the path of own X-rays.
        data_dir: Where to look, see `locations.data_dir`.
        progress: Whether to show a progress bar.
        workers: `parallel.Workers` that read the files.
        **reading: How own X-rays are read, see `catalogue.find`.

    Returns:
        A dict: `name`, `images`, `labels`, `body_parts`, `sources`, `joined` (see `catalogue.joined`), `scalars` (the
        balanced accuracy that each number alone reaches), `chance` (of the function of that name), `unread` (see
        `unread.unread`) and `findings`, a list of dicts `kind`, `count` (images), `detail` (one line), `files` (the
        offenders, sorted).
    """
    return examine(title(name), catalogue(name, data_dir, progress=progress, workers=workers, **reading))


def examine(name, data_set):
    """`audit` of a `Catalogue` that was read before."""
    table, pairs = data_set.table, data_set.near_pairs
    by_chance = chance(table)
    findings = [
        _unreadable(table),
        _truncated(table),
        _synthetic(table),
        _inverted(table),
        _deep(table),
        _conflicts(table),
        _exact(table),
        _equal(table),
        _near(table, pairs),
        _near_opposites(table, pairs),
        _merged(table),
        _copies(table),
        _cut_sources(table),
        *_leaks(table),
        _copy_depth(table),
        *_shortcuts(table, by_chance),
        _numbered(table, by_chance),
    ]
    return {
        "name": name,
        "images": len(table),
        "labels": {"healthy": int((table["label"] == 0).sum()), "finding": int((table["label"] == 1).sum())},
        "majority_accuracy": float(max(table["label"].mean(), 1 - table["label"].mean())),
        "body_parts": {str(k): int(v) for k, v in table["body_part"].value_counts().items()},
        "sources": {
            "named": int(table["named_source"].nunique()),
            "distinct": int(table["source"].nunique()),
        },
        "joined": joined(table),
        "scalars": scalar_accuracies(table),
        "chance": by_chance,
        "unread": data_set.unread,
        "findings": [finding for finding in findings if finding["count"]],
    }


def _finding(kind, rows, detail):
    return {"kind": kind, "count": len(rows), "detail": detail, "files": sorted(rows["filename"])}


def _unreadable(table):
    rows = table[table["error"] != ""]
    return _finding("unreadable", rows, "cannot be decoded at all; left out")


def _truncated(table):
    rows = table[table["truncated"]]
    labels = " and ".join(f"{n} of label {label}" for label, n in rows["label"].value_counts().items())
    return _finding("truncated", rows, f"file ends before its end marker: {labels}; recovered")


def _synthetic(table):
    made = table["synthetic"] if "synthetic" in table else np.zeros(len(table), bool)
    return _finding("synthetic", table[made], "drawn by a network, as a column or their own files say")


def _inverted(table):
    rows = table[table["inverted"]]
    return _finding(
        "looks inverted", rows, "corners brighter than the middle: bones may be dark on a bright ground; kept"
    )


def _deep(table):
    """Images of more than 8 bits; where one detector's images come out with several depths, that is a guess."""
    rows = table[table["bits"] > 8]
    counts = ", ".join(f"{n} of {bits} bits" for bits, n in rows["bits"].value_counts().sort_index().items())
    return _finding("more than 8 bits", rows, f"scaled to 8 by the bits that each really uses: {counts}")


def _conflicts(table):
    rows = table[table["conflict"] != ""]
    reasons = rows["conflict"].str.split("; ")
    twice = rows[rows["conflict"].str.contains(BOTH_LABELS)]
    stated = reasons.map(lambda given: [reason for reason in given if reason != BOTH_LABELS])
    pairs = twice[twice["label"] == 1].merge(
        twice[twice["label"] == 0], on="digest", suffixes=("", "_healthy")
    )
    parts = [f"{a} = {b}: {BOTH_LABELS}" for a, b in zip(pairs.filename, pairs.filename_healthy, strict=True)]
    parts += [f"{name}: {why}" for name, given in zip(rows["filename"], stated, strict=True) for why in given]
    return _finding("contradictory label", rows, f"{len(parts)} contradictions, left out: {'; '.join(parts)}")


def _exact(table):
    rows = table[table.duplicated("file_digest")]
    splits = table.groupby("file_digest")["published_split"].nunique().max() > 1
    return _finding(
        "exact copies of a file",
        rows,
        "beyond the first of each" + ", also across published splits" * bool(splits),
    )


def _equal(table):
    readable = table[(table["digest"] != "") & ~table.duplicated("file_digest")]
    rows = readable[readable.duplicated("digest")]
    return _finding("equal pixels, other file", rows, "beyond the first of each, and beyond exact copies")


def _unequal(table, pairs):
    """Near pairs without those of equal pixels; a hash distance of 0 does not mean equal."""
    digests = table["digest"].to_numpy()
    return pairs[digests[pairs[:, 0]] != digests[pairs[:, 1]]]


def _near(table, pairs):
    near = _unequal(table, pairs)
    named = table["named_source"].to_numpy()
    apart = near[named[near[:, 0]] != named[near[:, 1]]]
    rows = table.iloc[np.unique(apart[:, :2])]
    detail = f"{len(apart)} pairs of different named sources differ in at most 10 of 256 hash bits"
    return _finding("near duplicates", rows, detail)


def _near_opposites(table, pairs):
    labels = table["label"].to_numpy()
    near = _unequal(table, pairs)
    opposite = near[labels[near[:, 0]] != labels[near[:, 1]]]
    names = table["filename"].to_numpy()
    detail = "; ".join(f"{names[i]} ~ {names[j]} ({distance} bits)" for i, j, distance in opposite[:8])
    return _finding("near duplicates, both labels", table.iloc[np.unique(opposite[:, :2])], f"kept: {detail}")


def _merged(table):
    names = table.groupby("source")["named_source"].unique()
    joined = names[names.map(len) > 1]
    rows = table[table["source"].isin(joined.index)]
    examples = "; ".join(" = ".join(sorted(group)[:6]) for group in joined.iloc[:8])
    more = f"; and {len(joined) - 8} more" if len(joined) > 8 else ""
    detail = (
        f"{table['named_source'].nunique()} named sources are {table['source'].nunique()} distinct: "
        f"{examples}{more}"
    )
    return _finding("one X-ray under several names", rows, detail)


def _copies(table):
    sizes = table.groupby("source").size()
    rows = table[table["source"].isin(sizes.index[sizes > 1])]
    detail = f"{len(sizes)} sources make {len(table)} images, up to {sizes.max()} of one"
    return _finding("several images of one source", rows, detail)


def _cut_sources(table):
    """Named sources without the original that copies are made from."""
    if "copies" not in table:
        return _finding("source without its original", table[:0], "")
    least = table.groupby("named_source")["copies"].min()
    rows = table[table["named_source"].isin(least.index[least > 0])]
    names = ", ".join(sorted(rows["named_source"].unique()))
    return _finding("source without its original", rows, f"only copies, no un-rotated image: {names}")


def _leaks(table):
    """Test and validation images whose source is also trained on, in the split the publisher gives: a finding each."""
    given = tables.sides(table["published_split"])
    # Who gives one of them alone means it to be tested on, see `splits.assign`.
    if not {"val", "test"} <= set(given):
        given = given.replace("val", "test")
    return [
        _leak("leak across the published split", "test", table, given == "test", given == "train"),
        _leak("leak into published validation", "validation", table, given == "val", given == "train"),
    ]


def _leak(kind, side, table, on_side, train):
    rows = table[on_side & table["source"].isin(table[train]["source"])]
    origin = table[train].groupby("source")["named_source"].unique()
    parts = []
    for name, group in sorted(rows.groupby("named_source"), key=lambda pair: -len(pair[1]))[:4]:
        parts.append(
            f"{len(group)} of {name}, in train {' = '.join(sorted(origin[group['source'].iloc[0]]))}"
        )
    detail = f"{len(rows)} of {on_side.sum()} {side} images come from {rows['source'].nunique()} sources"
    return _finding(kind, rows, f"{detail} also trained on: {'; '.join(parts)}")


def _copy_depth(table):
    """Numbers of processing steps that occur in one class only."""
    if "copies" not in table:
        return _finding("processing in one class only", table[:0], "")
    classes = table.groupby("copies")["label"].agg(["nunique", "first"])
    alone = classes[classes["nunique"] == 1]
    rows = table[table["copies"].isin(alone.index)]
    detail = "; ".join(
        f"copies rotated {depth} times exist only with label {row['first']}"
        for depth, row in alone.iterrows()
    )
    return _finding("processing in one class only", rows, detail)


def _shortcuts(table, by_chance):
    """One number alone that tells the classes apart better than it should, best first."""
    shortcuts = []
    for scalar in SCALARS:
        accuracy, threshold, above = threshold_accuracy(table[scalar], table["label"])
        if accuracy >= _SHORTCUT and accuracy > by_chance:
            predicted = (table[scalar] > threshold) == above
            rows = table[predicted & (table["label"] == 1)]
            side = "above" if above else "at most"
            detail = (
                f"'finding' wherever {scalar} is {side} {threshold:.4g}: balanced accuracy {accuracy:.1%}"
            )
            shortcuts.append((accuracy, _finding(f"shortcut: {scalar}", rows, detail)))
    return [finding for _, finding in sorted(shortcuts, key=lambda pair: -pair[0])]


def _numbered(table, by_chance):
    """Findings beside others, where the numbers of files tell the label: of one patient, maybe, or filed by label."""
    beside = labels_beside(table)
    accuracy, threshold, above = threshold_accuracy(beside, table["label"])
    told = above and accuracy >= _SHORTCUT and accuracy > by_chance
    return _finding(
        "label follows file numbers",
        table[told & (beside > threshold) & (table["label"] == 1)],
        f"the labels of the two nearest numbers of other X-rays or patients tell it: balanced accuracy {accuracy:.1%}. "
        "Views of one patient may be numbered one after another, and be on two sides of a split; or files are "
        "numbered by label",
    )


def scalar_accuracies(table):
    """Balanced accuracy that the best threshold on each scalar of the scan reaches, as a dict."""
    return {scalar: threshold_accuracy(table[scalar], table["label"])[0] for scalar in SCALARS}


def chance(table, seed=0):
    """The balanced accuracy that the best of all scalars stays below in 95 % of data sets whose labels mean nothing.

    The best of so many scalars and thresholds reaches more than one half by chance, the more so the fewer the sources.
    Here the labels change places, those of a source's images staying together, 200 times.

    Args:
        table: Of a `Catalogue`.
        seed: Of the permutations.
    """
    rng, best = np.random.default_rng(seed), np.full(_PERMUTATIONS, 0.5)
    codes, labels = pd.factorize(table["source"])[0], table["label"].to_numpy(int)
    grouped = np.argsort(codes, kind="stable")
    shuffled = np.empty((_PERMUTATIONS, len(labels)), np.int8)
    for row in shuffled:
        places = rng.permutation(codes.max(initial=-1) + 1)[codes[grouped]]
        row[grouped] = labels[grouped[np.argsort(places, kind="stable")]]
    for scalar in SCALARS:
        values = table[scalar].to_numpy(float)
        order = np.argsort(values, kind="stable")[: np.isfinite(values).sum()]  # NaN is last
        if not len(order):  # no file could be read
            continue
        last = np.append(np.flatnonzero(np.diff(values[order])), len(order) - 1)  # of each value
        for number, row in enumerate(shuffled):
            below = np.cumsum(row[order], dtype=np.int64)[last]
            positives = below[-1]
            if 0 < positives < len(order):
                share = below / positives - (last + 1 - below) / (len(order) - positives)
                best[number] = max(best[number], (1 + np.abs(share).max()) / 2)
    return float(np.percentile(best, 95))


def threshold_accuracy(values, labels):
    """The best single threshold.

    Args:
        values: One number an image; NaN is left out.
        labels: 0 or 1 an image.

    Returns:
        Balanced accuracy (0.5 to 1), the threshold, and whether label 1 lies above it.
    """
    frame = pd.DataFrame({"value": np.asarray(values, float), "label": np.asarray(labels, int)}).dropna()
    counts = frame.groupby("value")["label"].agg(["sum", "size"])
    positives, total = counts["sum"].sum(), counts["size"].sum()
    if positives in (0, total):
        return 0.5, float("nan"), True
    below_positive = counts["sum"].cumsum() / positives
    below_negative = (counts["size"] - counts["sum"]).cumsum() / (total - positives)
    above = (1 - below_positive + below_negative) / 2
    best = np.maximum(above, 1 - above)
    at = best.idxmax()
    return float(best[at]), float(at), bool(above[at] >= 0.5)


def write(report, out, root):
    """Writes `audit.json` and, where there are offenders, `audit.png` (a contact sheet of them).

    Args:
        report: What `audit` returned.
        out: Folder to write into; made if missing.
        root: The data set's folder, or None.

    Returns:
        The paths written.
    """
    from keras_fracture import files
    from keras_fracture.data import sheets

    out = files.folder(out)
    written = [files.write_text(out / "audit.json", json.dumps(report, indent=1) + "\n")]
    # Of the embedded set there are no files to show.
    rows = (
        []
        if root is None
        else [
            (
                f"{finding['kind']} ({finding['count']})",
                [Path(root) / name for name in _spread(finding["files"])],
            )
            for finding in report["findings"]
        ]
    )
    if rows:
        written.append(sheets.contact_sheet(rows, out / "audit.png", title=f"Audit of {report['name']}"))
    return written


def _spread(names, most=8):
    """At most `most` names, spread over the list."""
    return [names[i] for i in np.unique(np.linspace(0, len(names) - 1, most).astype(int))]


def as_text(report):
    """The report as lines for a terminal."""
    labels, sources = report["labels"], report["sources"]
    lines = [
        f"{report['name']}: {report['images']:,} images, {labels['finding']:,} with a finding, "
        f"{labels['healthy']:,} healthy (the larger class alone: {report['majority_accuracy']:.1%} accuracy)",
        f"{sources['named']:,} named sources, {sources['distinct']:,} distinct X-rays or patients once "
        f"{report['joined']} are joined",
        "",
        f"{'fault':<34}{'images':>9}  detail",
    ]
    best = max(report["scalars"], key=report["scalars"].get)
    lines[2:2] = [
        f"best single number: {best}, balanced accuracy {report['scalars'][best]:.1%}; among labels that change places "
        f"by X-ray the best stays below {report['chance']:.1%} in 95 of 100 cases"
    ]
    lines += [f"{f['kind']:<34}{f['count']:>9,}  {f['detail']}" for f in report["findings"]]
    return "\n".join(lines + unread.as_lines(report["unread"]))
