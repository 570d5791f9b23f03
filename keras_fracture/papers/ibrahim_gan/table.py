"""The tables of recorded runs, and one run beside the poster."""

from keras_fracture.experiment.config import configure
from keras_fracture.papers.ibrahim_gan.answer import STUDIES, arm_in_words, bold, size_in_words
from keras_fracture.papers.ibrahim_gan.config import Config
from keras_fracture.papers.ibrahim_gan.learning_curve import BASELINE
from keras_fracture.report import baselines
from keras_fracture.report.markdown import dated, decimal, markdown, percent
from keras_fracture.report.results import profile

_SIZES = ("image_size", "epochs")
_MORE = ("synthetic", "warm_start")


def unlike_profile(config, profile):
    """Pixels and epochs that a row of the poster's study says, a dict: without them it has its profile's.

    So rows of earlier versions, which say neither, are those of a run with the profile's numbers.
    """
    usual = configure(Config, profile, variant=config.variant)
    return {name: getattr(config, name) for name in _SIZES if getattr(config, name) != getattr(usual, name)}


def table(runs):
    """README's table: one row for each of the poster's arms in a run."""
    header = ["data", "split", "arm", "paper: accuracy %", "ours: test accuracy %", "test AUC",
              baselines.CELLS[0], "gain in accuracy, points", "validation accuracy %", "profile, seeds",
              "date"]  # fmt: skip
    rows = []
    for run in runs:
        if "study" in run:
            continue
        scores = run["metrics"]
        gain = scores.get("accuracy_gain")
        rows.append([
            run["data"], run["split_policy"], run["variant"], f"{100 * run['reported']['accuracy']:.0f}",
            percent(scores["accuracy"]), decimal(scores["auc"]), baselines.cells(run.get("baselines"))[0],
            percent(gain, signed=True) if gain else "", percent(scores["validation_accuracy"]),
            f"{profile(run, Config, *_SIZES)}, {run['seeds']}", dated(run),
        ])  # fmt: skip
    return markdown(header, rows) + _unlike([run for run in runs if "study" not in run])


def _unlike(runs):
    """Which arms took other numbers of steps than `original`, a line; none where none did.

    Rows of earlier versions do not say: with equal epochs the arms with synthetic images took more.
    """
    base = {_beside(run): run.get("steps") for run in runs if run["variant"] == BASELINE}
    arms = dict.fromkeys(
        run["variant"] for run in runs
        if (run["steps"] != base.get(_beside(run)) if "steps" in run else run["variant"] in _MORE)
    )  # fmt: skip
    if not arms:
        return ""
    return (
        f"\nFor as many epochs, {' and '.join(f'`{arm}`' for arm in arms)} took other numbers of steps than "
        f"`{BASELINE}`: these gains cannot be told from those of longer training.\n"
    )


def _beside(run):
    """What the rows of a split and a run share."""
    return run["command"], run["date"], run["data"], run["split_policy"]


def _study_table(study):
    """A function of runs that gives README's table of a study: a row for each data set and number of images."""

    def table_of(runs):
        rows, arms = {}, {}
        for run in runs:
            if run.get("study") == study:
                how = f"{profile(run, Config)}, {run['seeds']} seeds"
                # Of nearly all runs the same, so they have no column.
                how += "" if run["split_policy"] == "grouped" else f", {run['split_policy']} split"
                how += "" if run.get("image_size", 64) == 64 else f", {run['image_size']} pixels"
                row = run["data"], run["real_images"], how, dated(run), size_in_words(run["real_images"], run)
                rows.setdefault(row, {})[run["variant"]] = run["metrics"]
                arms[run["variant"]] = (
                    f"{arm_in_words(study, run['variant'])}: "
                    f"{'AUC' if run['variant'] == BASELINE else 'gain, points'}"
                )
        header = ["data", STUDIES[study], *arms.values(), "profile, settings, seeds", "date"]
        return markdown(header, [
            [data, told, *(_cell(numbers.get(arm), arm) for arm in arms), how, date]
            for (data, _, how, date, told), numbers in sorted(rows.items(), key=lambda row: row[0])
        ])  # fmt: skip

    return table_of


def _cell(metrics, arm):
    if metrics is None:
        return ""
    return decimal(metrics["auc"]) if arm == BASELINE else bold(metrics["auc_gain"])


TABLES = {f"ibrahim_{study}": _study_table(study) for study in STUDIES}


def compare(run):
    """One run beside the paper: what the table is about, and name of a number to (the paper's, ours)."""
    arm, scores = run["variant"], run["metrics"]
    if "study" in run:
        return f"{run['model']}, {run['study'].replace('_', ' ')}", {
            f"{arm}: AUC with {run['real_images']} {STUDIES[run['study']]}": ("", decimal(scores["auc"]))
        }
    return run["model"], {
        f"{arm}: accuracy": (f"{run['reported']['accuracy']:g}", decimal(scores["accuracy"])),
        f"{arm}: AUC": ("", decimal(scores["auc"])),
        f"{arm}: validation accuracy": ("", decimal(scores["validation_accuracy"])),
    }
