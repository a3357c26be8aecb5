"""What the results tables say about themselves, one another and the text."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from adaptprune.papers.sparse_trainer.audit.printed import BOOSTED, NAIVE
from adaptprune.report.statements import Finding, Statement, grid, holds, yes
from adaptprune.results.numerals import signed

if TYPE_CHECKING:
    from adaptprune.papers.sparse_trainer.audit.printed import Tables
    from adaptprune.papers.sparse_trainer.audit.quoted import Gap, Quotation, Quoted

_DENSE, _SPARSE, _SLORB = (f"LLaMA2-7B ({kind})" for kind in ("Dense", "Sparse", "Sparse+SLoRB"))
_SMALL = [
    "Sheared-LLaMA-2.7B (Dense)",
    "INCITE-Base-3B (Dense)",
    "Open-LLaMA-3B-v2 (Dense)",
]


def audit_tables(tables: Tables, quoted: Quoted) -> list[Statement]:
    """Check the results tables."""
    return [
        _means(tables),
        _repeated(tables),
        _gap(tables, quoted.gap),
        _rivals(tables, quoted.dense_rivals),
        _best(tables),
        _intermediate(tables),
        _eight_bits(tables),
        _mean_start(tables),
    ]


def _scores(tables: Tables, row: str) -> dict[str, float]:
    numbers = tables.row(2, row).items()
    return {column: n.value for column, n in numbers if column not in ("Parameters", "Mean")}


def _means(tables: Tables) -> Statement:
    rows, exact, near = [], 0, 0
    for row in tables.rows(2):
        scores = list(_scores(tables, row).values())
        mean, printed = fmean(scores), tables.value(2, row, "Mean")
        agrees = abs(mean - printed) <= 0.005 + 1e-9
        exact += agrees
        near += abs(mean - printed) <= 0.015
        terms = " + ".join(f"{score:.2f}" for score in scores)
        rows.append(
            (row, f"({terms}) / {len(scores)}", f"{mean:.4f}", f"{printed:.2f}", yes(agrees))
        )
    return Statement(
        "Every mean of Table 2 is that of its seven columns",
        "Table 2, Mean.",
        (grid(["row", "columns", "mean", "printed", "rounds to it"], rows),),
        holds(exact == len(rows)),
        f"{exact} of {len(rows)} are the rounded mean, {near - exact} are off by up to 0.015, "
        f"{len(rows) - near} by more.",
    )


def _repeated(tables: Tables) -> Statement:
    pairs = [
        ((1, "Dense"), (4, "Dense")),
        ((1, "Dense"), (5, "Dense")),
        ((1, "Dense"), (10, "Dense")),
        ((1, NAIVE), (4, NAIVE)),
        ((1, NAIVE), (5, "KL Loss(Ours)")),
    ]
    rows, total, equal = [], 0, 0
    for one, other in pairs:
        first, second = tables.row(*one), tables.row(*other)
        shared = [column for column in first if column in second]
        same = sum(first[c].value == second[c].value for c in shared)
        total, equal = total + len(shared), equal + same
        rows.append(
            (f"Table {one[0]}, {one[1]}", f"Table {other[0]}, {other[1]}", len(shared), same)
        )
    return Statement(
        "What two tables print of the same models agrees",
        "Tables 1, 4, 5 and 10.",
        (grid(["one", "other", "numbers", "equal"], rows),),
        holds(equal == total),
        f"{equal} of {total} numbers are equal.",
    )


def _gap(tables: Tables, gap: Gap) -> Statement:
    dense = (tables.value(3, "Perplexity", "Dense"), tables.value(2, _DENSE, "Mean"))
    kinds = {"2:4 alone": ("AST-Naive", _SPARSE), "2:4 and SLoRB": ("AST-Boosted", _SLORB)}
    rows, agreeing = [], []
    for kind, (column, row) in kinds.items():
        perplexity = tables.value(3, "Perplexity", column) - dense[0]
        accuracy = dense[1] - tables.value(2, row, "Mean")
        if (round(perplexity, 1), round(accuracy, 2)) == (gap.perplexity, gap.accuracy):
            agreeing.append(kind)
        size = tables.number(2, row, "Parameters").text
        rows.append((kind, f"{size}B", f"{perplexity:.2f}", f"{accuracy:.2f}"))
    return Statement(
        f"The 2:4 model is within {gap.perplexity:g} of the dense perplexity and {gap.accuracy:g} "
        f"% of its accuracy",
        gap.said,
        (grid(["model", "parameters", "perplexity above dense", "mean accuracy below"], rows),),
        holds("2:4 alone" in agreeing),
        f"The two numbers are those of {' and '.join(agreeing) or 'neither model'}.",
    )


def _rivals(tables: Tables, rivals: Quotation) -> Statement:
    rows, wins, total = [], 0, 0
    for ours in (_SPARSE, _SLORB):
        own = _scores(tables, ours)
        for other in _SMALL:
            scores = _scores(tables, other)
            lost = [column for column in own if own[column] <= scores[column]]
            wins, total = wins + len(own) - len(lost), total + len(own)
            ahead = tables.value(2, ours, "Mean") - tables.value(2, other, "Mean")
            rows.append(
                (
                    ours,
                    other,
                    f"{len(own) - len(lost)} of {len(own)}",
                    ", ".join(lost) or "-",
                    signed(ahead, 2),
                )
            )
    return Statement(
        "Sparse LLaMA2-7B is ahead of smaller dense models",
        f"{rivals.said} Table 2.",
        (grid(["ours", "dense model", "tasks ahead", "not ahead", "difference of means"], rows),),
        holds(wins == total),
        f"Ahead on {wins} of {total} pairs of task and model, and in every mean.",
    )


def _best(tables: Tables) -> Statement:
    others = [row for row in tables.rows(1) if row not in ("Dense", NAIVE, BOOSTED)]
    rows, fact = [], True
    for column, number in tables.row(1, NAIVE).items():
        rival = min(others, key=lambda row: tables.value(1, row, column))
        best = tables.value(1, rival, column)
        boosted = tables.value(1, BOOSTED, column)
        fact &= boosted < number.value < best
        rows.append((column, f"{best:.2f} ({rival})", number.text, f"{boosted:.2f}"))
    return Statement(
        "AST is ahead of every other method of Table 1, and SLoRB ahead of that",
        "Table 1.",
        (grid(["model", "best other method", "AST-Naive", "AST-Boosted"], rows),),
        holds(fact),
        f"So on all {len(rows)} models. No spread is printed: chance cannot be told from it.",
    )


def _intermediate(tables: Tables) -> Statement:
    ours = "KL Loss(Ours)"
    rows, worse, total = [], 0, 0
    gaps = []
    for row in ("TinyBERT", "MobileBERT", "Sparse-Fintuning", "MiniLLM"):
        changes = [n.value - tables.value(5, ours, c) for c, n in tables.row(5, row).items()]
        rows.append((row, *(signed(change, 2) for change in changes)))
        if row == "MiniLLM":
            gaps = [abs(change) for change in changes]
            continue
        worse += sum(change > 0 for change in changes)
        total += len(changes)
    return Statement(
        "Losses on intermediate outputs are worse than KL alone, and reverse KL is like it",
        'Section 4.4, Table 5: "KL loss is sufficient for optimal performance".',
        (
            "Perplexity above that of KL:",
            grid(["loss", *tables.row(5, ours)], rows),
        ),
        holds(worse == total and max(gaps) <= 0.05),
        f"Worse in {worse} of {total} places; reverse KL differs by {max(gaps):.2f} at most.",
    )


def _eight_bits(tables: Tables) -> Statement:
    rows, out = [], []
    for column, number in tables.row(10, "AST-Naive-8bit(Ours)").items():
        if column == "Theoretical Compression Rate":
            continue
        if column == "LLAMA2 7B":
            before = tables.number(3, "Perplexity", "AST-Naive")
        else:
            before = tables.number(1, NAIVE, column)
        change = 100 * (number.value / before.value - 1)
        if change > 1:
            out.append(column)
        rows.append((column, before.text, number.text, f"{signed(change, 2)} %"))
    return Statement(
        "Eight bits leave the perplexity of AST-Naive as it is",
        'Section 6.8: "our model maintains its performance even under extreme compression"; Table '
        "10 "
        "against Tables 1 and 3.",
        (grid(["model", "before", "8 bits", "change"], rows),),
        Finding.OPEN if out else Finding.HOLDS,
        f"Within 1 % on {len(rows) - len(out)} of {len(rows)} models; "
        f"{' and '.join(out) or 'none'} looks "
        "like another checkpoint than that of Table 3.",
    )


def _mean_start(tables: Tables) -> Statement:
    columns = list(tables.row(9, "Mean"))
    fact = all(
        tables.value(9, "Mean", c) <= min(tables.value(9, r, c) for r in ("Xavier Uniform", "Zero"))
        for c in columns
    )
    rows = [(row, *(n.text for n in tables.row(9, row).values())) for row in tables.rows(9)]
    last = tables.value(9, "Xavier Uniform", columns[-1]) - tables.value(9, "Mean", columns[-1])
    return Statement(
        "Mean initialisation of SLoRB is ahead at every number of tokens",
        "Section 6.4, Table 9.",
        (grid(["initialisation", *columns], rows),),
        holds(fact),
        f"So at all {len(columns)}; at the end Xavier is {last:.2f} behind, and no spread is "
        f"printed.",
    )
