"""A profile for `doctor` to look at, and a machine of round numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adaptprune.doctor.finding import Subject
from adaptprune.doctor.rates import Rates
from adaptprune.workflow.profiles import load_profile

CONFIG = Path(__file__).parent.parent / "config"
RATES = Rates(forward=1e9, gradient=5e8, stored=1e8)


def subject(tmp_path: Path, name: str = "tiny", **changes: Any) -> Subject:
    """Return a profile with changed keys, run in a folder of its own."""
    profile = load_profile(CONFIG, name).model_copy(update=changes)
    return Subject(name, profile, tmp_path / "runs", CONFIG.parent / "constraints.txt", cores=2)
