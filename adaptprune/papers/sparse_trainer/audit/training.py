"""Tokens, operations, schedules and the optimiser."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from adaptprune.models.catalogue import shape_of
from adaptprune.papers.sparse_trainer.audit.printed import LLAMA2_7B, NAIVE
from adaptprune.report.statements import Finding, Statement, agreement, grid, holds, yes

if TYPE_CHECKING:
    from adaptprune.papers.sparse_trainer.audit.printed import Tables
    from adaptprune.papers.sparse_trainer.audit.quoted import (
        Distillation,
        Increase,
        Quoted,
        Tokens,
        Training,
    )

#: Operations of a parameter and token: forward and backward of the student, forward of a teacher.
STUDENT, TEACHER = 6, 2
#: How far a product may be from a number of one or two printed digits.
PRINTED = 0.06


def audit_training(tables: Tables, quoted: Quoted) -> list[Statement]:
    """Check what the paper says about its training."""
    return [
        _tokens(tables, quoted.training),
        _share(tables, quoted.tokens),
        _operations(tables),
        _share_of_loss(tables),
        _task_alone(tables),
        _code_share(tables, quoted.distillation),
        _increase(tables, quoted.increase),
        _sign(),
        _moments(quoted.training),
        *(agreement(c.topic, c.words, c.answers) for c in quoted.comparisons),
    ]


def _tokens(tables: Tables, training: Training) -> Statement:
    windows = {family.upper(): window for family, window in training.windows.items()}
    rows, agreeing = [], 0
    for column, steps in tables.row(8, "Training Steps").items():
        window = windows[column.split()[0]]
        tokens = steps.counted * training.batch * window
        printed = tables.number(8, "Tokens Trained", column)
        agrees = abs(tokens / printed.counted - 1) <= PRINTED
        agreeing += agrees
        term = f"{steps.text}k · {training.batch} · {window:,}"
        rows.append((column, term, f"{tokens / 1e9:.2f}B", f"{printed.text}B", yes(agrees)))
    return Statement(
        "Table 8's tokens are steps times batch times window",
        f"Table 8; {training.said}",
        (
            grid(
                ["model", "steps · batch · window", "tokens", "printed", f"within {PRINTED:.0%}"],
                rows,
            ),
        ),
        holds(agreeing == len(rows)),
        f"{agreeing} of {len(rows)} agree; every product is 4.9 % above the printed number, as if "
        f"a batch "
        "of 2^17 tokens were counted as 125,000.",
    )


def _share(tables: Tables, tokens: Tokens) -> Statement:
    counts = {
        "section 4.2": tokens.used,
        "Table 8": tables.number(8, "Tokens Trained", "LLAMA2 7B").counted,
    }
    rows = [
        (
            place,
            f"{count / 1e9:g}B / {tokens.pretraining / 1e12:g}T",
            f"{100 * count / tokens.pretraining:.3f} %",
        )
        for place, count in counts.items()
    ]
    fact = all(100 * count / tokens.pretraining < tokens.percent for count in counts.values())
    return Statement(
        f"LLaMA2-7B is trained on less than {tokens.percent:g} % of its pretraining tokens",
        f"{tokens.said} The abstract says so of GPU hours too, and none are printed.",
        (grid(["place", "tokens", "share"], rows),),
        holds(fact),
        f"So for {' and '.join(f'{c / 1e9:g}B' for c in counts.values())}, two numbers for one "
        f"run; of "
        "GPU hours it cannot be derived.",
    )


def _operations(tables: Tables) -> Statement:
    size = shape_of(LLAMA2_7B).parameters
    rows, fact, found = [], True, []
    for row, factor in (("LLaMA2 w/ Distil", STUDENT + TEACHER), ("LLaMA2 w/o Distil", STUDENT)):
        tokens = tables.number(11, row, "Tokens")
        printed = tables.number(11, row, "Total(TFLOPs)")
        count = factor * size * tokens.counted
        found.append(count)
        agrees = f"{count / 1e12:.0e}" == f"{printed.value:.0e}"
        fact &= agrees
        rows.append(
            (
                row,
                f"{factor} · {size / 1e9:.2f}B · {tokens.text}B",
                f"{count / 1e12:.2e}",
                printed.text,
                yes(agrees),
            )
        )
    return Statement(
        "Table 11 compares equal operations",
        "Table 11, Total(TFLOPs).",
        (
            f"{STUDENT} operations per parameter and token for the student, {TEACHER} for a "
            f"teacher's forward pass:",
            grid(["row", "operations", "TFLOP", "printed", "agrees"], rows),
        ),
        holds(fact),
        f"To the one printed digit; the run without teacher has "
        f"{100 * (found[1] / found[0] - 1):.0f} % more.",
    )


def _share_of_loss(tables: Tables) -> Statement:
    ours = tables.number(8, "Kl loss parameter", "GPT2 124M")
    naive = tables.value(1, NAIVE, "GPT2 124M")
    row = tables.row(14, "GPT2")
    found = [column for column, n in row.items() if n.value == naive]
    rows = [(column, n.text) for column, n in row.items() if column != "Tokens Trained"]
    said = [f"α = {ours.text}"]
    return Statement(
        "α of Table 14 is that of Equation 4 and Table 8, the share of distillation",
        'Equation 4, Table 8 (Kl loss parameter), Table 14 and its text: "When α = 1, meaning we '
        "only use "
        'KD loss, we observe slightly better performance on smaller models".',
        (
            f"Table 8 gives {ours.text} for GPT2-124M, whose perplexity is {naive} in Table 1. "
            f"Table 14 for it:",
            grid(["column", "perplexity"], rows),
            f"{naive} stands at {' and '.join(found)}; {row['α = 1'].text} at α = 1 is what naive "
            f"training "
            f"gives in Table 4 ({tables.number(4, 'Naive Training', 'GPT2 124M').text}).",
        ),
        holds(found == said),
        "Table 14's α is the share of the task, and its words hold for α = 0.",
    )


def _task_alone(tables: Tables) -> Statement:
    task = tables.number(14, "GPT2", "α = 1")
    rows = [
        ("Table 14, α = 1: the task's loss alone", task.text),
        ("Table 4, No distillation", tables.number(4, "No distillation", "GPT2 124M").text),
        (
            "Table 4, Naive Training: fixed mask and no decay besides",
            tables.number(4, "Naive Training", "GPT2 124M").text,
        ),
    ]
    fact = task.value == tables.value(4, "No distillation", "GPT2 124M")
    return Statement(
        "AST without distillation has one perplexity on GPT2-124M",
        "Tables 4 and 14.",
        (grid(["place", "perplexity"], rows),),
        holds(fact),
        "Table 14's number is that of naive training, not of AST without distillation.",
    )


def _code_share(tables: Tables, distillation: Distillation) -> Statement:
    weight = distillation.code_weight
    share = weight / (1 + weight)
    printed = tables.number(8, "Kl loss parameter", "LLAMA2 7B")
    return Statement(
        "The LLaMA-2 code's loss has Table 8's share of distillation",
        f"Table 8, Kl loss parameter {printed.text}; the code's loss is CE + {weight:g} · KL.",
        (
            f"{weight:g} / (1 + {weight:g}) = {share:.4f}; the sum is {1 + weight:g} times "
            f"Equation 4's.",
        ),
        holds(math.isclose(share, printed.value)),
        f"The share is {share:.4f}.",
    )


def _increase(tables: Tables, increase: Increase) -> Statement:
    columns = {"GPT2": ["GPT2 124M", "GPT2 1.5B"], "LLaMA2": ["LLAMA2 7B"]}
    rows, fact = [], True
    for code, steps in increase.codes.items():
        for column in columns[code]:
            total = tables.number(8, "Training Steps", column).counted
            fact &= steps / total == increase.share
            rows.append(
                (
                    column,
                    f"{steps:,} / {total:,.0f}",
                    f"{steps / total:g}",
                    yes(steps / total == increase.share),
                )
            )
    last = increase.slope * increase.codes["LLaMA2"]
    factor = tables.number(8, "Maximal Decay Factor", "LLAMA2 7B")
    return Statement(
        "The codes raise the decay over a quarter of the steps",
        f"{increase.said}",
        (
            grid(["model", "T0 / T1 of its code", "share", "agrees"], rows),
            f"LLaMA-2 code: {increase.slope:g} · {increase.codes['LLaMA2']:,} = {last:g} at T0, "
            f"and Table 8 "
            f"prints {factor.text}.",
        ),
        holds(fact),
        "A quarter for GPT2-124M, a half for the 20,000 steps of GPT2-1.5B, a fifth for LLaMA2-7B.",
    )


def _sign() -> Statement:
    rows = [
        ("kept", 1, ~1, "grows" if ~1 < 0 else "decays"),
        ("pruned", 0, ~0, "grows" if ~0 < 0 else "decays"),
    ]
    fact = (~1, ~0) == (0, 1)
    return Statement(
        "The GPT-2 code's decay draws masked weights to zero and leaves the others alone",
        "Equation 3; the code's term is decay · (~mask) · weight, with a mask of integers.",
        (
            "~ of an integer is bitwise; the term is subtracted, so that a negative factor makes a "
            "weight grow:",
            grid(["weight", "mask", "~mask", "so the weight"], rows),
        ),
        holds(fact),
        "All weights are pushed away from zero, the kept ones twice as hard.",
    )


def _moments(training: Training) -> Statement:
    beta1, beta2 = training.beta1, training.beta2
    moment = 1 - beta1
    printed = moment / (moment * math.sqrt((1 - beta2) * moment**2))
    corrected = moment / (moment * math.sqrt(moment**2))
    noise = math.sqrt((1 + beta1) / (1 - beta1))
    rows = [
        ("Adam", "1"),
        ("GPT-2 code: second moment of the momentum, corrected for its start", f"{corrected:.1f}"),
        ("Equations 20 to 23 as printed: not corrected", f"{printed:.1f}"),
    ]
    return Statement(
        "The paper's first step is as long as Adam's",
        f"Equations 20 to 23; betas {beta1:g} and {beta2:g} ({training.source}).",
        (
            "Without decay, gradient g, first step, in learning rates: u = (1 - β1) g, v = (1 - "
            "β2) u², and "
            "the step is u / ((1 - β1) sqrt(v)), with sqrt(v) divided by sqrt(1 - β2) where it is "
            "corrected:",
            grid(["rule", "step"], rows),
            f"Later, where gradients are noise, sqrt((1 + β1) / (1 - β1)) = {noise:.2f} times "
            f"Adam's.",
        ),
        Finding.REFUTED if not math.isclose(printed, 1) else Finding.HOLDS,
        "The second moment averages the squared momentum, which is smaller than the squared "
        "gradient: a "
        "learning rate of Table 8 means a longer step than the same one of Adam.",
    )
