"""Which tables and figures a report of a profile shows; the workflow asks without pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Figures that show the run of a declared table, and so of the profile that it is run in.
RUN_AS = {"fig3": "table3", "fig4": "ablation_interleave"}


def found_files(generated: Path) -> list[Path]:
    """Return the tables and figures that lie there, sorted.

    Args:
        generated: folder of the profile's tables and figures.
    """
    files = [*generated.glob("*.md"), *generated.glob("figures/*.png")]
    table6 = generated.parent / "table6.md"
    return sorted([*files, *([table6] if table6.is_file() else [])])
