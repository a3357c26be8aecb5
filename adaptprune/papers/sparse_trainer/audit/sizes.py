"""Parameters of sparse LLaMA2-7B (Table 2, section 4.1), and what its bytes allow (Table 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adaptprune.models.catalogue import shape_of
from adaptprune.papers.sparse_trainer.audit.printed import LLAMA2_7B
from adaptprune.report.statements import Statement, billions, grid, holds, yes
from adaptprune.results.numerals import signed

if TYPE_CHECKING:
    from adaptprune.papers.sparse_trainer.audit.printed import Tables
    from adaptprune.papers.sparse_trainer.audit.quoted import Boosted, Quoted, Speedup

#: A 16-bit weight, and the two bits that say where a kept one of 2:4 stands in its group.
WEIGHT_BITS, INDEX_BITS = 16, 2


@dataclass(frozen=True)
class SparseSize:
    """Parameters of a model whose linear layers follow 2:4.

    Args:
        total: of the dense model.
        linear: of the linear layers of its decoder blocks.
        head: of the output head.
        left: S of SLoRB, all layers.
        right: X of SLoRB.
    """

    total: int
    linear: int
    head: int
    left: int
    right: int

    @property
    def nonzeros(self) -> int:
        """What is not zero when half of the linear layers is."""
        return self.total - self.linear // 2


def sparse_size(model: str, group: int) -> SparseSize:
    """Return the sizes of a model of Llama's kind, with SLoRB of ``group`` inputs."""
    shape = shape_of(model)
    total = linear = left = right = 0
    for block in shape.blocks:
        hidden, middle = shape.hidden_size, block.intermediate_size
        kv = block.kv_heads * shape.head_dim
        queries = kv * shape.queries_per_kv_head
        matrices = [(queries, hidden), (kv, hidden), (kv, hidden), (hidden, queries)]
        matrices += [(middle, hidden), (middle, hidden), (hidden, middle)]
        linear += sum(outputs * inputs for outputs, inputs in matrices)
        left += sum(outputs * inputs // group for outputs, inputs in matrices)
        right += sum(inputs * inputs // group for _, inputs in matrices)
    total = shape.parameters
    return SparseSize(total, linear, shape.vocab_size * shape.hidden_size, left, right)


def audit_sizes(tables: Tables, quoted: Quoted) -> list[Statement]:
    """Check the sizes and the speeds that follow from them."""
    size = sparse_size(LLAMA2_7B, quoted.boosted.group)
    return [
        _parameters(tables, size),
        _added(size, quoted.boosted),
        _speedups(tables, quoted.speedup),
        _bytes(tables, size),
    ]


def _parameters(tables: Tables, size: SparseSize) -> Statement:
    added = size.left + size.right
    halves = {
        "LLaMA2-7B (Dense)": (size.total, size.total),
        "LLaMA2-7B (Sparse)": (size.nonzeros, size.total // 2),
        "LLaMA2-7B (Sparse+SLoRB)": (size.nonzeros + added, size.total // 2 + added),
    }
    rows, agreeing = [], 0
    for row, (nonzeros, half) in halves.items():
        number = tables.number(2, row, "Parameters")
        agrees = f"{nonzeros / 1e9:.1f}" == number.text
        agreeing += agrees
        rows.append((row, billions(nonzeros), billions(half), f"{number.text}B", yes(agrees)))
    return Statement(
        "Table 2's parameters are those that are not zero",
        "Table 2, Parameters of LLaMA2-7B: 6.7B, 3.4B and 4.2B.",
        (
            f"Linear layers of the blocks: {size.linear:,} of {size.total:,} parameters; 2:4 makes "
            f"half "
            f"of them zero, and embedding, head and norms stay: {size.total:,} - "
            f"{size.linear // 2:,} = "
            f"{size.nonzeros:,}. SLoRB adds S = {size.left:,} and X = {size.right:,}.",
            grid(["row", "not zero", "half of all, and SLoRB", "printed", "agrees"], rows),
        ),
        holds(agreeing == len(rows)),
        f"{agreeing} of {len(rows)} agree: 3.4B and 4.2B follow from halving embedding and head "
        f"too.",
    )


def _added(size: SparseSize, boosted: Boosted) -> Statement:
    shares = {
        "S, of the linear layers": size.left / size.linear,
        "X, of the linear layers": size.right / size.linear,
        "S and X, of the linear layers": (size.left + size.right) / size.linear,
        "S and X, of the whole model": (size.left + size.right) / size.total,
    }
    rows = [(what, f"{100 * share:.2f} %") for what, share in shares.items()]
    share = 100 * (size.left + size.right) / size.total
    return Statement(
        f"SLoRB with k = {boosted.group} adds {boosted.percent:g} % of parameters",
        boosted.said,
        (
            f"S is out · in / k and X is in · in / k: 2/k = {100 * 2 / boosted.group:g} % of a "
            f"square "
            "matrix. Of LLaMA2-7B:",
            grid(["what is added", "share"], rows),
            f"S = {billions(size.left)}, X = {billions(size.right)}.",
        ),
        holds(abs(share - boosted.percent) < 0.5),
        f"{share:.2f} % of the model, with X counted; S alone is half of that.",
    )


def _speedups(tables: Tables, speedup: Speedup) -> Statement:
    rows, agreeing, ratios = [], 0, []
    for row in tables.rows(6):
        sparse, dense, printed = (tables.number(6, row, c) for c in ("Sparse", "Dense", "Speedup"))
        ratio = sparse.value / dense.value
        agrees = f"{ratio:.2f}" == printed.text
        agreeing += agrees
        ratios.append(printed.value)
        rows.append(
            (row, f"{sparse.text} / {dense.text}", f"{ratio:.4f}", printed.text, yes(agrees))
        )
    span = (min(ratios), max(ratios)) == (speedup.least, speedup.most)
    return Statement(
        "Table 6's speed-ups are the ratios of its throughputs, and lie where the text says",
        f"Table 6; {speedup.said}",
        (grid(["GPU, input and output length", "tokens/s", "ratio", "printed", "agrees"], rows),),
        holds(agreeing == len(rows) and span),
        f"{agreeing} of {len(rows)} agree; from {min(ratios):g} to {max(ratios):g}.",
    )


def bytes_bound(size: SparseSize) -> tuple[float, float]:
    """Return bytes read per decoded token, dense and sparse: linear layers and head, 16 bits.

    A kept weight of 2:4 comes with its index. Keys and values are left out: they are the same for
    both, so that they only bring the two nearer to one another.
    """
    dense = (size.linear + size.head) * WEIGHT_BITS / 8
    kept = size.linear / 2 * (WEIGHT_BITS + INDEX_BITS) / 8
    return dense, kept + size.head * WEIGHT_BITS / 8


def _bytes(tables: Tables, size: SparseSize) -> Statement:
    dense, sparse = bytes_bound(size)
    bound = dense / sparse
    rows, above = [], []
    for row in tables.rows(6):
        printed = tables.value(6, row, "Speedup")
        if printed > bound:
            above.append(row)
        rows.append((row, f"{printed:.2f}", signed(printed - bound, 2), yes(printed <= bound)))
    return Statement(
        "Table 6's speed-ups lie within what the bytes of 16-bit weights allow",
        "Table 6, Speedup. Neither precision nor batch is printed.",
        (
            "A token of one sequence reads every weight once. Dense: "
            f"({size.linear:,} + {size.head:,}) · {WEIGHT_BITS} bits = {dense / 1e9:.2f} GB. "
            f"Sparse: half of the "
            f"linear layers, {WEIGHT_BITS} + {INDEX_BITS} bits each, and the head: "
            f"{sparse / 1e9:.2f} GB. Bound: "
            f"{dense:.4g} / {sparse:.4g} = {bound:.3f}; keys and values lower it.",
            grid(["GPU, input and output length", "printed", "above the bound by", "within"], rows),
        ),
        holds(not above),
        f"{len(rows) - len(above)} of {len(rows)} lie below {bound:.2f}; those above need another "
        f"cause "
        "than fewer bytes.",
    )
