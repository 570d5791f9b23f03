"""The first lines of the report: what came out, in sentences."""

import numpy as np

from keras_fracture import evaluation
from keras_fracture.papers.ibrahim_gan.experiment import steps_of
from keras_fracture.papers.ibrahim_gan.gans import reference
from keras_fracture.papers.ibrahim_gan.learning_curve import BASELINE
from keras_fracture.report import captions
from keras_fracture.report.groups import ENOUGH, FEW
from keras_fracture.report.markdown import counted, decimal, percent

STUDIES = {"learning_curve": "real images", "few_labels": "labels"}
_AUGMENTED = "classic augmentation"
_ARMS = {
    "classic": "classic augmentation",
    "synthetic": "adding synthetic images",
    "warm_start": "a warm start on synthetic images",
}


def sentences(config, results, scores, measured):
    """The answer, a list of Markdown lines.

    Args:
        config: The `Config`.
        results: `experiment.Results`.
        scores: Split policy to arm to the poster's scores.
        measured: Study to what `report.measure` gives.
    """
    judged = _judged(config, results)
    lines = [f"{_images(name, quality)} {judged[name]}" for name, quality in qualities(results).items()]
    studies = {"learning_curve": results.curve, "few_labels": results.few_labels}
    few = {name: bool(studies[name]) and too_few(studies[name].sets) for name in measured}
    few |= {policy: too_few(results.poster[policy].sets) for policy in scores}
    for name, numbers in measured.items():
        for size in dict.fromkeys(size for size, _ in numbers):
            arms = {arm: one for (at, arm), one in numbers.items() if at == size}
            lines.append(_at(name, size, arms, few[name]))
    for policy, arms in scores.items():
        real = len(results.poster[policy].sets["train"].labels)
        parts = "; ".join(
            f"{what} {verdict(arms[arm]['accuracy_gain'], few[policy], other_steps(config, arm, real))}"
            for arm, what in _ARMS.items()
        )
        lines.append(
            f"- **The poster's own networks, {policy} split**, accuracy, against the original images alone "
            f"({percent(arms['original']['accuracy'])} %): {parts}."
        )
    gains = [
        one.get("auc_gain_over_classic", one["auc_gain"])
        for name, numbers in measured.items()
        for (_, arm), one in numbers.items()
        if "auc_gain" in one and arm != "classic" and not few[name]
    ]
    gains += [
        one["accuracy_gain"]
        for policy, arms in scores.items()
        for arm, one in arms.items()
        if "accuracy_gain" in one and arm != "classic" and not few[policy]
        and not other_steps(config, arm, len(results.poster[policy].sets["train"].labels))
    ]  # fmt: skip
    return [
        *lines,
        *_counted_gains(gains, config.seeds),
        "95 % intervals in brackets, **bold** where they exclude 0, paired for gains: "
        f"{captions.resampled(config.seeds)}. They do not cover re-training the GANs "
        f"({config.gans} of each kind here){_draws(config, results)}.\n",
    ]


def arm_in_words(study, arm):
    """An arm's name; of few labels, all of whose networks learn from images turned, moved and mirrored, the baseline's.

    Rows call it `original` in either study.
    """
    return _AUGMENTED if (study, arm) == ("few_labels", BASELINE) else arm


def size_in_words(size, drawn):
    """A number of images, with how many X-rays (patients, limbs) and findings they are of where that is known.

    Args:
        size: The number.
        drawn: A recorded row, or what `gans.drawn_from` gives; rows of earlier versions do not say.
    """
    if "real_sources" not in drawn:
        return f"{size:,}"
    share = 100 * drawn["real_findings"] / size
    return f"{size:,} of {counted(drawn['real_sources'], 'source')}, {share:.0f} % findings"


def _counted_gains(gains, seeds):
    """How many of the gains that can be judged exclude 0, a line; none where there are none."""
    if not gains:
        return []
    away = sum(excludes_zero(gain) for gain in gains)
    half = float(np.median([(gain["high"] - gain["low"]) / 2 for gain in gains]))
    return [
        f"- Of {counted(len(gains), 'gain')} from GANs, over the same training without them, {away} "
        f"{'has' if away == 1 else 'have'} an interval that excludes 0. By chance at least one in twenty would, more "
        f"with few seeds ({seeds} here), and not one by one: gains share their test images. The median interval is "
        f"±{100 * half:.1f} points wide.\n"
    ]


def _draws(config, results):
    """With a single GAN all seeds learn from the images that this GAN saw."""
    alike = results.curve and config.gans == 1
    return ", nor other draws of the real images at each number of them" if alike else ""


def qualities(results):
    """`gans.quality` by the words that name the generator."""
    named = {f"the poster's GANs ({policy} split)": one.quality for policy, one in results.poster.items()}
    return named | ({"the modern GAN": results.curve.quality} if results.curve else {})


def _judged(config, results):
    """Which of its GANs the word is about, by the names of `qualities`."""
    first = f"the first of {config.gans}" if config.gans > 1 else "the only ones"
    words = {
        f"the poster's GANs ({policy} split)": f"Judged are the GANs of all {len(one.sets['train'].labels):,} training "
        f"images, {first} of each class."
        for policy, one in results.poster.items()
    }
    if results.curve:
        words["the modern GAN"] = (
            f"Judged is the GAN of all {results.curve.sizes[-1]:,} real images"
            f"{f', the first of {config.gans}' if config.gans > 1 else ''}; those of fewer images were not judged: "
            "where gains with fewer stand below, whether their images were good enough is not known."
        )
    return words


def _images(name, quality):
    kid, coverage, copies = (quality[key] for key in ("kid", "coverage", "near_copies"))
    times = kid["value"] / max(reference(kid), 1e-9)
    return (
        f"- **Images of {name} good enough to ask the question: {'yes' if quality['good_enough'] else 'no'}.** Kernel "
        f"distance to the real images (KID) {kid['value']:.4f}, {times:.1f} times what two halves of the real images "
        f"may reach, less what copies of one X-ray add ({reference(kid):.4f}); coverage {coverage['value']:.2f} (real "
        f"images {coverage['real_vs_real']:.2f}); near copies of training images {100 * copies['value']:.1f} % (real "
        f"images {100 * copies['real_vs_real']:.1f} %)."
    )


def other_steps(config, arm, real):
    """Steps of an arm of the poster's on `real` images, and of the original images alone; None where they are equal."""
    both = steps_of(config, arm, real), steps_of(config, BASELINE, real)
    return both if both[0] != both[1] else None


def _at(study, size, arms, few):
    parts = [f"{arm} {bold(one['auc_gain'], few)}" for arm, one in arms.items() if arm != BASELINE]
    beyond = arms.get("classic + synthetic", {}).get("auc_gain_over_classic")
    more = f"; synthetic images beyond classic augmentation {bold(beyond, few)}" if beyond else ""
    unjudged = f", which cannot be judged ({FEW})" if few else ""
    how = "" if arm_in_words(study, BASELINE) == BASELINE else f" with {_AUGMENTED}"
    return (
        f"- **With {size:,} {STUDIES[study]}**: AUC {decimal(arms[BASELINE]['auc'])} from these alone{how}; gains in "
        f"points{unjudged}: {'; '.join(parts)}{more}."
    )


def too_few(sets):
    """Whether the test split of a dict of `Split`s has too few X-rays for intervals that can be judged."""
    return evaluation.least_sources(sets["test"]) < ENOUGH


def excludes_zero(gain):
    """Whether an interval lies on one side of 0."""
    return gain["low"] > 0 or gain["high"] < 0


def bold(gain, few=False):
    """A gain in points, in bold where its interval excludes 0; not of `few` X-rays, of which that says nothing."""
    text = percent(gain, signed=True)
    return f"**{text}**" if excludes_zero(gain) and not few else text


def verdict(gain, few=False, other=None):
    """What an interval of a gain in points says, in words: nothing of `few` X-rays, nor after `other_steps`."""
    points = f"{percent(gain, signed=True)} points"
    if few:
        return f"cannot be judged ({FEW}): {points}"
    if other:
        return f"cannot be told from longer training ({other[0]:,} steps instead of {other[1]:,}): {points}"
    if gain["low"] > 0:
        return f"helped: **{points}**"
    if gain["high"] < 0:
        return f"did harm: **{points}**"
    return f"made no difference that this test set can show: {points}"
