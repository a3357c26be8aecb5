"""What a comparison says at first sight: a verdict by sparsity, a picture of all differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.comparison.paired import ALL, Place
from adaptprune.comparison.panels import PAIR
from adaptprune.comparison.sides import family_of
from adaptprune.results.numerals import interval, signed
from adaptprune.results.verdict import LEVEL

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from adaptprune.comparison.panels import PairNames

#: Nonzero parameters that differ by more than this share make another size.
TOLERANCE = 0.03
#: Stands before the places where they do.
SIZES_DIFFER = (
    f"Equal sparsity is not equal size: these differ by more than {100 * TOLERANCE:.0f} %."
)
#: (place, method as it is keyed in the results) → mean of the nonzero parameters over seeds.
Sizes = dict[tuple[Place, str], float]

#: In units of the picture, which is as narrow as a telephone: words stand above their line.
_WIDTH, _SIDE, _LINE, _TOP = 360, 24, 38, 24
#: Numbers on the scale that are nearer than this would overlap.
_BESIDE = 40


@dataclass(frozen=True)
class Against:
    """The difference of the averages of one pairing, in points.

    ``larger`` is by what share the new model has more nonzeros than the baseline's, None where a
    count is not known. ``is_of_another_family`` says that they do not remove the same: units,
    layers, single weights.
    """

    place: Place
    method: str
    baseline: str
    difference: float
    low: float
    high: float
    p: float
    larger: float | None
    is_of_another_family: bool

    @property
    def is_of_another_size(self) -> bool:
        """Say whether the sizes differ so much that the pairing is no like for like."""
        return self.larger is not None and abs(self.larger) > TOLERANCE

    @property
    def baseline_larger(self) -> float:
        """Return by what percentage the baseline has more nonzeros than the new model."""
        return 0.0 if self.larger is None else -100 * self.larger / (1 + self.larger)

    @property
    def outcome(self) -> str:
        """Return ``better``, ``worse`` or ``undecided``."""
        if self.p >= LEVEL:
            return "undecided"
        return "better" if self.difference > 0 else "worse"


def sizes_of(results: pd.DataFrame) -> Sizes:
    """Return how many parameters are not zero, by place and method."""
    counts = results.drop_duplicates(["model", "recovery", "sparsity", "method", "seed"])
    means = counts.groupby(["model", "recovery", "sparsity", "method"])["nonzeros"].mean()
    return {
        (Place(model, recovery, int(sparsity)), method): float(mean)
        for (model, recovery, sparsity, method), mean in means.dropna().items()
    }


def set_against(table: pd.DataFrame, stored: Callable[[str], str], sizes: Sizes) -> list[Against]:
    """Return the differences of the averages over all seeds.

    Args:
        table: what ``compare_pairings`` returned.
        stored: key of a baseline in ``sizes``.
        sizes: of all methods.
    """
    found = []
    averages = table[(table["kind"] == "average") & (table["seed"] == ALL)]
    for row in averages.to_dict("records"):
        model, recovery, sparsity, method, baseline = (row[key] for key in PAIR)
        place = Place(model, recovery, int(sparsity))
        ours, theirs = sizes.get((place, method)), sizes.get((place, stored(baseline)))
        families = {family_of(method), family_of(baseline)} - {""}
        found.append(
            Against(
                *(place, method, baseline, row["difference"], row["low"], row["high"]),
                p=row["p_corrected"],
                larger=ours / theirs - 1 if ours and theirs else None,
                is_of_another_family=len(families) > 1,
            )
        )
    return found


def verdicts_of(found: list[Against], names: PairNames, several: bool) -> list[str]:
    """Return one sentence per place and method: how many baselines like it are beaten.

    Counted are baselines of the same sparsity and family whose nonzeros differ by at most 3 %.

    Args:
        found: all pairings.
        names: what methods and baselines are called in print.
        several: whether a sentence must say which model and method it is about.
    """
    sentences = []
    for place, method in dict.fromkeys((one.place, one.method) for one in found):
        here = [one for one in found if (one.place, one.method) == (place, method)]
        alike = [one for one in here if not (one.is_of_another_size or one.is_of_another_family)]
        about = f"{names.methods[method]} on {place.model}, at" if several else "At"
        text = f"{about} {place.share}: {_counted(alike)}."
        apart = [_apart(one, names.baselines[one.baseline]) for one in here if one not in alike]
        sentences.append(f"{text} Not counted: {'; '.join(apart)}." if apart else text)
    return sentences


def _counted(alike: list[Against]) -> str:
    if not alike:
        return "no baseline of like size and family"
    number = {
        outcome: sum(one.outcome == outcome for one in alike)
        for outcome in ("better", "worse", "undecided")
    }
    worse = f"worse than {number['worse']}" if number["worse"] else "none better"
    text = f"better than {number['better']} of {len(alike)} baselines, {worse}"
    return text + (f", {number['undecided']} undecided" if number["undecided"] else "")


def _apart(one: Against, name: str) -> str:
    """Name a baseline that is not counted, with the difference to it and why."""
    why = "another family" if one.is_of_another_family else ""
    if one.is_of_another_size:
        than = f"{signed(one.baseline_larger)} % nonzeros"
        why = f"{why}, {than}" if why else than
    return f"{name} ({why}): {one.outcome}, {signed(one.difference)} points"


def size_warnings(found: list[Against], names: PairNames) -> list[str]:
    """Return one sentence per place and method where sizes differ though the sparsity is one.

    Args:
        found: all pairings.
        names: what methods and baselines are called in print.
    """
    sentences = []
    for place, method in dict.fromkeys((one.place, one.method) for one in found):
        unlike = [
            f"{names.baselines[one.baseline]} {signed(one.baseline_larger)} %"
            for one in found
            if (one.place, one.method) == (place, method) and one.is_of_another_size
        ]
        if unlike:
            sentences.append(
                f"At {place.share}, beside {names.methods[method]} on {place.model}: "
                f"{', '.join(unlike)} nonzero parameters."
            )
    return sentences


@dataclass(frozen=True)
class Line:
    """One difference in the picture: its words at ``y``, its interval below."""

    y: float
    label: str
    x: float
    low: float
    high: float
    text: str
    outcome: str


@dataclass(frozen=True)
class Forest:
    """The differences at one place with their intervals, as coordinates of a picture."""

    title: str
    lines: list[Line]
    zero: float
    ticks: tuple[tuple[float, str], ...]
    width: int
    height: int


def _label(one: Against, names: PairNames, several: bool) -> str:
    """Name a line by its baseline, or by its method where that meets its namesake."""
    if one.method == one.baseline:
        return names.methods[one.method]
    of_method = f"{names.methods[one.method]} – " if several else ""
    return of_method + names.baselines[one.baseline]


def forests_of(found: list[Against], names: PairNames, several: bool) -> list[Forest]:
    """Return a picture per place, all on one scale; see ``verdicts_of`` for the arguments."""
    ends = [0.0, *(end for one in found for end in (one.low, one.high))]
    first, last = min(ends), max(ends)
    scale = (_WIDTH - 2 * _SIDE) / (last - first or 1.0)

    def x_of(points: float) -> float:
        return round(_SIDE + scale * (points - first), 1)

    apart = [end for end in (first, last) if abs(x_of(end) - x_of(0.0)) > _BESIDE]
    ticks = tuple((x_of(end), signed(end)) for end in sorted([0.0, *apart]))
    pictures = []
    for place in dict.fromkeys(one.place for one in found):
        here = [one for one in found if one.place == place]
        lines = []
        for number, one in enumerate(here):
            marks = "*" * one.is_of_another_size + "†" * one.is_of_another_family
            lines.append(
                Line(
                    y=_TOP + _LINE * (number + 0.5),
                    label=_label(one, names, several) + marks,
                    x=x_of(one.difference),
                    low=x_of(one.low),
                    high=x_of(one.high),
                    text=f"{signed(one.difference)} {interval(one.low, one.high)}",
                    outcome=one.outcome,
                )
            )
        height = _TOP + _LINE * len(here) + 4
        title = f"{place.model}, {place.share}"
        pictures.append(Forest(title, lines, x_of(0.0), ticks, _WIDTH, height))
    return pictures
