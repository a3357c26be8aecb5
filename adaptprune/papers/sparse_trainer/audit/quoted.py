"""What the AST paper says outside its tables, and its codes: ``quoted/claims.yaml``."""

from __future__ import annotations

from adaptprune.files.declared import Closed
from adaptprune.results.published import Comparison, Quotation


class Gap(Quotation):
    """What the abstract gives as the distance to the dense model, in perplexity and percent."""

    perplexity: float
    accuracy: float


class Tokens(Quotation):
    """Tokens of the training, and of the pretraining of LLaMA2-7B."""

    used: float
    percent: float
    pretraining: float
    hours_words: str


class Boosted(Quotation):
    """SLoRB's k, and what it is said to add, in percent."""

    group: int
    percent: float


class Compression(Quotation):
    """Bits of a dense and of a quantised weight."""

    dense_bits: int
    weight_bits: int


class Speedup(Quotation):
    """The least and the most of Table 6."""

    least: float
    most: float


class Training(Quotation):
    """Rows of a batch, window by family, and AdamW's betas, of the released codes."""

    batch: int
    windows: dict[str, int]
    beta1: float
    beta2: float


class Increase(Quotation):
    """T0 as a share of the steps, and in steps in the released codes; the LLaMA-2 code's slope."""

    share: float
    codes: dict[str, int]
    slope: float


class Distillation(Quotation):
    """Eq. 4, and the weight of KL beside the whole of the task's loss in the LLaMA-2 code."""

    code_weight: float


class Quoted(Closed):
    """All of it."""

    sources: dict[str, str]
    gap: Gap
    tokens: Tokens
    boosted: Boosted
    compression: Compression
    speedup: Speedup
    dense_rivals: Quotation
    training: Training
    increase: Increase
    distillation: Distillation
    comparisons: list[Comparison]
