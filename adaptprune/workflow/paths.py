"""Every file name of the workflow, once.

All names lie below the folder in which Snakemake runs. They are strings: with names in braces they
are the patterns of rules, with values the files of one profile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.workflow.papers import papers

if TYPE_CHECKING:
    from pathlib import Path

#: The runs of all profiles, and the tables and figures that are made of them.
RUNS = "results/runs"
GENERATED = "paper_tables/generated"

#: The place of a cell among the others, as ``adaptprune.cells.Cell.key`` has it.
CELL = "{model}/{method}/{sparsity}/{recovery}/s{seed}"
#: A calibration set among those of a model, as ``CalibrationConfig.slug`` has it.
DRAWN = "{dataset}-{sequences}x{length}"


class Run:
    """The files of a profile's run.

    Models are named by their folders (``adaptprune.cells.slug``).

    Args:
        profile: its name, or the wildcard ``{profile}``.
    """

    def __init__(self, profile: str):
        self.folder = f"{RUNS}/{profile}"
        self.suite = f"{self.folder}/suite.json"
        self.generated = f"{GENERATED}/{profile}"

    def model(self, model: str) -> str:
        """Return the note of a model once it is fetched."""
        return f"{self.folder}/models/{model}.json"

    def pretrained(self, model: str) -> str:
        """Return a model of the suite's own that is pretrained again."""
        return f"{self.folder}/pretrained/{model}"

    def text(self, name: str) -> str:
        """Return the note of a text of the hub once it is fetched."""
        return f"{self.folder}/texts/{name}.json"

    def calibration(self, model: str, drawn: str, seed: int | str) -> str:
        """Return a calibration set, drawn for the tokenizer of a model."""
        return f"{self.folder}/calibration/{model}/{drawn}/s{seed}.json"

    def scores(self, model: str, method: str, seed: int | str) -> str:
        """Return the score file that serves every sparsity."""
        return f"{self.folder}/scores/{model}/{method}/s{seed}.safetensors"

    def cell(self, key: str, name: str) -> str:
        """Return a file of a cell."""
        return f"{self.folder}/cells/{key}/{name}"

    def training(self, key: str) -> str:
        """Return where a recovery works; outside of what Snakemake removes."""
        return f"{self.folder}/training/{key}"

    def gate(self, model: str, known: str) -> str:
        """Return the check of a dense model against known scores, whose hash is in its name."""
        return f"{self.folder}/dense_gate/{model}-{known}.json"

    def tokens(self, mixture: str) -> str:
        """Return the counted tokens of a mixture."""
        return f"{self.folder}/tokens/{mixture}.json"

    def sensitivity(self, model: str, uniform: int | str) -> str:
        """Return the perplexities of a model whose layers are cut one by one."""
        return f"{self.folder}/sensitivity/{model}/u{uniform}.json"

    def speed(self, model: str, method: str, sparsity: int | str, batch: str = "") -> str:
        """Return the measured speed of a pruned model, with a batch other than the profile's."""
        return f"{self.folder}/speed/{model}/{method}/{sparsity}{batch}.json"

    def measured_checkpoint(self, model: str, method: str, sparsity: str, seed: int | str) -> str:
        """Return the checkpoint whose speed is measured."""
        return f"{self.folder}/speed/{model}/{method}/{sparsity}-s{seed}/checkpoint"

    def collected(self, kind: str = "results", selection: str = "") -> str:
        """Return the results (or provenance) of the matrix, or of a table's cells (``-table``)."""
        return f"{self.folder}/{kind}{selection}.csv"

    def seal(self, selection: str = "") -> str:
        """Return the hash that lies beside a results file."""
        return f"{self.collected(selection=selection)}.sha256"

    def compared(self, method: str, name: str) -> str:
        """Return a file of the comparison of a new method with stored ones."""
        return f"{self.folder}/compare/{method}/{name}"

    def made(self, name: str) -> str:
        """Return the record of what generated files were made from."""
        return f"{self.folder}/made/{name}.json"

    def log(self, name: str) -> str:
        """Return the log of a job."""
        return f"{self.folder}/logs/{name}.txt"

    def table(self, name: str) -> str:
        """Return a rendered table, without suffix."""
        return f"{self.generated}/{name}"

    def figure(self, name: str) -> str:
        """Return a figure, without suffix."""
        return f"{self.generated}/figures/{name}"


def config_folder(root: Path) -> Path:
    """Return where the profiles lie."""
    return root / "config"


def tables_folder(root: Path) -> Path:
    """Return where the declared tables lie, and a folder of each paper."""
    return root / "paper_tables"


def found_files(generated: Path) -> list[Path]:
    """Return the tables and figures that lie there, and the tables of all profiles, sorted.

    Args:
        generated: folder of the profile's tables and figures.
    """
    files = [*generated.glob("*.md"), *generated.glob("figures/*.png")]
    shared = [generated.parent / f"{name}.md" for paper in papers() for name in paper.shared]
    return sorted([*files, *(file for file in shared if file.is_file())])
