"""What a command takes that no option gives it: a named profile's value, or else a default.

A command by hand and the workflow give the same numbers when they work with the same settings.
``--profile NAME`` takes those of a profile; an option that is given wins over it. Whatever was
taken is said in one line on stderr when the work begins.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.workflow.profiles import CalibrationConfig, Profile

T = TypeVar("T")

ProfileOption = Annotated[str, typer.Option("--profile", help="name of a profile")]
TakenProfileOption = Annotated[
    str | None, typer.Option("--profile", help="profile whose settings hold where none are given")
]
ConfigFolderOption = Annotated[Path, typer.Option(help="where the profiles lie")]
RunsOption = Annotated[Path, typer.Option(help="where the cells lie")]
ResultsOption = Annotated[
    Path | None, typer.Option(help="stored results CSV that is shown; default: the run's")
]
OverrideOption = Annotated[
    list[str] | None, typer.Option("--override", metavar="KEY=VALUE", help="of a profile key")
]

#: What is drawn where neither an option nor a profile says it: data set, sequences, length.
CALIBRATION = ("bigbench-prose", 32, 64)
#: Tokens of a window, at most.
WINDOW = 2048


def read_profile(name: str, folder: Path, overrides: list[str] | None) -> Profile:
    """Load a profile with the overrides of the command line."""
    from adaptprune.workflow.profiles import load_profile

    pairs = (pair.partition("=") for pair in overrides or [])
    return load_profile(folder, name, {key: value for key, _, value in pairs})


class Calibration(NamedTuple):
    """What a calibration set is drawn from, and how large; or the file that holds it."""

    source: str
    sequences: int
    length: int
    local_data: Path | None


class Evaluation(NamedTuple):
    """What is evaluated: a suite or tasks, how much of it, and in which window."""

    suite: str | None
    documents_per_task: int | None
    perplexity_documents: int | None
    token_perplexity: list[int]
    window_limit: int
    batch: str
    scorer_precision: str


class Training(NamedTuple):
    """What is trained into what: model, preset with its settings, data, and target or None."""

    model: str
    preset: str
    data: str
    target: int | str | None
    settings: dict[str, Any]


class Taken:
    """Answers for the options that were not given, and the line that says what was taken."""

    def __init__(self, name: str | None, folder: Path) -> None:
        """Read the profile, where one is named.

        Raises:
            UserError: there is no such profile, or it is wrong.
        """
        self.profile = None if name is None else read_profile(name, folder, None)
        self._folder = folder
        self._source = "default" if name is None else f"profile {name}"
        self._parts: list[str] = []

    def say(self) -> None:
        """Print what was taken, once: one line on stderr."""
        if self._parts:
            print("; ".join(self._parts), file=sys.stderr, flush=True)
            self._parts.clear()

    def _value(self, given: T | None, of_profile: Callable[[Profile], T], default: T) -> T:
        """Return what was given, or what the profile says, or the default."""
        if given is not None:
            return given
        return default if self.profile is None else of_profile(self.profile)

    def _note(self, text: str, *given: object) -> None:
        """Note what is said, unless all of it was given."""
        if any(value is None for value in given):
            self._parts.append(f"{text} ({self._source})")

    def _note_machine(self, text: str, threads: int | None, *given: object) -> None:
        """Note how a profile computes; the defaults are the machine's and name no other numbers."""
        if self.profile is not None:
            self._note(f"{text}, {threads} thread{'' if threads == 1 else 's'}", *given)

    def local_data(self, given: Path | None) -> Path | None:
        """Return the folder that stands for the hub."""

        def of_profile(profile: Profile) -> Path | None:
            return Path(profile.local_data) if profile.local_data else None

        folder = self._value(given, of_profile, None)
        if folder is not None:
            self._note(f"local data: {folder}", given)
        return folder

    def runtime(
        self,
        dtype: str | None,
        device: str | None,
        threads: int | None,
        trust_remote_code: bool | None = False,
    ) -> tuple[str, str, int | None, bool]:
        """Return dtype, device, CPU threads and whether code in a model folder may be run."""
        dtype_used = self._value(dtype, lambda profile: profile.dtype, "float32")
        device_used = self._value(device, lambda profile: profile.device, "cpu")
        count = self._value(threads, lambda profile: profile.threads, None)
        trusted = self._value(trust_remote_code, lambda profile: profile.trust_remote_code, False)
        self._note_machine(f"{dtype_used} on {device_used}", count, dtype, device, threads)
        return dtype_used, device_used, count, trusted

    def calibration(
        self,
        source: str | None,
        sequences: int | None,
        length: int | None,
        local_data: Path | None,
        method: str | None = None,
    ) -> Calibration:
        """Return what a calibration set is drawn from, for a method or variant or for all."""

        def drawn(profile: Profile) -> CalibrationConfig:
            return profile.calibration if method is None else profile.calibration_of(method)

        chosen = Calibration(
            self._value(source, lambda profile: drawn(profile).dataset, CALIBRATION[0]),
            self._value(sequences, lambda profile: drawn(profile).sequences, CALIBRATION[1]),
            self._value(length, lambda profile: drawn(profile).length, CALIBRATION[2]),
            local_data,
        )
        if Path(chosen.source).suffix != ".json":
            text = f"{chosen.sequences} sequences of {chosen.length} tokens of {chosen.source}"
            self._note(f"calibration: {text}", source, sequences, length)
        return chosen

    def parameters(self, method: str, given: dict[str, Any]) -> dict[str, Any]:
        """Return a method's, or a variant's, parameters: the profile's, below those given.

        A given null takes a parameter of the profile away, as in a variant.
        """
        if self.profile is None:
            return given
        below = self.profile.settings_of(method).parameters
        taken = {key: value for key, value in below.items() if key not in given}
        if taken:
            self._note(f"parameters: {_listed(taken)}", None)
        removed = [key for key in below if key in given and given[key] is None]
        return taken | {key: value for key, value in given.items() if key not in removed}

    def evaluation(
        self,
        *,
        suite: str | None,
        tasks: str | None,
        limit: int | None,
        documents_per_task: int | None,
        perplexity_documents: int | None,
        token_perplexity: list[int] | None,
        max_length: int | None,
        window_limit: int | None,
        batch: str | None,
        scorer_precision: str | None,
    ) -> Evaluation:
        """Return what is evaluated; a profile's subset holds where neither it nor a limit is given.

        Raises:
            UserError: not exactly one of suite, tasks and profile says what.
        """
        if (suite is None) == (tasks is None) and (suite is not None or self.profile is None):
            raise UserError("give --suite NAME or --tasks a,b (one of the two), or --profile NAME")
        if tasks is None:
            suite = self._suite(suite)
        longest = self._value(window_limit, lambda profile: profile.evaluation.max_length, WINDOW)
        precision = self._value(
            scorer_precision, lambda profile: profile.evaluation.scorer_precision, "float32"
        )
        size = self._value(batch, lambda profile: str(profile.evaluation.batch), "auto")
        lengths = token_perplexity or []
        if suite is not None and limit is None:
            documents_per_task = self._documents_per_task(documents_per_task)
            perplexity_documents = self._perplexity_documents(suite, perplexity_documents)
            lengths = self._value(
                token_perplexity,
                lambda profile: profile.evaluation.lengths_within(max_length or longest),
                [],
            )
        return Evaluation(
            suite,
            documents_per_task,
            perplexity_documents,
            lengths,
            longest,
            size,
            precision,
        )

    def held_out_text(self, suite: str | None, documents: int | None) -> tuple[str, int | None]:
        """Return the suite whose perplexity text is scored, and how many of its documents.

        Raises:
            UserError: nothing says which suite.
        """
        if suite is None and self.profile is None:
            raise UserError("give --suite NAME or --profile NAME")
        name = self._suite(suite)
        return name, self._perplexity_documents(name, documents)

    def _suite(self, given: str | None) -> str:
        name = self._value(given, lambda profile: profile.evaluation.suite, "")
        self._note(f"suite {name}", given)
        return name

    def _documents_per_task(self, given: int | None) -> int | None:
        taken = self._value(given, lambda profile: profile.evaluation.documents_per_task, None)
        self._note(f"{taken or 'all'} documents of each task", given)
        return taken

    def _perplexity_documents(self, suite: str, given: int | None) -> int | None:
        from adaptprune.evaluation.suites import load_suite

        text = load_suite(suite).perplexity
        taken = self._value(given, lambda profile: profile.evaluation.perplexity_documents, None)
        if text is not None:
            count = f"all {text.documents}" if taken is None else str(taken)
            self._note(f"perplexity over {count} documents", given)
        return taken

    def workload(self, *given: int | None) -> list[int]:
        """Return sequences, tokens of the prompt, tokens that follow, and rounds of a timing."""
        from adaptprune.workflow.profiles import SpeedConfig

        speed = SpeedConfig() if self.profile is None else self.profile.speed
        below = (speed.batch, speed.prompt, speed.new_tokens, speed.rounds)
        chosen = [
            value if option is None else option for option, value in zip(given, below, strict=True)
        ]
        text = "batch {}, prompt of {} tokens and {} more, {} rounds".format(*chosen)
        self._note(text, *given)
        return chosen

    def recovery(
        self,
        name: str | None,
        *,
        model: str | None,
        preset: str | None,
        data: str | None,
        target: int | str | None,
        settings: dict[str, Any],
    ) -> Training:
        """Return what is trained into what: as given, else as a recovery of the profile says.

        Raises:
            UserError: the profile has no such recovery, or something is said twice or nowhere.
        """
        if name is not None:
            if self.profile is None:
                raise UserError(f"--recovery {name}: give the profile that has it, --profile NAME")
            if preset is not None:
                raise UserError("give --preset NAME or --recovery NAME, not both")
            known = self.profile.recovery(name)
            model, preset, data = model or known.model, known.preset, data or known.data
            target = known.target if target is None else target
            below = {key: value for key, value in known.overrides.items() if key not in settings}
            settings = below | settings
            listed = ", ".join([f"{preset} of {model} on {data}", *filter(None, [_listed(below)])])
            self._note(f"recovery {name}: {listed}", None)
        for option, value in (("model", model), ("preset", preset), ("data", data)):
            if value is None:
                raise UserError(
                    f"give --{option} NAME, or a recovery of a profile by --profile and --recovery"
                )
        return Training(str(model), str(preset), str(data), target, settings)

    def execution(
        self,
        device: str | None,
        threads: int | None,
        micro_batch: int | None,
        checkpoint_every: int | None,
        activation_checkpointing: bool | None,
    ) -> dict[str, Any]:
        """Return how a training is computed, by the keys of ``Execution``."""
        from adaptprune.recovery.config import TrainingConfig

        training = TrainingConfig() if self.profile is None else self.profile.training
        # A training takes whatever GPUs are free.
        where = self._value(device, lambda profile: profile.device.split(":")[0], "cpu")
        count = self._value(threads, lambda profile: profile.threads, None)
        rows = micro_batch or training.micro_batch
        self._note_machine(f"{rows} rows a pass on {where}", count, device, threads, micro_batch)
        if activation_checkpointing is None:
            activation_checkpointing = training.activation_checkpointing
        return {
            "device": where,
            "threads": count,
            "micro_batch": rows,
            "checkpoint_every": checkpoint_every or training.checkpoint_every,
            "activation_checkpointing": activation_checkpointing,
        }

    def launch(self, given: Path | None) -> Path | None:
        """Return the config of ``accelerate launch``; a profile names it from beside its folder."""

        def of_profile(profile: Profile) -> Path | None:
            launch = profile.training.launch
            return None if launch is None else self._folder.parent / launch

        return self._value(given, of_profile, None)


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())
