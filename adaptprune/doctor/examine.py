"""All checks in order, and the forecast."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.doctor import inputs, machine
from adaptprune.doctor.finding import Finding, Subject, in_units
from adaptprune.doctor.forecast import Forecast, check_shapes, predict
from adaptprune.doctor.rates import Rates, measure_rates
from adaptprune.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Each looks at one thing and answers with one finding or several.
CHECKS: tuple[Callable[[Subject], Finding | list[Finding]], ...] = (
    machine.check_python,
    machine.check_packages,
    machine.check_device,
    machine.check_memory,
    machine.check_disk,
    machine.check_cache,
    machine.check_results,
    inputs.check_readers,
    inputs.check_models,
    inputs.check_tasks,
    inputs.check_texts,
)


@dataclass(frozen=True)
class Diagnosis:
    """What was found and predicted; no forecast where nothing could be timed."""

    profile: str
    findings: list[Finding]
    rates: Rates | None = None
    forecast: Forecast | None = None

    @property
    def is_healthy(self) -> bool:
        """Say whether nothing is missing."""
        return all(finding.level != "missing" for finding in self.findings)

    def lines(self) -> list[str]:
        """Return the diagnosis for people."""
        lines = [finding.line() for finding in self.findings]
        if self.forecast is not None and self.rates is not None:
            lines += _forecast_lines(self.forecast, self.rates)
        lacking = sum(finding.level == "missing" for finding in self.findings)
        verdict = f"{lacking} thing(s) missing" if lacking else "nothing is missing"
        return [*lines, f"profile {self.profile}: {verdict}"]

    def to_json(self) -> dict[str, Any]:
        """Return the diagnosis for programs."""
        forecast = None
        if self.forecast is not None:
            forecast = asdict(self.forecast) | {"seconds": self.forecast.seconds}
        return {
            "profile": self.profile,
            "healthy": self.is_healthy,
            "findings": [asdict(finding) for finding in self.findings],
            "rates": asdict(self.rates) if self.rates else None,
            "forecast": forecast,
        }


def _forecast_lines(forecast: Forecast, rates: Rates) -> list[str]:
    hours = ", ".join(f"{name} {_time(s)}" for name, s in sorted(forecast.job_seconds.items()))
    return [
        f"measured: {rates.forward / 1e9:.0f} GFLOP/s forward, {rates.gradient / 1e9:.0f} with "
        f"gradients, {in_units(rates.stored)}/s written and hashed, by one job alone",
        f"forecast: {forecast.cells} cells take about {_time(forecast.seconds)} with "
        f"{forecast.at_once} job(s) at once (summed over jobs: {hours})",
        f"forecast: {in_units(forecast.bytes)} in the results, "
        f"{in_units(forecast.cache_bytes)} more in the cache",
    ]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def examine(subject: Subject, seconds: float) -> Diagnosis:
    """Run all checks; time the machine where its device is there.

    Args:
        subject: what is examined.
        seconds: to spend on each of the two kinds of pass that are timed; 0 for no forecast.
    """
    findings = []
    for check in CHECKS:
        found = check(subject)
        findings += found if isinstance(found, list) else [found]
    device = next(finding for finding in findings if finding.check == "device")
    if device.level == "missing" or seconds == 0:
        return Diagnosis(subject.name, findings)
    try:
        check_shapes(subject.profile)
        model = machine.largest_model(subject)
        rates = measure_rates(subject.profile, model, subject.runs, seconds)
        forecast = predict(subject.profile, rates, subject.at_once)
    except (UserError, OSError) as error:  # a full disk, or a folder that is read-only
        none = Finding("forecast", "warning", f"none: {error}")
        return Diagnosis(subject.name, [*findings, none])
    return Diagnosis(subject.name, findings, rates, forecast)
