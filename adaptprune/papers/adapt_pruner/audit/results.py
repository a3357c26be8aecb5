"""What the results tables say about themselves: averages, repetitions, margins, the best row."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from adaptprune.report.statements import Statement, grid, holds
from adaptprune.results.numerals import signed

if TYPE_CHECKING:
    from adaptprune.results.published import Claims, Printed

#: A difference that rounding alone explains: half a digit in the columns, half in their average.
ROUNDING = 0.01


def audit_results(numbers: list[Printed], claims: Claims) -> list[Statement]:
    """Check what the results tables say about themselves."""
    return [
        _averages(numbers),
        _repeated(numbers),
        _margins(numbers, claims),
        _best_amplitude(numbers, claims),
    ]


def _row(number: Printed) -> tuple[int, str, int, str]:
    return number.table, number.model, number.sparsity, number.row_label


def _accuracies(numbers: list[Printed]) -> dict[tuple[int, str, int, str], dict[str, float]]:
    """Return the printed percentages of each row of the results tables."""
    percents = sorted((n for n in numbers if n.unit == "%"), key=_row)
    return {row: {n.key: n.value for n in group} for row, group in groupby(percents, key=_row)}


def _averages(numbers: list[Printed]) -> Statement:
    exact: dict[int, list[bool]] = {}
    near: dict[int, list[bool]] = {}
    others = []
    for (table, *labels), row in _accuracies(numbers).items():
        if "average" not in row:
            continue
        columns = [value for key, value in row.items() if key != "average"]
        mean = sum(columns) / len(columns)
        gap = abs(mean - row["average"])
        exact.setdefault(table, []).append(gap <= ROUNDING / 2 + 1e-9)
        near.setdefault(table, []).append(gap <= ROUNDING + 1e-9)
        if not exact[table][-1]:
            terms = " + ".join(f"{value:.2f}" for value in columns)
            place = f"{labels[0]}, {labels[1]} %, {labels[2]}"
            printed = f"{row['average']:.2f}"
            others.append((table, place, f"({terms}) / {len(columns)}", f"{mean:.4f}", printed))
    rows = [(t, len(near[t]), sum(exact[t]), sum(near[t])) for t in near]
    total, agreeing = sum(row[1] for row in rows), sum(row[3] for row in rows)
    return Statement(
        "Every printed average is the mean of its columns",
        "Tables 1, 7 and 8, column Average.",
        (
            "Columns and averages are printed with two decimals: the mean of the printed columns "
            f"may differ from the printed average by {ROUNDING} at most.",
            grid(["table", "averages", "rounds to the printed one", f"within {ROUNDING}"], rows),
            "Averages that the mean of the printed columns does not round to:",
            grid(["table", "row", "columns", "mean", "printed"], others),
        ),
        holds(agreeing == total),
        f"{agreeing} of {total} averages agree to {ROUNDING}; {total - len(others)} are the "
        "rounded mean of the printed columns.",
    )


def _repeated(numbers: list[Printed]) -> Statement:
    known = {(n.model, n.sparsity, n.row_label, n.key): n.value for n in numbers if n.table == 7}
    first = [n for n in numbers if n.table == 1]
    same = sum(known.get((n.model, n.sparsity, n.row_label, n.key)) == n.value for n in first)
    return Statement(
        "Table 1 repeats rows of Table 7",
        "Tables 1 and 7, LLaMA-3.1-8B.",
        (f"Numbers of Table 1: {len(first)}; equal to Table 7's at the same place: {same}.",),
        holds(same == len(first)),
        f"{same} of {len(first)} numbers are equal.",
    )


def _margins(numbers: list[Printed], claims: Claims) -> Statement:
    averages: dict[int, dict[str, float]] = {}
    for number in numbers:
        if number.table == 1 and number.key == "average":
            averages.setdefault(number.sparsity, {})[number.row_label] = number.value
    rows, margins = [], []
    for sparsity, by_label in averages.items():
        ours = by_label["Adapt-Pruner"]
        label, best = max(
            ((name, value) for name, value in by_label.items() if name != "Adapt-Pruner"),
            key=lambda pair: pair[1],
        )
        margins.append(ours - best)
        rows.append(
            (f"{sparsity} %", f"{ours:.2f}", f"{best:.2f} ({label})", signed(ours - best, 2))
        )
    lowest, highest = claims.margins.lowest, claims.margins.highest
    fact = all(lowest <= round(margin) <= highest for margin in margins)
    return Statement(
        f"Adapt-Pruner is ahead of all baselines by {lowest:g} to {highest:g} points in Table 1",
        f'"{claims.margins.words}" ({claims.margins.source}); Table 1, column Average.',
        (grid(["sparsity", "Adapt-Pruner", "best baseline", "margin"], rows),),
        holds(fact),
        f"The margins over the best baseline are {', '.join(f'{m:.2f}' for m in margins)} points.",
    )


def _best_amplitude(numbers: list[Printed], claims: Claims) -> Statement:
    def column(key: str) -> dict[float, float]:
        chosen = (n for n in numbers if n.table == 8 and n.key == key)
        return {n.amplitude: n.value for n in chosen if n.amplitude is not None}

    average, perplexity = column("average"), column("wikitext")
    best = max(average, key=lambda a: average[a]), min(perplexity, key=lambda a: perplexity[a])
    rows = [(f"{a:g}", f"{average[a]:.2f}", f"{perplexity[a]:.2f}") for a in average]
    claimed = claims.best_amplitude.amplitude
    return Statement(
        f"A = {claimed:g} is the best amplitude of Table 8",
        f'"{claims.best_amplitude.words}" ({claims.best_amplitude.source}).',
        (grid(["A", "average", "WikiText2 perplexity"], rows),),
        holds(best == (claimed, claimed)),
        f"Highest average at A = {best[0]:g}, lowest perplexity at A = {best[1]:g}.",
    )
