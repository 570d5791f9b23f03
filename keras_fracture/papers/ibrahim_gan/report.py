"""Do synthetic X-rays help a classifier? The answer first, then the poster's arms and ours at each number of images."""

import numpy as np
import pandas as pd

from keras_fracture import files
from keras_fracture.evaluation.baselines import compare as compare_with
from keras_fracture.experiment.runs import read_config, write_metrics
from keras_fracture.experiment.splits import counts, how_told
from keras_fracture.papers.ibrahim_gan import drawings
from keras_fracture.papers.ibrahim_gan.answer import (
    STUDIES,
    arm_in_words,
    bold,
    other_steps,
    qualities,
    sentences,
    size_in_words,
    too_few,
)
from keras_fracture.papers.ibrahim_gan.experiment import steps_of
from keras_fracture.papers.ibrahim_gan.gans import GOOD_COVERAGE, GOOD_DISTANCE
from keras_fracture.papers.ibrahim_gan.learning_curve import BASELINE
from keras_fracture.papers.ibrahim_gan.table import TABLES, compare, table, unlike_profile
from keras_fracture.progress import Bar
from keras_fracture.report import baselines
from keras_fracture.report.groups import ENOUGH
from keras_fracture.report.markdown import Figures, counted, decimal, markdown, overlap, percent

__all__ = ["FRONT", "HEADLINES", "TABLES", "compare", "kept_figures", "measure", "table", "write"]

# What the table of all papers shows: what is measured, its metric, and which runs measured it.
_POSTER = {"model": "compact_cnn", "split_policy": "grouped"}
HEADLINES = (
    ("original images: accuracy", "accuracy", {"variant": "original", **_POSTER}),
    ("and synthetic ones: accuracy", "accuracy", {"variant": "synthetic", **_POSTER}),
)
FRONT = (  # of README
    ("with synthetic X-rays, AUC", "auc", {"variant": "synthetic", "data": "fracatlas", **_POSTER},
     ("without them, in fewer steps", {"variant": BASELINE})),
)  # fmt: skip


def write(config, results, run):
    """Writes figures, `metrics.json` and `report.md`.

    Args:
        config: The `Config`.
        results: `experiment.Results`.
        run: An `experiment.runs.Run`.

    Returns:
        What `metrics.json` holds.
    """
    recorded = read_config(run.folder)
    common = {"data": config.data_title, "profile": recorded["profile"], "seeds": config.seeds}
    scores = {policy: {} for policy in results.poster}
    jobs = [(policy, arm) for policy in results.poster for arm in drawings.LABELS]
    for policy, arm in Bar(jobs, "intervals", unit=" arms"):
        scores[policy][arm] = results.poster[policy].scores(arm)
    rows = [
        {
            "variant": arm,
            "model": "compact_cnn",
            "split_policy": policy,
            **unlike_profile(config, recorded["profile"]),
            **common,
            "steps": steps_of(config, arm, len(results.poster[policy].sets["train"].labels)),
            "saved_model": f"{policy}/classifiers/{arm}/saved_model",
            "metrics": scores[policy][arm],
            "reported": {"accuracy": config.REPORTED[arm]},
            "baselines": compare_with(
                results.poster[policy].predictions(arm), results.poster[policy].baselines
            ),
        }
        for policy in results.poster
        for arm in drawings.LABELS
    ]
    if config.seeds > 1:
        for row in rows:
            row["saved_model_metrics"] = results.poster[row["split_policy"]].saved_model_scores(
                row["variant"]
            )
    curves = {name: getattr(results, field) for name, field in
              (("learning_curve", "curve"), ("few_labels", "few_labels")) if getattr(results, field)}  # fmt: skip
    measured = {name: measure(curve) for name, curve in curves.items()}
    rows += [
        {
            "variant": arm,
            "model": "dcgan_discriminator",
            "study": name,
            "real_images": size,
            **curves[name].drawn.get(size, {}),
            "split_policy": config.policies[0],
            "image_size": config.image_size,
            **common,
            "metrics": metrics,
            "reported": {},
        }
        for name, numbers in measured.items()
        for (size, arm), metrics in numbers.items()
    ]
    sets = {policy: one.sets for policy, one in results.poster.items()}
    for curve in curves.values():
        sets.setdefault(config.policies[0], curve.sets)
    splits = {policy: counts(one) for policy, one in sets.items()}
    drawings.draw(config, results, scores, measured, run.folder)
    if results.poster:
        files.write_text(run.folder / "history.csv", _history(results.poster).to_csv(index=False))
    text = _text(config, recorded, results, scores, measured, rows, splits, run.folder)
    files.write_text(run.folder / "report.md", text)
    gans = {name: {key: value for key, value in quality.items() if key not in ("shown", "nearest")}
            for name, quality in qualities(results).items()}  # fmt: skip
    if results.curve:
        folder = results.curve.gans[results.curve.sizes[-1]].folder
        gans["the modern GAN"] |= {
            "variant": "modern",
            "model": "dcgan_generator",
            "split_policy": config.policies[0],
            **common,
            "saved_model": (folder / "saved_model").relative_to(run.folder).as_posix(),
        }
    kept = kept_figures(config.data_title, curves)
    return write_metrics(run.folder, config, rows, splits=splits, gans=gans, figures=kept)


def kept_figures(data, studies):
    """The figures that go beside the recorded numbers: of real X-rays none that shows one, they are not passed on."""
    return [*(f"{name}.png" for name in studies), *(["samples.png"] if data == "phantom" else [])]


def measure(curve):
    """Scores of a `learning_curve.Curve`: (size, arm) to metrics and gains over the baselines, with intervals."""
    numbers = {}
    for size, arm in Bar(
        [(size, arm) for size in curve.sizes for arm in curve.arms], "intervals", unit=" arms"
    ):
        numbers[size, arm] = metrics = curve.scores(size, arm)
        if arm == BASELINE:
            continue
        metrics |= {f"{name}_gain": gain for name, gain in curve.gains(size, arm).items()}
        over = BASELINE
        if arm.startswith("classic + "):
            over = "classic"
            metrics["auc_gain_over_classic"] = curve.gains(size, arm, over)["auc"]
        if size < curve.sizes[-1]:  # beyond the last nothing is known
            metrics["equivalent_images"] = curve.equivalent(size, arm, over)
    return numbers


def _history(poster):
    """Every epoch of every classifier, one row each."""
    frames = []
    for policy, result in poster.items():
        for arm, runs in result.outcomes.items():
            for run, outcome in enumerate(runs):
                columns = {name: values for name, values in outcome.items() if name != "probabilities"}
                frame = pd.DataFrame(columns)
                frame.insert(0, "epoch", np.arange(1, len(frame) + 1))
                for name, value in (("run", run), ("arm", arm), ("split_policy", policy)):
                    frame.insert(0, name, value)
                frames.append(frame)
    return pd.concat(frames)


def _text(config, recorded, results, scores, measured, rows, splits, folder):
    figures = Figures()
    lines = [
        "# Do synthetic X-rays help a classifier?\n",
        f"{config.title}, re-run on `{config.data_title}`, profile `{recorded['profile']}`, "
        f"variant `{config.variant}`.\n",
        *how_told(config),
        "## Answer\n",
        *sentences(config, results, scores, measured),
        "## The images\n",
        *_images(config, results, figures, folder),
    ]
    for name, curve in (("learning_curve", results.curve), ("few_labels", results.few_labels)):
        if curve:
            lines += _study(config, name, curve, measured[name], figures)
    if results.poster:
        lines += _poster(config, scores, rows, splits, figures)
    else:
        lines += [overlap(splits[config.policies[0]], config.policies[0])]
    lines += ["## What would change the answer\n", *_limits(config, results), *_how(config, recorded)]
    return "\n".join(lines) + "\n"


def _images(config, results, figures, folder):
    names = [name for name, there in (("poster", results.poster), ("modern", results.curve)) if there]
    lines = [
        f"*Good enough* was fixed beforehand: KID at most {GOOD_DISTANCE} times what two halves of the real training "
        "images that share no X-ray may reach, less what copies of one X-ray add (mean and two standard deviations "
        "over five splits), coverage at least "
        f"{GOOD_COVERAGE:g} of the real images'. Features: `{config.extractor}`. Near copies are found upright "
        "alone: rotated, mirrored or cropped ones are overlooked.\n"
    ]
    if names:
        lines.append(figures.add("samples.png", drawings.SAMPLES))
    for name in names:
        lines.append(figures.add(f"neighbours-{name}.png", drawings.NEIGHBOURS.format(name)))
        if (folder / f"samples-{name}.gif").exists():  # not of a training too short for two grids
            lines.append(figures.add(f"samples-{name}.gif", drawings.ANIMATION[name]))
    if results.curve:
        told = ", ".join(f"{value:.3f} ({size:,} real images)" for size, value in results.curve.seen.items())
        real = results.curve.scores(results.curve.sizes[-1], "classic")["auc"]
        lines.append(
            "Can a finding be told from a healthy bone in the generated images? A classifier of the real images alone "
            f"tells the two classes that the modern GAN was asked for with an AUC of {told}; in real test images, "
            f"taught by all of the training images, with {real['value']:.3f}.\n"
        )
    return lines


def _study(config, name, curve, numbers, figures):
    if name == "learning_curve":
        lines = [
            "## How many real images do I have?\n",
            "At each number of real images (half of each class, whole X-rays; the last is all of them) a "
            "class-conditional DCGAN sees *only those*, and the classifier, the network of its discriminator, is "
            f"trained in each way for the same {config.classifier_steps:,} steps. {_ratio(config.ratios[0])} for each "
            "real one. *Classic*: real images, turned, moved and mirrored while training; *synthetic*: real and "
            "synthetic images together; *classic + synthetic*: the same, all turned, moved and mirrored; *warm start*: "
            "half of the steps on synthetic images alone, then half on real ones. "
            "*Equivalent images*: how many real images more would have taken the "
            "arm that it is held against (classic augmentation where the arm has it, else the original images) to "
            "the same AUC; *not determined* where the AUC of that arm does not rise around this number. An end at the "
            'first size means "or fewer", at the last "or more".\n',
        ]
    else:
        lines = [
            "## Few labels, many images\n",
            f"The GAN sees all {len(curve.sets['train'].labels):,} training images without labels, the classifier a "
            "few labels, half of each class, of as many X-rays as there are. Networks learn with classic augmentation, "
            "over which gains are counted. *Start from the discriminator*: its weights are the first weights. "
            "*Discriminator features*: logistic regression on its maps of the images as they are (Radford et al. 2016)."
            " *Synthetic*: one of these two, whichever has the higher AUC on the whole validation split "
            f"({len(curve.sets['validation'].labels):,} labels more), says how likely each generated image shows a "
            "finding; a new classifier learns from these images beside the real ones. The other arms see no label of "
            "that split. None of the papers asks this.\n",
        ]
    words = drawings.CURVE.format(
        len(curve.sets["test"].labels), STUDIES[name], counted(config.seeds, "seed")
    )
    lines.append(figures.add(f"{name}.png", words))
    few = too_few(curve.sets)
    header = [STUDIES[name], "arm", "test AUC", f"gain over {arm_in_words(name, BASELINE)}, points", "over classic",
              "equivalent images"]  # fmt: skip
    rows = [
        [
            size_in_words(size, curve.drawn.get(size, {})), arm_in_words(name, arm), decimal(one["auc"]),
            *(bold(one[key], few) if key in one else "" for key in ("auc_gain", "auc_gain_over_classic")),
            _whole(one["equivalent_images"], size, curve.sizes) if "equivalent_images" in one else "",
        ]
        for (size, arm), one in numbers.items()
    ]  # fmt: skip
    lines.append(markdown(header, rows))
    if name == "learning_curve" and (len(config.ratios) > 1 or config.filters):
        lines.append(figures.add("options.png", drawings.OPTIONS))
    return lines


def _ratio(ratio):
    return "There is 1 synthetic image" if ratio == 1 else f"There are {ratio:g} synthetic images"


def _whole(score, size, sizes):
    if score is None:
        return "not determined"
    value, low, high = (f"{round(score[key]) or 0:+,}" for key in ("value", "low", "high"))
    beyond = {sizes[0] - size: " or fewer", sizes[-1] - size: " or more"}.get(round(score["value"]), "")
    return f"{value}{beyond} ({low} to {high})"


def _poster(config, scores, rows, splits, figures):
    lines = [
        "## The poster's four arms\n",
        "The poster trains a compact CNN of 13,585 parameters on a dense GAN's images, one GAN a class, and reports "
        "accuracies of 92 % (original images), 87 % (classic augmentation), 91 % (with synthetic images) and 93 % "
        "(warm start on synthetic images); it does not say by which test images, nor how far these share X-rays with "
        f"the training images. All arms train for {counted(config.epochs, 'epoch')}, and so not for the same steps: "
        "synthetic images make an epoch longer, and a warm start is a training more. Where the steps differ, a gain "
        "cannot be told from that of longer training.\n",
    ]
    for policy in scores:
        own = [row for row in rows if row["split_policy"] == policy and "baselines" in row]
        few = own[0]["baselines"].get("sources", ENOUGH) < ENOUGH
        lines += [f"### {policy} split\n", overlap(splits[policy], policy)]
        lines.append(_arms_table(config, scores[policy], few, splits[policy]["train"]["images"]))
        lines += [f"- {row['variant']}: {baselines.verdict(row['baselines'])}" for row in own]
        lines += [f"\n{baselines.HOW}\n", baselines.table(own[0]["baselines"]["scores"])]
    arms = "mean over seeds, 95 % intervals"
    return [
        *lines,
        figures.add(
            "arms-accuracy.png", f"Test accuracy of the poster's arms beside the poster's own: {arms}."
        ),
        figures.add("arms-auc.png", f"Area under the ROC curve of the same: {arms}."),
        figures.add("classifier-accuracy.png", drawings.ACCURACY),
        figures.add("gan-losses.png", drawings.LOSSES),
    ]


def _limits(config, results):
    lines = [
        "- A longer or better GAN: where the images are not good enough, the question has not been asked yet.",
        "- Other draws of the real images and other trainings of the GANs: `--seeds 5 --set gans_per_class=5` draws "
        "both anew.",
        f"- Other data: this is `{config.data_title}`" + (", drawn by a program and easier than hospital X-rays."
                                                   if config.data == "phantom" else "."),
        "- Another classifier, or another number of steps: all networks of the modern study get the same"
        + ("; the poster's do not, see its table.\n" if results.poster else ".\n"),
    ]  # fmt: skip
    return lines if results.curve or results.few_labels else [*lines[:3], ""]


def _how(config, recorded):
    poster = (
        f"- Poster's GANs: generator {config.gan_width:g} and discriminator "
        f"{config.discriminator_width or config.gan_width:g} times as wide as the poster's, {config.gan_channels} "
        f"channel(s), {counted(config.gan_epochs, 'epoch')} of {config.gan_steps or 'all'} steps of "
        f"{config.batch_size} images, Adam {config.gan_learning_rate:g}, weight average {config.gan_ema or 'none'} "
        "(the poster: width 1, 3 channels, 100 epochs; rate and average not stated); "
        f"{config.synthetic_per_class:,} images a class (the poster: 10,500); classifiers of "
        f"{counted(config.epochs, 'epoch')}."
    )
    modern = (
        f"- Modern GANs: DCGAN of width {config.modern_width}, {_gan_steps(config)} of {config.batch_size} "
        f"images, Adam {config.modern_learning_rate:g}, DiffAugment, weight average {config.modern_ema:g}, class loss "
        f"{config.auxiliary:g}; classifiers: Adam 0.0004 with a cosine, {config.classifier_steps:,} steps."
    )
    return [
        "## How this was made\n",
        f"- Command: `{recorded['command']}`, {recorded['date']}, first seed {config.seed}, "
        f"{counted(config.seeds, 'seed')}, precision {recorded.get('computed_in', config.precision)}.",
        *([poster] if "poster" in config.studies else []),
        *([modern] if "modern" in config.studies else []),
        "- Synthetic images come from training images alone; none is in a validation or test set. Nothing was chosen "
        "on the test set: last weights, threshold 0.5.",
        "- The same command on the same machine gives the same numbers to the last digit; other machines round "
        "differently, and GANs make that visible.",
        f"- Versions: {', '.join(f'{name} {version}' for name, version in recorded['versions'].items())}.\n",
        "Not for clinical use.",
    ]


def _gan_steps(config):
    """How long the modern GANs train, in words."""
    steps = f"{config.modern_steps:,} steps"
    if config.modern_passes is None:
        return steps
    return f"at most {steps} and {config.modern_passes:,} passes over what each sees,"


def _arms_table(config, scores, few, real):
    """The arms of a split of `real` training images; no gain of `few` X-rays, or of other steps, is a verdict: bold."""
    header = ["arm", "steps", "accuracy %, paper", "test accuracy %, ours", "test AUC, ours",
              "gain in test accuracy over original, points", "validation accuracy %, last epoch"]  # fmt: skip
    rows = [
        [
            drawings.LABELS[arm].replace("\n", " "), f"{steps_of(config, arm, real):,}",
            f"{100 * config.REPORTED[arm]:.0f}",
            percent(score["accuracy"]), decimal(score["auc"]),
            bold(score["accuracy_gain"], few or other_steps(config, arm, real)) if arm != "original" else "",
            percent(score["validation_accuracy"]),
        ]
        for arm, score in scores.items()
    ]  # fmt: skip
    return markdown(header, rows)
