"""How good anybody's generated images are."""

import json

from keras_fracture import progress
from keras_fracture.cli import verbs

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
        required=True,
        help="data set that the generator was trained on, or the path of your own X-rays",
    )
    verbs.own_data(verb)
    verb.add_argument(
        "--label",
        choices=_LABELS,
        default="finding",
        help="of the real images to compare with (default: finding)",
    )
    verb.add_argument("--policy", default="grouped", help="split policy (default: grouped)")
    verbs.splits(verb)
    verb.add_argument(
        "--size",
        type=int,
        metavar="N",
        help="pixels a side that all images are fitted to (default: that of the generated ones)",
    )
    verb.add_argument(
        "--crop",
        action="store_true",
        help="real images fill the square and are cropped, as bai_dcgan's are, in place of being padded with black",
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

    real, known = (
        data.load(
            options.data, split, options.policy, splits=options.splits, data_dir=options.data_dir,
            **verbs.reading(options),
        )
        for split in ("test", "train")
    )  # fmt: skip
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
    meant = "" if options.label == "all" else f", {options.label}"
    print(
        f"{counted(counts['generated'], 'generated image')} beside {counted(counts['real'], 'test image')} of {title}"
        f"{meant} (of {counts['sources']:,} X-rays or patients), {generated.shape[1]} x {generated.shape[2]} "
        f"pixels, {'cropped' if options.crop else 'padded'} to a square, features {options.features}, "
        f"{found.neighbours} neighbours\n"
    )
    rows = [
        [words, f"{found.scores[name]['value']:.4f}", f"{found.scores[name]['real_vs_real']:.4f}"]
        for name, words in MEASURES.items()
    ]
    print(markdown(["measure", "generated", "real against real"], rows))
    print(
        "A generator as good as the data would reach the last column: two halves of the test images, or for copies the "
        f"share of real images that lie as near to one of {counted(counts['known'], 'training image')} by chance. "
        "Copies that are turned or cropped are not found."
    )
    if options.out:
        policy = "file" if options.splits else options.policy
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
