import dataclasses
import re
import typing

import pytest

from keras_fracture import cli, papers
from keras_fracture.errors import FractureError
from keras_fracture.experiment import config as configs
from keras_fracture.papers import classifier, classifier_report
from keras_fracture.papers.bai_dcgan.config import Config as BaiDCGAN
from keras_fracture.papers.gupta_unit import experiment as gupta_unit
from keras_fracture.papers.gupta_unit import report as gupta_report
from keras_fracture.papers.gupta_unit.config import Config as GuptaUNIT
from keras_fracture.papers.lisbon_resnet import experiment as lisbon_resnet
from keras_fracture.papers.lisbon_resnet.config import Config as LisbonResNet
from keras_fracture.training import losses


def test_settings_take_the_type_of_their_default():
    found = configs.parse_overrides(
        LisbonResNet,
        ["image_size=112", "learning_rate=1", "augment=True", "policies=paper,grouped", "data=phantom"],
    )
    assert found == {
        "image_size": 112,
        "learning_rate": 1.0,
        "augment": True,
        "policies": ("paper", "grouped"),
        "data": "phantom",
    }
    assert isinstance(found["learning_rate"], float)
    assert configs.parse_overrides(
        LisbonResNet, ["augment=true", "flips=FALSE", "pretrained=none", "data=true", "threshold=None"]
    ) == {"augment": True, "flips": False, "pretrained": None, "data": "true", "threshold": None}
    assert configs.parse_overrides(GuptaUNIT, ["thresholds=0.5"]) == {"thresholds": (0.5,)}
    assert configs.parse_overrides(GuptaUNIT, ["thresholds=0,0.9"]) == {"thresholds": (0.0, 0.9)}


@pytest.mark.parametrize(
    "text",
    ["size=112", "image_size", "image_size=large", "augment=1", "augment=none", "learning_rate=true"],
)
def test_a_setting_that_is_none_is_refused(text):
    with pytest.raises(FractureError, match="Received"):
        configs.parse_overrides(LisbonResNet, [text])


@pytest.mark.usefixtures("few_phantoms")
def test_none_can_be_asked_for(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(gupta_unit, "run", lambda config, run: seen.append(config))
    monkeypatch.setattr(gupta_report, "write", lambda *_: {"runs": []})
    papers.reproduce("gupta_unit", "smoke", out=tmp_path / "run", overrides=["unit_ema=None"], seed=None)
    assert seen[0].unit_ema is None and seen[0].seed == GuptaUNIT.seed
    papers.reproduce("gupta_unit", "smoke", out=tmp_path / "other", exponent=None, data=None)
    assert (seen[1].exponent, seen[1].data) == (None, "phantom")


def test_none_is_left_out_where_a_setting_cannot_be_none():
    config = configs.configure(
        LisbonResNet, "quick", variant="imagenet", pretrained=None, threshold=None, epochs=None
    )
    assert (config.pretrained, config.threshold, config.epochs) == (None, None, 8)
    assert configs.configure(LisbonResNet, "quick", variant=None, models=None, colour=None).variant == "paper"


def test_what_the_command_line_was_not_given_is_the_variants(monkeypatch):
    asked = []
    monkeypatch.setattr(papers, "_execute", lambda config, *_: asked.append(config))
    assert cli.main(["reproduce", "lisbon_resnet", "--variant", "imagenet"]) == 0
    assert (asked[0].pretrained, asked[0].epochs) == ("imagenet", 8)


def test_gupta_unit_needs_a_translator():
    with pytest.raises(FractureError, match=r"translators of gupta_unit must be 1 or more. Received: 0"):
        GuptaUNIT(translators=0)


@pytest.mark.parametrize(
    ("key", "settings", "words"),
    [
        ("bai_dcgan", {"channels": 2}, "channels of bai_dcgan must be 1 or 3"),
        ("ibrahim_gan", {"gan_channels": 2}, "gan_channels of ibrahim_gan must be 1 or 3"),
        ("bai_dcgan", {"ema": 1.0}, "ema of bai_dcgan must be below 1"),
        ("ibrahim_gan", {"modern_ema": 1.0}, "modern_ema of ibrahim_gan must be below 1"),
        ("gupta_unit", {"unit_ema": 1.0}, "unit_ema of gupta_unit must be below 1"),
        ("bai_dcgan", {"image_size": 48}, "image_size of bai_dcgan must be one of 32, 64, 128"),
        ("ibrahim_gan", {"image_size": 48}, "must be one of 32, 64, 128 for the modern study"),
        ("bai_dcgan", {"loss": "Hinge"}, r"Choose one of non_saturating.*Did you mean hinge\?"),
    ],
)
def test_what_no_gan_could_train_with_is_refused_before_data_are_read(key, settings, words):
    kind = papers.get(key).config.Config
    with pytest.raises(FractureError, match=rf"{words}.* Received: '?{next(iter(settings.values()))}"):
        configs.configure(kind, "smoke", **settings)


def test_what_a_gan_can_train_with_is_taken(monkeypatch):
    for name in ("hinge", "least_squares", "wasserstein", "mine"):
        monkeypatch.setitem(losses._LOSSES, "mine", losses.Hinge)
        assert configs.configure(BaiDCGAN, "smoke", loss=name).loss == name
    assert configs.configure(BaiDCGAN, "smoke", channels=3, ema=0.999, image_size=64).ema == 0.999
    ibrahim = papers.get("ibrahim_gan").config.Config
    assert configs.configure(ibrahim, "smoke", variant="poster", image_size=48).image_size == 48


@pytest.mark.parametrize("key", papers.names())
def test_every_number_of_every_paper_is_checked(key):
    kind = papers.get(key).config.Config
    wrong = {int: (-1, 1.5, True, float("nan")), float: (-0.1, float("nan"), float("inf"), "1"), tuple: ((),)}
    checked = set()
    for profile in configs.PROFILES:
        configs.configure(kind, profile)
    chosen = configs.configure(kind, "smoke")
    for field in dataclasses.fields(kind):
        kinds = set(typing.get_args(field.type)) or {field.type}
        for value in [one for each in kinds - {type(None)} for one in wrong.get(each, (3,))]:
            with pytest.raises(FractureError, match=rf"{field.name} of {key}.* Received: ") as caught:
                dataclasses.replace(chosen, **{field.name: value})
            assert "\n" not in str(caught.value)
            checked.add(field.name)
    assert {"seed", "seeds", "batch_size", "precision"} <= checked == set(chosen.__dict__)


def test_settings_of_an_earlier_version_are_completed_by_what_it_did():
    recorded = dataclasses.asdict(configs.configure(LisbonResNet, "smoke"))
    del recorded["optimizer"]
    recorded["rate"] = recorded.pop("learning_rate")
    assert configs.from_recorded(LisbonResNet, recorded) == configs.configure(LisbonResNet, "smoke")
    del recorded["gamma"]
    with pytest.raises(FractureError, match="have no counterpart"):
        configs.from_recorded(LisbonResNet, recorded)


_CLASSIFIER = (
    "data seed seeds precision policies models variant epochs batch_size image_size learning_rate augment balanced "
    "body_parts weight_decay patience threshold flips pretrained"
)
# The settings that runs have had from the start.
FIRST = {
    "bai_dcgan": "data seed seeds precision policy variant epochs steps batch_size image_size channels width "
    "activation loss g_learning_rate d_learning_rate fresh_noise augment ema condition generated_images eval_every "
    "neighbours extractor",
    "garcia_inception": _CLASSIFIER,
    "gupta_unit": "data seed seeds precision shares min_lesions network widths image_size epochs batch_size "
    "learning_rate weight_decay preset patch_size width unit_epochs unit_steps unit_batch unit_learning_rate unit_ema "
    "patches translators exponent exponents thresholds passing_shares",
    "ibrahim_gan": "data seed seeds precision policies gans_per_class gan_epochs gan_steps gan_width "
    "discriminator_width gan_channels gan_learning_rate gan_ema synthetic_per_class epochs batch_size image_size",
    "lisbon_resnet": f"{_CLASSIFIER} width warmup gamma alpha smoothing",
}


@pytest.mark.parametrize("key", papers.names())
def test_a_setting_that_came_later_says_what_earlier_versions_did(key):
    """Else their runs are neither resumed nor repeated: put it, and what was done before, into `ADDED`."""
    kind = papers.get(key).config.Config
    first = {field.name for field in dataclasses.fields(kind)} - set(kind.ADDED)
    assert first == set(FIRST[key].split())


def test_a_run_from_before_jpeg_files_were_read_reduced_goes_on():
    usual = configs.configure(LisbonResNet, "smoke")
    recorded = {name: value for name, value in dataclasses.asdict(usual).items() if name != "jpeg"}
    assert configs.renamed(LisbonResNet, recorded)["jpeg"] == "full"
    assert configs.from_recorded(LisbonResNet, recorded) == usual


@pytest.mark.parametrize(
    ("settings", "own", "l2"),
    [
        ({}, None, 0.0),
        ({"variant": "tuned"}, None, 5e-4),
        ({"variant": "imagenet"}, 0.01, 0.0),
        ({"variant": "scratch", "weight_decay": 5e-4}, 5e-4, 0.0),
        ({"variant": "imagenet", "optimizer": "sgd"}, None, 0.0),
        ({"optimizer": "adamw"}, 0.01, 0.0),
        ({"variant": "tuned", "optimizer": "adamw"}, 5e-4, 0.0),
    ],
)
def test_weight_decay_is_adamws_own_or_l2_in_the_loss(settings, own, l2):
    small = {"models": ("resnet18",), "pretrained": None, "width": 4, "image_size": 32}
    config = configs.configure(LisbonResNet, "quick", **settings | small)
    assert lisbon_resnet.optimizer(config, 20).weight_decay == own
    model = classifier.start_model(config, lisbon_resnet.METHOD, "resnet18", None)
    factors = {float(one.regularizer.l2) for one in model.trainable_variables if one.regularizer}
    assert sorted(factors) == pytest.approx([l2 / 2] if l2 else [])
    assert config.weight_decay == (own or l2), "as reports tell it"
    assert ("weight decay" in classifier_report._added_to_loss(config)) == bool(l2)


def test_adamw_of_an_earlier_version_decayed_by_one_hundredth_whatever_was_set():
    usual = configs.configure(LisbonResNet, "quick", variant="imagenet")
    recorded = dataclasses.asdict(usual) | {"weight_decay": 0.0}
    assert configs.from_recorded(LisbonResNet, recorded) == usual
    assert configs.renamed(LisbonResNet, recorded) == dataclasses.asdict(usual), "it can be resumed"
    assert configs.other_settings(usual, "quick") == {}
    plain = dataclasses.asdict(configs.configure(LisbonResNet, "quick"))
    assert configs.renamed(LisbonResNet, plain)["weight_decay"] == 0
    with pytest.raises(
        FractureError, match=r"above 0 with adamw: leave it out for its usual 0.01. Received: 0"
    ):
        configs.configure(LisbonResNet, "quick", variant="imagenet", weight_decay=0.0)


@pytest.mark.parametrize(
    ("key", "name", "value", "words"),
    [
        ("lisbon_resnet", "epochs", 0, "epochs of lisbon_resnet must be 1 or more. Received: 0"),
        (
            "lisbon_resnet",
            "learning_rate",
            0.0,
            "learning_rate of lisbon_resnet must be above 0. Received: 0.0",
        ),
        (
            "garcia_inception",
            "jpeg",
            "fast",
            "jpeg of garcia_inception must be full or reduced. Received: 'fast'",
        ),
        ("lisbon_resnet", "smoothing", 1.5, "0 or more and at most 1. Received: 1.5"),
        ("lisbon_resnet", "smoothing", 1.0, "smoothing of lisbon_resnet must be below 1.*Received: 1.0"),
        ("lisbon_resnet", "models", ("resnet18",) * 2, "models of lisbon_resnet must hold each value once"),
        ("ibrahim_gan", "ratios", (1.0, 2.0, 1.0), "ratios of ibrahim_gan must hold each value once"),
        ("bai_dcgan", "ema", 0.0, "above 0 and at most 1. Received: 0.0"),
        ("bai_dcgan", "steps", 0, "steps of bai_dcgan must be 1 or more. Received: 0"),
        ("gupta_unit", "exponents", (1.0, -2.0), "Each of exponents .* above 0. Received: -2.0"),
        ("gupta_unit", "widths", (4, 0), "Each of widths .* 1 or more. Received: 0"),
        ("gupta_unit", "preset", "munti", "preset .* nips2017, munit. Did you mean munit.*Received: 'munti'"),
        (
            "gupta_unit",
            "preset",
            "munit",
            "patch_size .* multiple of 4, and 64 or more for munit. Received: 32",
        ),
        ("gupta_unit", "patch_size", 30, "patch_size .* and 8 or more for nips2017. Received: 30"),
        ("lisbon_resnet", "warmup", 1.0, "warmup of lisbon_resnet must be below 1: .*Received: 1.0"),
        ("gupta_unit", "epochs", None, "epochs of gupta_unit must be a whole number. Received: None"),
        ("ibrahim_gan", "policies", "paper", "must hold one value or more. Received: 'paper'"),
    ],
)
def test_settings_that_no_run_means_are_refused(key, name, value, words):
    with pytest.raises(FractureError, match=words):
        dataclasses.replace(configs.configure(papers.get(key).config.Config, "smoke"), **{name: value})


@pytest.mark.parametrize(
    ("key", "variant", "setting", "owner"),
    [
        ("lisbon_resnet", "imagenet", "width=32", "ResNets"),
        ("lisbon_resnet", "tuned", "teacher_weight=3", "what learns from a teacher"),
        ("garcia_inception", "tuned", "teacher_weight=3", "what learns from a teacher"),
        ("ibrahim_gan", "poster", "modern_steps=7", "the modern study"),
        ("ibrahim_gan", "modern", "epochs=7", "the poster's study"),
        ("ibrahim_gan", "modern", "policies=grouped,paper", "the poster's study where it names several"),
        ("ibrahim_gan", "both", "gans_per_class=5", r"5 seeds or more \(--seeds\)"),
        ("gupta_unit", None, "seam_limit=0.7", "a search for the exponent"),
        ("gupta_unit", None, "widths=4", "DRN-C and DRN-D"),  # of the profile's compact_cnn
    ],
)
def test_settings_that_would_change_nothing_are_refused(tmp_path, key, variant, setting, owner):
    name, _, value = setting.partition("=")
    received = {"policies": r"\('grouped', 'paper'\)", "widths": r"\(4,\)"}.get(name, value)
    with pytest.raises(
        FractureError, match=f"^{name} of {key} is a setting of {owner}, .* Received: {received}"
    ):
        papers.reproduce(
            key,
            "smoke",
            out=tmp_path / "run",
            overrides=[setting],
            **({"variant": variant} if variant else {}),
        )
    assert not (tmp_path / "run").exists()


def test_settings_are_used_where_what_they_belong_to_is_asked_for_or_where_they_are_as_usual():
    def check(key, words, **settings):
        config_class = papers.get(key).config.Config
        named = configs.parse_overrides(config_class, words)
        config = configs.configure(config_class, "quick", **settings | named)
        configs.check_used(config, "quick", settings | named)

    check("gupta_unit", ["seam_limit=0.7", "exponent=None"])
    check("gupta_unit", ["widths=None", "network=resnet18"])
    check("gupta_unit", ["widths=8,8,8,8,8,8,8,8"])
    check("lisbon_resnet", ["width=64"], variant="imagenet")
    check("lisbon_resnet", ["width=32"], variant="tuned")
    check("lisbon_resnet", ["teacher_weight=3", "width=32"], variant="distilled")
    check("ibrahim_gan", ["modern_steps=7"], variant="modern")
    check("ibrahim_gan", ["modern_steps=7", "epochs=3"], variant="both")


def test_widths_of_a_profile_are_left_out_where_another_network_is_asked_for():
    def quick(**settings):
        return configs.configure(papers.get("gupta_unit").config.Config, "quick", **settings)

    assert len(quick().widths) == len(quick(network="drn_c_26").widths) == 8
    assert quick(network="resnet18").widths is quick(network="drn_a_50").widths is None
    assert quick(network="resnet18", widths=(4,)).widths == (4,)  # and refused, see above


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--epochs", "0"], "epochs of lisbon_resnet must be 1 or more. Received: 0"),
        (["--seeds", "-1"], "seeds of lisbon_resnet must be 1 or more. Received: -1"),
        (["--set", "learning_rate=1e999"], "learning_rate of lisbon_resnet must be above 0. Received: inf"),
    ],
)
def test_they_are_refused_on_the_command_line_before_a_folder_is_made(tmp_path, capsys, words, wanted):
    command = ["reproduce", "lisbon_resnet", "--profile", "smoke", "--out", str(tmp_path / "run"), *words]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and wanted in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "received"),
    [
        (["--epochs", "5", "--set", "epochs=9"], "5 and 9"),
        (["--depth", "18", "--set", "models=resnet50"], r"\('resnet18',\) and \('resnet50',\)"),
        (["--set", "width=8", "--set", "width=16"], "8 and 16"),
        (["--splits", "s.csv", "--set", "policies=paper"], r"'s.csv' and \('paper',\)"),
        (["--pretrained", "imagenet", "--set", "pretrained=none"], "'imagenet' and None"),
    ],
)
def test_what_is_given_twice_is_refused(monkeypatch, capsys, words, received):
    monkeypatch.setattr(papers, "_execute", lambda *_: pytest.fail("it was carried out"))
    assert cli.main(["reproduce", "lisbon_resnet", *words]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and re.search(f": leave one out. Received: {received}$", said.strip())


def test_the_same_may_be_said_twice(monkeypatch):
    asked = []
    monkeypatch.setattr(papers, "_execute", lambda config, *_: asked.append(config))
    words = ["--depth", "18", "--set", "models=resnet18", "--set", "epochs=3", "--set", "epochs=3"]
    assert cli.main(["reproduce", "lisbon_resnet", *words]) == 0
    assert (asked[0].models, asked[0].epochs) == (("resnet18",), 3)


def test_a_converted_network_has_one_number_of_classes(tmp_path, capsys):
    words = ["convert", "w.pth", "--model", "resnet18", "--to", str(tmp_path / "w.weights.h5")]
    assert cli.main([*words, "--num-classes", "2", "--set", "num_classes=5"]) == 2
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and "num_classes of resnet18 is given twice: leave one out. Received: 2 and 5" in said
    )


def test_settings_that_neither_profile_nor_variant_has_are_told():
    usual = configs.configure(LisbonResNet, "quick", variant="tuned", seeds=3, epochs=40, data="phantom")
    assert configs.other_settings(usual, "quick") == {}
    odd = configs.configure(LisbonResNet, "quick", variant="tuned", width=16, learning_rate=0.05)
    assert configs.other_settings(odd, "quick") == {"width": 16}, "0.05 is the variant's"
    assert configs.other_settings(odd, "paper") == {"width": 16}
