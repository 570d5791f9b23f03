"""A run of a paper, made up, and what it was started with."""


def run(variant, accuracy):
    score = {"value": accuracy, "low": accuracy - 0.01, "high": accuracy + 0.01}
    return {
        "variant": variant, "model": "compact_cnn", "data": "phantom", "split_policy": "grouped", "profile": "quick",
        "seeds": 3, "metrics": {"accuracy": score, "auc": score, "accuracy_gain": score, "validation_accuracy": score},
        "reported": {"accuracy": 0.92},
    }  # fmt: skip


CONFIG = {"paper": "ibrahim_gan", "command": "keras-fracture reproduce ibrahim_gan", "date": "2026-12-02",
          "versions": {"keras": "3"}}  # fmt: skip
