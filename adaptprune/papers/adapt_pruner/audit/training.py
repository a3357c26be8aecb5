"""The arithmetic of Adapt-Accel: training tokens, ratios per cut, numbers of interleaves."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import TYPE_CHECKING

from adaptprune.models.catalogue import shape_of
from adaptprune.report.statements import Statement, grid, holds
from adaptprune.results.published import UNITS

if TYPE_CHECKING:
    from adaptprune.results.published import Claims


def audit_training(claims: Claims) -> list[Statement]:
    """Check the arithmetic of data, ratios and schedule of Adapt-Accel."""
    return [
        _training_data(claims),
        _pruning_ratio(claims),
        _interleaves(claims),
        _targets(claims),
        _allocation(claims),
    ]


def amount(text: str) -> tuple[float, float]:
    """Read a printed amount such as ``1.80B``; return it and half its last digit."""
    digits, unit = text[:-1], UNITS[text[-1]]
    decimals = len(digits.partition(".")[2])
    return float(digits) * unit, 0.5 * 10**-decimals * unit


def _training_data(claims: Claims) -> Statement:
    data = claims.training_data
    amounts = [amount(text) for text in data.tokens.values()]
    total, slack = (sum(column) for column in zip(*amounts, strict=True))
    printed, half = amount(data.total)
    fact = abs(total - printed) <= slack + half + 1
    return Statement(
        "The rows of Table 2 add up to its total",
        f"{data.source}: total {data.total}.",
        (
            f"{' + '.join(data.tokens.values())} = {total / 1e9:.4f}B, that is {total / 1e9:.2f}B. "
            f"Rounding of the rows explains {slack / 1e9:.4f}B at most, so the total is at least "
            f"{(total - slack) / 1e9:.4f}B; {data.total} stands for at most "
            f"{(printed + half) / 1e9:.4f}B.",
        ),
        holds(fact),
        f"The rows add up to {total / 1e9:.2f}B, printed is {data.total}.",
    )


def _pruning_ratio(claims: Claims) -> Statement:
    claim = claims.pruning_ratio
    sizes = (claim.large, claim.named_large)
    kept = [100 * (claim.small / size) ** (1 / claim.interleaves) for size in sizes]
    fact = claim.large == claim.named_large and abs(kept[0] - claim.percent) <= 0.05
    return Statement(
        f"{claim.interleaves} interleaves lead to {claim.percent} % per training",
        f'"{claim.words}" ({claim.source}); the models are {claim.models}.',
        (
            "; ".join(
                f"({claim.small}/{size})^(1/{claim.interleaves}) = "
                f"{claim.small / size:.4f}^{1 / claim.interleaves:g} = {percent:.2f} %"
                for size, percent in zip(sizes, kept, strict=True)
            )
            + ".",
        ),
        holds(fact),
        f"With {claim.large}M it is {kept[0]:.1f} %, with the {claim.named_large}M of the model's "
        f"name {kept[1]:.1f} %.",
    )


def _denominators(claims: Claims) -> dict[str, float]:
    """Return the shares of the large model that the small one may be, by way of counting."""
    claim, ratio = claims.interleaves, claims.pruning_ratio
    large, small = shape_of(claim.large_model), shape_of(claim.small_model)
    found = {}
    for label, tied in (("embeddings twice", False), ("tied embeddings once", True)):
        counts = [dataclasses.replace(s, tied=tied).parameters for s in (small, large)]
        text = f"{label}: {counts[0] / 1e6:.2f}M/{counts[1] / 1e6:.2f}M"
        found[text] = counts[0] / counts[1]
    for size in (ratio.named_large, ratio.large):
        found[f"names: {ratio.small}/{size}"] = ratio.small / size
    return found


def _interleaves(claims: Claims) -> Statement:
    claim = claims.interleaves
    rows, most = [], 0
    hits: set[int] = set()
    for label, share in _denominators(claims).items():
        cells, agreeing = [], set()
        for index, (text, count) in enumerate(zip(claim.ratios, claim.counts, strict=True)):
            exact = math.log(share) / math.log(float(text))
            one_cut = count == 1 and f"{share:.2f}" == text
            if one_cut or (count > 1 and round(exact) == count):
                agreeing.add(index)
            cells.append(f"{exact:.2f}{' ✓' if index in agreeing else ''}")
        most, hits = max(most, len(agreeing)), hits | agreeing
        rows.append((label, f"{share:.4f}", *cells, f"{len(agreeing)} of {len(claim.counts)}"))
    printed = ("printed", "", *claim.counts, "")
    headers = ["large and small model", "share", *claim.ratios, "agree"]
    return Statement(
        "One pair of model sizes gives all numbers of interleaves",
        f'"{claim.words}" ({claim.source}).',
        (
            "N_P = ln(share) / ln(ratio), with share the size of the small model over that of the "
            "large one; ✓ where it rounds to the printed number (for a single cut: where the share "
            "rounds to the printed ratio).",
            grid(headers, [*rows, printed]),
        ),
        holds(most == len(claim.counts)),
        f"No way of counting agrees with more than {most} of {len(claim.counts)}; "
        f"{len(hits)} of {len(claim.counts)} agree with one or another.",
    )


def _targets(claims: Claims) -> Statement:
    claim = claims.targets
    cut = (claim.large - claim.small) / claim.interleaves
    sizes = [claim.large - cut * stage for stage in range(claim.interleaves + 1)]
    kept = [after / before for before, after in itertools.pairwise(sizes)]
    ratio = (claim.small / claim.large) ** (1 / claim.interleaves)
    fact = max(abs(share - ratio) for share in kept) <= 0.0005
    return Statement(
        "Each cut of Adapt-Accel keeps the same share",
        f'"{claim.words}" ({claim.source}). Code: "{claim.code_words}" ({claim.code_source}).',
        (
            f"The script goes from {claim.large:,} to {claim.small:,} parameters in "
            f"{claim.interleaves} equal cuts of {cut:,.0f}: the first keeps {sizes[1]:,.0f}/"
            f"{sizes[0]:,.0f} = {kept[0]:.1%}, the last {sizes[-1]:,.0f}/{sizes[-2]:,.0f} = "
            f"{kept[-1]:.1%}. The printed formula keeps ({claim.small:,}/{claim.large:,})^"
            f"(1/{claim.interleaves}) = {ratio:.1%} each time.",
        ),
        holds(fact),
        f"The released script's cuts keep from {kept[0]:.1%} down to {kept[-1]:.1%}.",
    )


def _allocation(claims: Claims) -> Statement:
    claim, trainings = claims.allocation, claims.pruning_ratio.interleaves
    tokens, _ = amount(claims.training_data.total)
    weights = [2 * (i + 1) for i in range(trainings)]
    printed = sum(weights) / (tokens * (tokens + 1))
    done = tokens * sum(weights) / (trainings * (trainings + 1))
    shares = [weight / (trainings * (trainings + 1)) for weight in weights]
    size = claims.training_data.total
    return Statement(
        "Eq. 11 shares the training tokens out among the trainings",
        f'"{claim.words}" ({claim.source}). Code: "{claim.code_words}" ({claim.code_source}).',
        (
            f"As printed, with |D| = {size} and i = 0 … {trainings - 1}: Σ|D_i| = "
            f"{sum(weights)} / ({tokens:.2e}·({tokens:.2e} + 1)) = {printed:.1e} tokens; a number "
            "of tokens cannot be one over tokens squared.",
            f"With the number of trainings T = {trainings} below and |D| above, as in the code: "
            f"Σ|D|·2(i+1)/(T(T+1)) = {tokens:.2e}·{sum(weights)}/{trainings * (trainings + 1)} = "
            f"{done:.2e} tokens; the first training gets {shares[0]:.2%}, the last "
            f"{shares[-1]:.2%}.",
        ),
        holds(math.isclose(printed, tokens, rel_tol=0.01)),
        f"As printed the trainings get {printed:.0e} tokens together; with T for |D| in the "
        f"denominator, times |D|, they get all {done / 1e9:.2f}B.",
    )
