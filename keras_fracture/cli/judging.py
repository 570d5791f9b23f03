"""How good anybody's generated images are."""

import argparse
import json
import logging

from keras_fracture import progress
from keras_fracture.cli import verbs

_LOG = logging.getLogger(__name__)
_LABELS = ("finding", "healthy", "all")


def add_judge(commands):
    """Adds `judge`."""
    verb = verbs.add(
        commands, "judge", judge, "compare anybody's generated images with a data set's real ones, and find copies",
        "keras-fracture judge my_images --data fracatlas --label finding --out judgement.json",
    )  # fmt: skip
    verb.add_argument("images", nargs="+", help="generated images, or folders of them; of any generator")
    verb.add_argument(
        "--data",
        metavar="NAME",
        help="data set that the generator was trained on, or the path of your own X-rays (default: what `generate` "
        "recorded)",
    )
    verbs.own_data(verb)
    verb.add_argument(
        "--label",
        choices=_LABELS,
        default="finding",
        help="of the real images to compare with (default: finding)",
    )
    verb.add_argument(
        "--policy", help="split policy that the generator was trained under (default: what `generate` recorded, else "
        "grouped)"
    )  # fmt: skip
    verbs.splits(verb)
    verb.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="pixels a side that all images are fitted to (default: that of the generated ones)",
    )
    verb.add_argument(
        "--crop",
        action=argparse.BooleanOptionalAction,
        help="real images fill the square and are cropped, as bai_dcgan's are, in place of being padded with black "
        "(default: what `generate` recorded, else padded)",
    )
    verb.add_argument(
        "--features", default="xray", metavar="NAME", help="what distances are of: xray (default), inception_v3, or "
        "xray:PATH, a classifier of this package"
    )  # fmt: skip
    verb.add_argument("--seed", type=int, default=0, help="of all drawing (default: 0)")
    verb.add_argument("--out", metavar="FILE", help="JSON file for all numbers")
    verbs.data_dir(verb)


def judge(options):
    """`judge`."""
    paths = verbs.image_files(options.images)
    verbs.import_tensorflow()
    from keras_fracture import data, files
    from keras_fracture.data import catalogue
    from keras_fracture.errors import ImageError
    from keras_fracture.inference import judging
    from keras_fracture.report.generated import MEASURES
    from keras_fracture.report.markdown import counted, markdown

    splits = _settled(options, paths)
    builder = data.prepare(
        options.data,
        options.policy,
        splits=options.splits,
        data_dir=options.data_dir,
        **verbs.reading(options),
    )
    real, known = data.Records(builder, "test"), data.Records(builder, splits)
    parts = set(known.table["body_part"]) - {""}
    kept = judging.of_label(paths, options.label, parts)
    if len(kept) < len(paths):
        progress.say(f"left out: {counted(len(paths) - len(kept), 'generated image')} of another label")
        if len(kept) <= judging.NEIGHBOURS < len(paths):
            raise ImageError(
                f"More than {judging.NEIGHBOURS} generated images of the label {options.label} are needed: generate "
                f"more, or take those of other labels, too (--label all). Received: {len(kept)} of {len(paths)} images"
            )
    generated = judging.read(kept, options.size, options.crop)
    synthetic = catalogue.synthetic(options.data, **verbs.reading(options))
    found = judging.judge(
        generated, real, known, options.label, options.features, options.seed, options.crop, synthetic
    )
    counts, title = found.counts, catalogue.title(options.data)
    policy = "file" if options.splits else options.policy
    meant = "" if options.label == "all" else f", {options.label}"
    print(
        f"{counted(counts['generated'], 'generated image')} beside {counted(counts['real'], 'test image')} of {title}"
        f"{meant} (of {counts['sources']:,} X-rays or patients), split policy {policy}, "
        f"{generated.shape[1]} x {generated.shape[2]} pixels, {'cropped' if options.crop else 'padded'} to a square, "
        f"features {options.features}, {found.neighbours} neighbours\n"
    )
    rows = [
        [words, f"{found.scores[name]['value']:.4f}", f"{found.scores[name]['real_vs_real']:.4f}"]
        for name, words in MEASURES.items()
    ]
    print(markdown(["measure", "generated", "real against real"], rows))
    print(
        "A generator as good as the data would reach the last column: two halves of the test images, or for copies the "
        f"share of real images that lie as near to one of {counted(counts['known'], 'image')} of "
        f"{splits.replace('+', ' and ')} by chance. Copies that are turned or cropped are not found."
    )
    if options.out:
        settings = {
            "data": title,
            "label": options.label,
            "policy": policy,
            "features": options.features,
            "crop": options.crop,
            "seed": options.seed,
            "neighbours": found.neighbours,
            "size": generated.shape[1],
        }
        said = settings | {"counts": counts, "scores": found.scores}
        progress.say(f"wrote {files.write_text(options.out, json.dumps(said, indent=1) + chr(10))}")


def _settled(options, paths):
    """Fills in what the command line leaves open by what `generate` recorded beside images; warns of contradictions.

    Returns:
        The splits that the generator may have copied, as TFDS names them.
    """
    from keras_fracture.data import catalogue
    from keras_fracture.errors import ImageError
    from keras_fracture.inference import origins

    found, told = origins.of_images(paths)
    if len(found) > 1:
        raise ImageError(
            "The images are of generators that learnt from different images: judge those of each by themselves. "
            f"Received: {'; '.join(sorted(f'{one.data}, {one.policy}' for one in found))}"
        )
    learnt = next(iter(found), None)
    if learnt and told < len(paths):
        _LOG.warning(
            "nothing says what the generator of %d of %d images learnt from: they are judged as the others, which are "
            "of %s, %s", len(paths) - told, len(paths), learnt.data, learnt.policy,
        )  # fmt: skip
    if not options.data:
        if not learnt or learnt.data not in catalogue.NAMES:
            said = f"own X-rays, {learnt.data}" if learnt else "nothing of it beside the images"
            raise ImageError(
                f"Name the data set that the generator was trained on by --data. Received: {said}"
            )
        options.data = learnt.data
    same = learnt and catalogue.title(options.data) == learnt.data
    if same and learnt.policy == "file" and not (options.splits or options.policy):
        raise ImageError("The generator was trained by a split file: name it by --splits. Received: none")
    given = "file" if options.splits else options.policy
    wrong = []
    if learnt and not same:
        wrong.append(f"{learnt.data}, not {catalogue.title(options.data)}")
    elif learnt and given not in (None, learnt.policy):
        wrong.append(f"the split policy {learnt.policy}, not {given}")
    if learnt and options.crop not in (None, learnt.crop):
        wrong.append("cropped images, not padded ones" if learnt.crop else "padded images, not cropped ones")
    if wrong:
        _LOG.warning(
            "the generator learnt from %s: copies may be overlooked, and distances are not its own",
            "; ".join(wrong),
        )
    if not learnt and not given:
        _LOG.warning(
            "nothing beside the images says by which split policy the generator was trained: grouped is taken, and "
            "under any other copies may be overlooked (--policy)"
        )
    fits = same and given in (None, learnt.policy)
    options.policy = options.policy or (learnt.policy if fits and not options.splits else "grouped")
    options.crop = bool(learnt and learnt.crop) if options.crop is None else options.crop
    return learnt.splits if fits else "train+validation"  # either may have been copied
