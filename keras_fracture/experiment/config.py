"""Settings of experiments: a frozen dataclass each, profiles and variants as differences, overrides by name."""

import dataclasses
from typing import ClassVar

from keras_fracture.errors import FractureError, meant
from keras_fracture.experiment import limits
from keras_fracture.settings import parse

PROFILES = ("smoke", "quick", "paper")
# What settings were called in the config.json of earlier versions.
RENAMED = {
    "rate": "learning_rate",
    "decay": "weight_decay",
    "g_rate": "g_learning_rate",
    "d_rate": "d_learning_rate",
    "gan_rate": "gan_learning_rate",
    "unit_rate": "unit_learning_rate",
    "redraw": "fresh_noise",
    "judged": "eval_every",
    "pictures": "generated_images",
    "synthetic": "synthetic_per_class",
    "gans": "gans_per_class",
    "fewest": "min_lesions",
    "passing": "passing_shares",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The numbers of one experiment. Subclasses add theirs, and say `key` and `title`.

    Attributes:
        data: The data set used unless another is named: a name, or the path of own X-rays.
        finding: Of own X-rays, see `data.prepare`; and so are `columns` and `patient`.
        columns: Which column of their table is what.
        patient: The pattern that tells patients.
        splits: Path of a split file, see `data.prepare`; in place of all split policies.
        seed: First seed; run k uses `seed + k`.
        seeds: How many times classifiers are trained.
        precision: Of everything that is trained, see `training.precision.configure`; "auto" is the fastest here.
    """

    key: ClassVar[str] = ""
    title: ClassVar[str] = ""
    # Reported by the paper, in the form that its own `report` reads.
    REPORTED: ClassVar = {}
    # Profile and variant to the numbers that differ from the defaults, which are the paper's.
    PROFILES: ClassVar = {}
    VARIANTS: ClassVar = {}
    # Settings that earlier versions could not be told, with what they did.
    ADDED: ClassVar = {"finding": None, "columns": None, "patient": None, "splits": None}
    # Numbers that may be 0, those that are shares of 1, the most that others may be, and texts that are no names: see
    # `limits.check`. Memory and time grow with these, whoever wrote them into a `config.json`.
    MAY_BE_ZERO: ClassVar = ("seed",)
    SHARES: ClassVar = ()
    MOST: ClassVar = {
        "seed": 2**30, "seeds": 1000, "batch_size": 8192, "image_size": 2048, "patch_size": 2048, "width": 4096,
        "widths": 4096, "gan_width": 64, "discriminator_width": 64, "modern_width": 4096, "unit_batch": 8192,
        "channels": 3, "gan_channels": 3,
    }  # fmt: skip
    WORDS: ClassVar = (
        "data", "finding", "columns", "patient", "splits", "pretrained", "extractor", "teacher",
    )  # fmt: skip
    # What a row of results says by itself, or what chooses which rows there are, see `other_settings`.
    TOLD: ClassVar = (
        "data", "finding", "columns", "patient", "splits", "seed", "seeds", "precision", "policies", "policy", "models",
        "variant", "image_size", "epochs",
    )  # fmt: skip
    # Further options of `keras-fracture reproduce`: name to (setting, function of one word, help).
    OPTIONS: ClassVar = {}

    data: str = "phantom"
    finding: str | None = None
    columns: str | None = None
    patient: str | None = None
    splits: str | None = None
    seed: int = 0
    seeds: int = 3
    precision: str = "float32"

    def __post_init__(self):
        limits.check(self)
        if self.splits is not None:
            if not self.keeps_splits:
                raise FractureError(
                    f"{self.key} deals images out by itself: leave splits out. Received: {self.splits!r}"
                )
            from keras_fracture.data.splits import FILE  # with pandas, which --help should not cost

            name, value = ("policies", (FILE,)) if hasattr(self, "policies") else ("policy", FILE)
            object.__setattr__(self, name, value)

    @property
    def keeps_splits(self):
        """Whether the experiment trains and tests on the splits of a policy as they come."""
        return hasattr(self, "policies") or hasattr(self, "policy")

    @property
    def data_title(self):
        """What the data set is called: its name, or that of its folder, never that of a published set."""
        from keras_fracture.data import catalogue  # settings alone are read without it

        title = catalogue.title(self.data)
        return title if title == self.data or title not in catalogue.NAMES else f"own {title}"

    @property
    def reading(self):
        """How own X-rays are read: options of `data.prepare`, as a dict."""
        return {"finding": self.finding, "columns": self.columns, "patient": self.patient}

    @property
    def split_policies(self):
        """The split policies whose images the experiment reads."""
        return getattr(self, "policies", None) or (getattr(self, "policy", "grouped"),)

    def unused(self):
        """Settings that change nothing in this run, because of others: a dict of name to what they are settings of."""
        return {}

    @classmethod
    def understood(cls, settings):
        """Recorded settings, by today's names, with the values that mean today what they meant to earlier versions."""
        return settings

    def weight_files(self):
        """Of each setting that names weights to start or learn from: the paths of its files."""
        return {}


def configure(config_class, profile, **settings):
    """A configuration with a profile's numbers.

    Args:
        config_class: A subclass of `Config`.
        profile: One of `PROFILES`.
        **settings: Numbers that win over the profile's. None is left out where a setting cannot be None.

    Raises:
        FractureError: No such profile, setting or variant, or a value is out of its range, see `limits.check`.
    """
    if profile not in PROFILES:
        raise FractureError(
            f"No such profile. Choose one of {', '.join(PROFILES)}. {meant(profile, PROFILES)}Received: {profile!r}"
        )
    variants = config_class.VARIANTS
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    may_be_none = {name for name, field in fields.items() if limits.may_be_none(field)}
    chosen = {name: value for name, value in settings.items() if value is not None or name in may_be_none}
    unknown = sorted(set(chosen) - set(fields))
    if unknown:
        raise FractureError(f"{config_class.key} has no setting {', '.join(unknown)}. Received: {chosen}")
    variant = chosen.get("variant")
    if variant is not None and not (isinstance(variant, str) and variant in variants):
        raise FractureError(
            f"No such variant. Choose one of {', '.join(variants)}. {meant(variant, variants)}Received: {variant!r}"
        )
    return config_class(**config_class.PROFILES.get(profile, {}) | variants.get(variant, {}) | chosen)


def check_used(config, profile, given):
    """Refuses settings that would change nothing, while the results say that they were other than usual.

    Args:
        config: A `Config`.
        profile: Name of the profile that it came from.
        given: Names of the settings that were asked for.

    Raises:
        FractureError: One of them is `unused`, and not as the profile and the variant have it.
    """
    usual = configure(type(config), profile, variant=getattr(config, "variant", None))
    for name, owner in config.unused().items():
        if name in given and getattr(config, name) != getattr(usual, name):
            raise FractureError(
                f"{name} of {config.key} is a setting of {owner}, which this run does without: leave it out. "
                f"Received: {getattr(config, name)!r:.80}"
            )


def other_settings(config, profile):
    """What tells a run's numbers from those of another with the same profile and variant.

    Args:
        config: A `Config`.
        profile: Name of the profile that it came from.

    Returns:
        A dict of the settings that are neither the profile's nor the variant's, without those in `TOLD`.
    """
    usual = configure(type(config), profile, variant=getattr(config, "variant", None))
    names = [field.name for field in dataclasses.fields(config) if field.name not in config.TOLD]
    return {name: getattr(config, name) for name in names if getattr(config, name) != getattr(usual, name)}


def parse_overrides(config_class, overrides):
    """Settings from `NAME=VALUE` overrides, as a command line gives them.

    Args:
        config_class: A subclass of `Config`.
        overrides: Such as "image_size=112" or "policies=paper,grouped"; commas separate the values of a tuple.

    Returns:
        A dict of name to value, of the type that the default has.

    Raises:
        FractureError: No such setting, or a value of another type.
    """
    known = {field.name: (field.type, field.default) for field in dataclasses.fields(config_class)}
    return parse(config_class.key, known, overrides)


def from_recorded(config_class, settings):
    """A configuration from recorded settings, none of which may be missing or of another type than the default.

    Args:
        config_class: A subclass of `Config`.
        settings: A dict as `config.json` holds it, also of a version that called some by other names.

    Raises:
        FractureError: They are not this experiment's.
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    settings = renamed(config_class, settings)
    odd = sorted(set(fields) ^ set(settings))
    if odd:
        raise FractureError(
            f"These are not the settings of this version's {config_class.key}: {', '.join(odd)} "
            f"of it or of them have no counterpart. Received: {len(settings)} settings"
        )
    values = {name: _as_tuples(value) for name, value in settings.items()}
    for name, value in values.items():
        default = fields[name].default
        allowed = (int, float) if type(default) is float else type(default)
        if default is not None and value is not None and not isinstance(value, allowed):
            raise FractureError(
                f"{name} of {config_class.key} is a {type(default).__name__}. Received: {value!r:.80}"
            )
    return config_class(**values)


def renamed(config_class, settings):
    """Recorded settings by the names and values that they have now, with those that came later."""
    known = {field.name for field in dataclasses.fields(config_class)}
    now = {
        RENAMED[name] if name not in known and RENAMED.get(name) in known else name: value
        for name, value in settings.items()
    }
    return config_class.understood(config_class.ADDED | now)


def _as_tuples(value):
    """JSON's lists as the tuples they were."""
    return tuple(_as_tuples(one) for one in value) if isinstance(value, list) else value
