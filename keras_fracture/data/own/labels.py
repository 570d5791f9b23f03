"""Which of two labels is the finding: told, or known by its name."""

import re

from keras_fracture.data import tables
from keras_fracture.errors import DataError

_HEALTHY = re.compile(
    r"(normal|healthy|negative|neg|none|false|0( 0)?"
    r"|(un|non|not) ?(a )?(fractured?|fractures|affected|broken|abnormal|tumou?rs?|lesions?|findings?))$"
)
_NO = re.compile(r"(no|not|without)\b")
# Behind "no": of what there is none, and what may stand around it. Other words may name a kind of finding, as in "no
# displacement fracture", or no finding at all, as in "no information".
_NONE_OF = re.compile(
    r"fractur(e|es|ed)|fx|breaks?|broken|abnormal(ity|ities)?|anomal(y|ies)|tumou?rs?|lesions?|findings?|diseases?"
    r"|injur(y|ies)|patholog(y|ies)|dislocations?|cancer|pneumonia|positive"
)
_AROUND = {
    "a", "an", "any", "acute", "and", "bone", "bones", "bony", "definite", "detected", "evidence", "evident", "found",
    "identified", "noted", "obvious", "of", "or", "osseous", "pathological", "present", "seen", "sign", "signs",
    "significant", "the", "visible",
}  # fmt: skip
_FINDING = re.compile(
    r"((bone |with )?(fractured?|fractures|broken|abnormal|tumou?rs?|lesions?|findings?|positive|pos|yes|true|1( 0)?)"
    r"( bone)?)$"
)


def binary(names, finding, where):
    """Labels as 0 (healthy) and 1 (finding).

    Args:
        names: Names of all labels that occur.
        finding: The one that is the finding, all others being healthy; None finds it by its name.
        where: What errors call the place they come from.

    Returns:
        A dict of name to 0 or 1.

    Raises:
        DataError: One label alone, none of the name of `finding`, or names that do not tell which is the finding.
    """
    names = sorted(set(names))
    listed = ", ".join(map(repr, names[:8])) + ", ..." * (len(names) > 8)
    if len(names) < 2:
        raise DataError(
            f"{where} has one class alone: two are needed, healthy and a finding, and NA or the like is neither. "
            f"Received: {listed}"
        )
    if finding is not None:
        chosen = [name for name in names if folded(name) == folded(finding)]
        if not chosen:
            raise DataError(
                f"{where}: two classes are supported, so --finding names one label, and all others count as healthy. "
                f"Choose one of {listed}. Received: {finding!r}"
            )
        if len(chosen) == len(names):
            raise DataError(f"{where} has one class alone, the finding. Received: {listed}")
        return {name: int(name in chosen) for name in names}
    plain = {name: _plain(name) for name in names}
    healthy = [name for name in names if _is_healthy(plain[name])]
    found = [name for name in names if name not in healthy and _FINDING.match(plain[name])]
    if len(names) > 2 or (len(healthy), len(found)) != (1, 1):
        raise DataError(
            f"{where} has labels of which names do not tell the finding: name it by --finding, and all others count "
            f"as healthy. Received: {listed}"
        )
    return {name: int(name == found[0]) for name in names}


def without_missing(table):
    """Blanks the labels of a table that mean that there is none, as NA does; a list of one line on them, or of none.

    "none" may mean that there is no finding, and "-" be the opposite of "+".
    """
    column = "label" if "label" in table else "folder"
    missing = table[column].str.strip().str.lower().isin(set(tables.MISSING) - {"none", "-"})
    counts = table[column][missing].value_counts()
    table[column] = table[column].mask(missing, "")
    words = ", ".join(f"{name!r}, {count:,} images" for name, count in counts.items())
    return [f"no label, left out: {words}"] if words else []


def tells(name):
    """Whether a label's name, such as that of a folder, speaks of a finding or of none, if only to people."""
    plain = _plain(name)
    return bool(_is_healthy(plain) or _FINDING.match(plain) or _NO.match(plain))


def named(name):
    """Whether a class is "finding" or "healthy" where its name says one of both, or None."""
    plain = _plain(name)
    if _is_healthy(plain):
        return "healthy"
    return "finding" if _FINDING.match(plain) else None


def folded(name):
    """A name as names are compared: accents, capitals, blanks and "1.0" in one spelling."""
    return re.sub(r"^(\d+)\.0+$", r"\1", " ".join(tables.composed(str(name)).split()).casefold())


def _plain(name):
    return " ".join(re.split(r"[\W_]+", tables.composed(name).lower())).strip()


def _is_healthy(plain):
    if not _NO.match(plain):
        return bool(_HEALTHY.match(plain))
    others = [word for word in plain.split()[1:] if word not in _AROUND]
    none_of = all(map(_NONE_OF.fullmatch, others))
    return none_of and bool(others or plain in ("no", "not", "without"))
