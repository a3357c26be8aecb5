"""Profiles: what to run, as typed YAML with one base and small overrides. Torch-free."""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from adaptprune.cells import NO_RECOVERY, Cell, grid, slug, split_variant
from adaptprune.data.mixtures import find_mixture
from adaptprune.data.texts import find_corpus
from adaptprune.errors import UserError, refusal, unknown
from adaptprune.evaluation.perplexity import check_lengths
from adaptprune.evaluation.suites import load_suite
from adaptprune.files.declared import Closed, read_yaml
from adaptprune.models.catalogue import find_entry, is_shape, known_window
from adaptprune.plugins import in_one_line
from adaptprune.pruning.methodfile import load_method_file
from adaptprune.pruning.registry import find_method
from adaptprune.recovery.config import RecoveryConfig, TrainingConfig


class CalibrationConfig(Closed):
    """How a calibration set is drawn."""

    dataset: str
    sequences: int = pydantic.Field(ge=1)
    length: int = pydantic.Field(ge=2)

    @property
    def slug(self) -> str:
        """Name of the set among the files of a model, without its seed."""
        return f"{self.dataset}-{self.sequences}x{self.length}"


class RoundingConfig(Closed):
    """Which cells are measured with weights rounded by AWQ as well, and to how many bits.

    ``bits`` go by the name of a method or recovery, in which ``*`` stands for any part; ``group``
    is the number of inputs that share a scale, None for the largest usual one that fits.
    """

    bits: dict[str, list[Annotated[int, pydantic.Field(ge=1, le=16)]]]
    group: int | None = pydantic.Field(None, ge=1)

    def bits_of(self, cell: Cell) -> list[int]:
        """Return the bits of a cell, none for most."""
        name = cell.method if cell.recovery == NO_RECOVERY else cell.recovery
        found = [bits for pattern, bits in self.bits.items() if fnmatchcase(name, pattern)]
        return sorted({number for bits in found for number in bits}, reverse=True)


class EvaluationConfig(Closed):
    """What is measured on every checkpoint.

    ``token_perplexity`` lists window lengths at which the suite's perplexity text is scored
    besides; every length is a metric of its own. A model is shown ``max_length`` tokens, or those
    of its own window where that is smaller. ``scorer_precision`` is that of the softmax: float32,
    or that of the model's dtype, as stock lm-eval has it. ``rounding`` names cells whose perplexity
    is measured with rounded weights, too.
    """

    suite: str
    documents_per_task: int | None = pydantic.Field(None, ge=1)
    perplexity_documents: int | None = pydantic.Field(None, ge=1)
    token_perplexity: list[int] = pydantic.Field(default=[])
    max_length: int = pydantic.Field(2048, ge=16)
    batch: Annotated[int, pydantic.Field(ge=1)] | Literal["auto"] = "auto"
    scorer_precision: Literal["float32", "stock"] = "float32"
    rounding: RoundingConfig | None = pydantic.Field(None, repr=False)  # in the options of its jobs

    def bits_of(self, cell: Cell) -> list[int]:
        """Return to how many bits the weights of a cell are rounded, none for most."""
        return self.rounding.bits_of(cell) if self.rounding else []

    def window_of(self, model: str) -> int:
        """Return how many tokens a model is shown at most, as far as is known without the hub."""
        return min(self.max_length, known_window(model) or self.max_length)

    def lengths_within(self, window: int) -> list[int]:
        """Return the lengths of token perplexities that a window has room for."""
        return [length for length in self.token_perplexity if length <= window]


class SpeedConfig(Closed):
    """What pruned and dense models are timed with (``adaptprune.measure.speed.Workload``)."""

    batch: int = pydantic.Field(default=1, ge=1)
    prompt: int = pydantic.Field(default=256, ge=1)
    new_tokens: int = pydantic.Field(default=16, ge=1)
    rounds: int = pydantic.Field(default=7, ge=1)


class MethodSettings(Closed):
    """What a method, or a named variant of it, runs with in a profile.

    A variant states what differs from the plain method; a parameter that is null is taken away.
    ``sparsities`` stand in the place of the profile's, for a method that reaches some alone.
    ``seed_count`` says how many of the profile's seeds it is run with, the first ones: one, where
    no draw of calibration data matters to it.
    """

    parameters: dict[str, Any] = pydantic.Field(default={})
    calibration: CalibrationConfig | None = None
    sparsities: list[int] | None = pydantic.Field(default=None, min_length=1)
    seed_count: int | None = pydantic.Field(default=None, ge=1)


class Profile(Closed):
    """One profile: the matrix of cells and the conditions they share.

    ``local_data`` is a folder that stands for the hub's data sets; ``dense_gate`` says whether the
    dense model must meet the known scores of the suite before anything else is evaluated.
    ``method_file`` is a Python file that defines a further method. ``mixture`` is the training data
    that Table 2 counts. ``further_models`` are models beside the matrix, for the tables that name
    them. ``recoveries`` are trained cells beside the matrix, run for the tables and
    figures that show them; ``training`` says how they are computed.
    """

    title: str
    note: str = ""
    models: list[str] = pydantic.Field(min_length=1)
    further_models: list[str] = pydantic.Field(default=[], repr=False)  # tables name them
    methods: list[str] = pydantic.Field(min_length=1)
    sparsities: list[int] = pydantic.Field(min_length=1)
    seeds: list[Annotated[int, pydantic.Field(ge=0)]] = pydantic.Field(min_length=1)
    settings: dict[str, MethodSettings] = pydantic.Field(default={})
    calibration: CalibrationConfig
    evaluation: EvaluationConfig
    speed: SpeedConfig = SpeedConfig()
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = pydantic.Field("cpu", pattern=r"^(cpu|cuda(:[0-9]+)?)$")
    threads: int = pydantic.Field(1, ge=1)
    memory_mb: int = pydantic.Field(4000, ge=1)
    trust_remote_code: bool = False
    local_data: str | None = None
    dense_gate: bool = True
    mixture: str = "paper"
    method_file: str | None = None
    recoveries: dict[str, RecoveryConfig] = pydantic.Field(default={})
    training: TrainingConfig = TrainingConfig()

    @property
    def all_models(self) -> list[str]:
        """Return the models of matrix, tables and recoveries, without mere shapes."""
        trained = [model for recovery in self.recoveries.values() for model in recovery.models]
        named = dict.fromkeys([*self.models, *self.further_models, *trained])
        return [model for model in named if not is_shape(model)]

    def settings_of(self, method: str) -> MethodSettings:
        """Return the settings of a method, or of a variant laid over those of its method.

        Raises:
            UserError: the profile has no such variant; a plain method may have no settings.
        """
        plain = self.settings.get(split_variant(method)[0], MethodSettings())
        if "@" not in method:
            return plain
        if method not in self.settings:
            raise unknown("variant", method, [name for name in self.settings if "@" in name])
        variant = self.settings[method]
        parameters = plain.parameters | variant.parameters
        return MethodSettings(
            parameters={key: value for key, value in parameters.items() if value is not None},
            calibration=variant.calibration or plain.calibration,
        )

    def calibration_of(self, method: str) -> CalibrationConfig:
        """Return the calibration of a method or variant."""
        return self.settings_of(method).calibration or self.calibration

    def sparsities_of(self, method: str) -> list[int]:
        """Return the sparsities of a method or variant: its own, its method's, or the profile's."""
        return self._own(method, "sparsities") or self.sparsities

    def seeds_of(self, method: str) -> list[int]:
        """Return the seeds that a method or variant is run with."""
        return self.seeds[: self._own(method, "seed_count")]

    def has(self, method: str, sparsity: int, seed: int) -> bool:
        """Say whether a method or variant is run at a sparsity with a seed."""
        return sparsity in self.sparsities_of(method) and seed in self.seeds_of(method)

    def _own(self, method: str, key: str) -> Any:
        """Return a setting of a variant, or else of its method; None where neither has it."""
        settings = (self.settings.get(name) for name in (method, split_variant(method)[0]))
        return next((own for one in settings if one and (own := getattr(one, key))), None)

    @property
    def all_sparsities(self) -> list[int]:
        """Return the sparsities of any of its methods, sorted where a method adds some."""
        added = {
            sparsity
            for method in self.methods
            for sparsity in self.sparsities_of(method)
            if sparsity not in self.sparsities
        }
        return sorted({*self.sparsities, *added}) if added else self.sparsities

    def shares_scores(self, name: str) -> bool:
        """Say whether the sparsities of a method or variant are cut from one score file.

        Raises:
            UserError: the method cannot say so.
        """
        method = find_method(split_variant(name)[0])
        with in_one_line(method):
            return method.shares_scores(method.parse(self.settings_of(name).parameters))

    def cells(self, methods: list[str] | None = None) -> list[Cell]:
        """Return the matrix of cells, of some methods or of all."""
        return [
            cell
            for model in self.models
            for method in methods or self.methods
            for cell in grid([model], [method], self.sparsities_of(method), self.seeds_of(method))
        ]

    def recovery_cells(self, name: str) -> list[Cell]:
        """Return the cells of a recovery, one for each seed.

        Raises:
            UserError: the profile has none of that name.
        """
        chosen = self.recovery(name)
        method, sparsity = chosen.recipe.method, chosen.sparsity
        return [Cell(chosen.model, method, sparsity, name, seed) for seed in self.seeds]

    def recovery(self, name: str) -> RecoveryConfig:
        """Return a recovery of the profile.

        Raises:
            UserError: it has none of that name.
        """
        if name not in self.recoveries:
            raise unknown("recovery", name, self.recoveries)
        return self.recoveries[name]

    def with_variants(self, declared: list[str], more: list[str] | None = None) -> Profile:
        """Return the profile with those declared variants added whose method it runs, and more.

        Raises:
            UserError: a variant is unknown or cannot reach a sparsity of the profile.
        """
        asked = [*self._runs(declared), *(more or [])]
        added = [name for name in asked if name not in self.methods]
        widened = self.model_copy(update={"methods": [*self.methods, *added]})
        widened.check()
        return widened

    def with_sparsities(self, declared: list[str], sparsities: list[int]) -> Profile:
        """Return the profile with other sparsities, and of the declared methods those it runs.

        Raises:
            UserError: a method is unknown, cannot reach a sparsity, or is cut from scores, which
                are computed for the profile's own sparsities.
        """
        settings = {
            name: chosen.model_copy(update={"sparsities": None})
            for name, chosen in self.settings.items()
        }
        update = {"methods": self._runs(declared), "sparsities": sparsities, "settings": settings}
        other = self.model_copy(update=update)
        other.check()
        for name in other.methods:
            if self.shares_scores(name):
                raise UserError(
                    f"{name} is cut from scores of the profile's sparsities; a table with "
                    "sparsities of its own shows methods that share no scores"
                )
        return other

    def _runs(self, declared: list[str]) -> list[str]:
        """Return the declared methods and variants whose method the profile runs."""
        return [name for name in declared if split_variant(name)[0] in self.methods]

    def check(self) -> None:
        """Refuse, before any work, names and numbers that no run could use.

        Raises:
            UserError: an unknown model, method, variant, parameter, suite or data set; a
                sparsity out of range; a repeated entry; a name that no folder can have.
        """
        for key in ("models", "further_models", "methods", "sparsities", "seeds"):
            _check_distinct_entries(key, getattr(self, key))
        _check_percents(self.sparsities)
        for model in self.all_models:
            find_entry(model)
            _check_path("models", model)
            _check_path("models", slug(model))
        _check_distinct(self.all_models)
        find_corpus(self.calibration.dataset)
        for name in [*self.methods, *self.settings]:
            self._check_method(name)
        for name, recovery in self.recoveries.items():
            recovery.check(name)
        find_mixture(self.mixture)
        load_suite(self.evaluation.suite)
        check_lengths(self.evaluation.token_perplexity, self.evaluation.max_length)
        if self.local_data is not None:
            _check_path("local_data", self.local_data)
            if not Path(self.local_data).is_dir():
                raise UserError(f"config key local_data: {self.local_data} is no folder")

    def _check_method(self, name: str) -> None:
        plain, variant = split_variant(name)
        method = find_method(plain)
        if variant is not None and not re.fullmatch(_NAME, variant):
            raise UserError(
                f"variant {name!r}: a name is made of letters, digits, '.', '_' and '-', and does "
                "not begin with '.'"
            )
        find_corpus(self.calibration_of(name).dataset)
        sparsities = self.sparsities_of(name)
        _check_distinct_entries(f"settings.{name}.sparsities", sparsities)
        _check_percents(sparsities)
        with in_one_line(method):
            parameters = method.parse(self.settings_of(name).parameters)
            for sparsity in sparsities if name in self.methods else []:
                method.check(0 if method.name == "dense" else sparsity, parameters)
        self.shares_scores(name)


def _check_distinct_entries(key: str, values: list[Any]) -> None:
    if len(set(values)) != len(values):
        raise UserError(f"config key {key} lists an entry twice: {values}")


def _check_percents(sparsities: list[int]) -> None:
    for sparsity in sparsities:
        if not 1 <= sparsity <= 99:
            raise UserError(f"sparsity {sparsity} is outside 1..99 (percent)")


#: Names that become folders and words of a job's command: of profiles and of variants.
_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"


def _check_path(key: str, path: str) -> None:
    """Refuse a name that the shell of a workflow's job would not read as one word."""
    if not re.fullmatch(r"[\w./@+~:-]+", path):
        raise UserError(
            f"config key {key}: {path!r} has a blank or a special character; rename the folder or "
            "link to it under a name of letters, digits and . _ - @ + ~ : /"
        )


def _check_distinct(models: list[str]) -> None:
    """Refuse two models whose files would lie in one folder."""
    owners: dict[str, str] = {}
    for model in models:
        other = owners.setdefault(slug(model), model)
        if other != model:
            raise UserError(
                f"models {other} and {model} would share the folder {slug(model)!r} of results; "
                "rename one of them"
            )


#: Keys that ``--config key=value`` may set on the command line, besides ``profile``.
OVERRIDES = ("models", "methods", "sparsities", "seeds", "local_data", "dense_gate", "method_file")
_LISTS = OVERRIDES[:4]


#: What every profile lies over in the end.
_BASE = "base"


def profile_names(folder: Path) -> list[str]:
    """Return the profiles in a config folder."""
    names = (path.stem for path in folder.glob("*.yaml") if path.is_file())
    return sorted(name for name in names if name != _BASE and re.fullmatch(_NAME, name))


def _merge(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """Lay ``top`` over ``base``: mappings merge key by key, everything else replaces."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _merge(below, value) if both and below is not None else value
    return merged


def _read_chain(folder: Path, name: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a profile laid over what it ``extends``."""
    if name in seen:
        raise UserError(f"config/{name}.yaml extends itself")
    path = folder / f"{name}.yaml"
    # Looked up, not tried: a name may lead out of the folder, or be a number.
    if name not in (*profile_names(folder), _BASE) or not path.is_file():
        raise unknown("profile", name, profile_names(folder))
    content = read_yaml(path)
    parent = content.pop("extends", None)
    if parent is None:
        return content
    return _merge(_read_chain(folder, parent, (*seen, name)), content)


def load_profile(folder: Path, name: str, overrides: dict[str, Any] | None = None) -> Profile:
    """Load and check a profile.

    Args:
        folder: where the profiles lie.
        name: of the profile, a file ``name.yaml``.
        overrides: values of the keys in ``OVERRIDES``, lists as such or comma-separated.

    Raises:
        UserError: the profile is unknown, or a key or value in it is wrong.
    """
    content = _read_chain(folder, name)
    for key, value in (overrides or {}).items():
        if key not in OVERRIDES:
            raise unknown("config key", key, ["profile", *OVERRIDES])
        content[key] = _as_list(key, value) if key in _LISTS else value
    for key in content:
        if key not in Profile.model_fields:
            raise unknown(f"config key in config/{name}.yaml", key, Profile.model_fields)
    try:
        profile = Profile(**content)
    except pydantic.ValidationError as error:
        raise UserError(f"config/{name}.yaml: {refusal(error)}") from None
    if profile.method_file is not None:
        load_method_file(Path(profile.method_file))
    profile.check()
    return profile


def _as_list(key: str, value: Any) -> list[Any]:
    items = value if isinstance(value, list) else str(value).split(",")
    if key not in ("sparsities", "seeds"):
        return [str(item).strip() for item in items]
    try:
        return [int(str(item)) for item in items]
    except ValueError:
        raise UserError(f"config key {key} must be whole numbers, not {value!r}") from None


def settings_hash(value: Any) -> str:
    """Return a short hash of settings, for the workflow to notice when they change."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:12]
