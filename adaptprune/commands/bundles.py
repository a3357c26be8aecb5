"""Options that go together: one parameter of a command, several options of the command line."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.commands.options import (
    CalibrationOption,
    DeviceOption,
    DtypeOption,
    LengthOption,
    LocalDataOption,
    RemoteOption,
    SequencesOption,
    ThreadsOption,
    named_file,
)
from adaptprune.commands.profiles import ConfigFolderOption, Taken, TakenProfileOption

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class RuntimeOptions:
    """How to compute."""

    dtype: DtypeOption = None
    device: DeviceOption = None
    threads: ThreadsOption = None
    trust_remote_code: RemoteOption = None

    def given(self) -> tuple[str | None, str | None, int | None, bool | None]:
        """Return what was given, in the order of ``Taken.runtime``."""
        return self.dtype, self.device, self.threads, self.trust_remote_code


@dataclasses.dataclass(frozen=True)
class CalibrationOptions:
    """What a calibration set is drawn from, and how large; or the file that holds it."""

    calibration: CalibrationOption = None
    sequences: SequencesOption = None
    length: LengthOption = None
    local_data: LocalDataOption = None

    def drawn(self) -> tuple[str | None, int | None, int | None]:
        """Return what was given of it, in the order of ``Taken.calibration``."""
        return self.calibration, self.sequences, self.length

    def files(self) -> list[Path | None]:
        """Return the files and folders that are read."""
        return [named_file(self.calibration, ".json"), self.local_data]


@dataclasses.dataclass(frozen=True)
class ProfileOptions:
    """The profile whose settings hold where none are given."""

    profile: TakenProfileOption = None
    config_folder: ConfigFolderOption = Path("config")

    def read(self) -> Taken:
        """Return what the profile says.

        Raises:
            UserError: there is no such profile, or it is wrong.
        """
        return Taken(self.profile, self.config_folder)


def with_options_of_bundles(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that takes the options of its bundles, in their place.

    Bundles are parameters whose annotation is a dataclass.
    """
    signature = inspect.signature(command, eval_str=True)
    bundles: dict[str, Any] = {}
    taken: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        options, kind = [parameter], parameter.annotation
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            bundles[parameter.name] = kind
            options = list(inspect.signature(kind, eval_str=True).parameters.values())
        taken += [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]

    @functools.wraps(command)
    def run(**options: Any) -> None:
        given = {name: kind(**_taken_out(options, kind)) for name, kind in bundles.items()}
        command(**options, **given)

    del run.__wrapped__  # its signature is another one
    run.__signature__ = inspect.Signature(taken)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in taken}
    return run


def _taken_out(options: dict[str, Any], bundle: Any) -> dict[str, Any]:
    return {field.name: options.pop(field.name) for field in dataclasses.fields(bundle)}
