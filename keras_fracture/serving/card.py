"""The model card: `metadata.json` as a page."""

import shutil

from keras_fracture.report.markdown import metric_in_words, plain
from keras_fracture.serving.metadata import threshold_of
from keras_fracture.serving.versions import PROGRAMS

SAMPLES = "samples.png"  # beside the card of a model whose metadata have a caption for it
INTENDED_USE = (
    "Teaching and research on public data sets: how such a model is built, measured and served. **Not for clinical "
    "use**: it was never tested on patients, and no authority has seen it."
)


def text(name, facts):
    """A model card in Markdown.

    Args:
        name: The model's.
        facts: What `metadata.json` holds: `architecture`, `config`, `parameters`, `pixel_range`, `endpoints`, and
            where they are known `classes` (names, in the order of the probabilities), `exponent` (of a translator's
            blending), `threshold` (a dict of `value` and `chosen`, in words), `trained_on` and `command` (words),
            `metrics` (name to a dict of `value` and maybe `low` and `high`), `limits` and `licence` (words; of the
            images), `converted` (see `converting.convert`), `samples` (words; the caption of `SAMPLES`).

    Returns:
        The page.
    """
    facts = plain(facts)
    lines = [
        f"# {name}\n",
        f"{_architecture(facts)}, {facts['parameters']:,} parameters. {INTENDED_USE}\n",
        "## What it takes and gives\n",
        *(
            f"- `{endpoint}`: {_tensors(described['inputs'])} -> {_tensors(described['outputs'])}"
            for endpoint, described in facts["endpoints"].items()
        ),
        "",
        *_usage(name, facts),
    ]
    if facts["pixel_range"]:
        lines.append("Images as float32 lie between {:g} and {:g}.".format(*facts["pixel_range"]))
    if "exponent" in facts:
        lines.append(f"`translate` blends with the exponent {facts['exponent']:g}.")
    if facts.get("classes"):
        lines.append(f"Classes, in this order: {', '.join(facts['classes'])}.")
    if "threshold" in facts:
        value, chosen = threshold_of(facts, name)
        lines.append(f"Threshold: {value:.4f}{f', {chosen}' if chosen else ''}.")
    if "preprocess" in facts:
        settings = ", ".join(f"{key} {value}" for key, value in facts["preprocess"].items())
        by = "done by `serve_bytes`" if "serve_bytes" in facts["endpoints"] else "by `data.images.prepare`"
        lines.append(f"Preprocessing, {by}: {settings}.")
    if "converted" in facts:
        lines.append(
            "`{file}`, {bytes:,} bytes, SHA-256 `{sha256}`: converted; its outputs differed from the SavedModel's by "
            "at most {largest_difference:.1g} when it was.".format(**facts["converted"])
        )
    if "trained_on" in facts:
        lines.append(f"\n## Trained on\n\n{facts['trained_on']}\n")
    if "licence" in facts:
        lines.append(
            f"Licence of these images: {facts['licence']}. Of the weights: Apache-2.0, where that leaves it to us.\n"
        )
    if "metrics" in facts:
        sure = any("low" in score for score in facts["metrics"].values())
        lines.append(f"## Measured{' (95 % interval)' if sure else ''}\n")
        lines += [
            f"- {metric_in_words(key, facts['metrics'])}: {_score(score)}"
            for key, score in facts["metrics"].items()
        ]
        lines.append("")
    if "limits" in facts:
        lines.append(f"{facts['limits']}\n")
    if "command" in facts:
        lines.append(f"Made by `{facts['command']}`.")
    if "samples" in facts:
        lines.append(f"\n![{facts['samples']}]({SAMPLES})")
    return "\n".join(lines) + "\n"


def copy_samples(version, folder):
    """Copies the picture that a card shows to where the same weights are exported anew."""
    if (version / SAMPLES).is_file():
        shutil.copyfile(version / SAMPLES, folder / SAMPLES)


def _architecture(facts):
    members = facts.get("config", {}).get("members")
    if not members:
        return facts["architecture"]
    views = ", of images and their mirror images" if facts["config"]["flips"] else ""
    kind = members[0]["architecture"]
    return f"{facts['architecture']} of {len(members)} {kind}, the mean of their probabilities{views}"


def _usage(name, facts):
    if "converted" in facts:  # which the commands refuse
        program = PROGRAMS.get(facts["converted"]["file"]) if "preprocess" in facts else None
        where = "In a clone of the package's repository:\n\n"
        return [f"{where}```bash\npython {program} {name}/NUMBER hand.jpg\n```\n"] if program else []
    if "latent_dim" in facts.get("config", ()):
        command = f"keras-fracture generate {name} --count 100 --out synthetic"
    elif "translate" in facts["endpoints"]:
        command = f"keras-fracture demo --models {name}"
    elif "preprocess" in facts:
        command = f"keras-fracture predict --model {name} hand.jpg"
    else:
        return []
    return [
        f"```bash\n{command}\n```\n",
        f'```python\nimport keras_fracture as kf\n\nmodel = kf.models.load("{name}")\n```\n',
    ]


def _tensors(tensors):
    return "; ".join(
        f"`{name}` {facts['dtype']} ({', '.join('n' if size is None else str(size) for size in facts['shape'])})"
        for name, facts in tensors.items()
    )


def _score(score):
    interval = f" ({score['low']:z.3f} to {score['high']:z.3f})" if "low" in score else ""
    return f"{score['value']:z.3f}{interval}"
