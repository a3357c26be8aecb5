"""Measure lm-eval's stock model and the prefix scorer on the same requests, in one process.

Requests are random token ids in the shapes of the paper's tasks (SmolLM2 tokenizer), so nothing
but a model is needed. Prints a Markdown table.

    python benchmarks/score.py --model DIR [--device cuda --dtype bfloat16] [--documents 40]
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM

from adaptprune.evaluation.forward import Work
from adaptprune.evaluation.scorer import Encoded, PrefixScorer
from adaptprune.models.catalogue import locate
from adaptprune.models.checkpoint import load_model, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Documents = list[tuple[list[int], list[int]]]


@dataclass(frozen=True)
class Shape:
    """What the requests of one task look like, in mean token counts.

    Attributes:
        context: tokens of a question.
        choice: tokens of one choice.
        choices: how many there are.
        preamble: tokens shared by all documents (few-shot examples).
        forks: tokens of the context that differ between choices (WinoGrande's option); the
            choice is then the same for all.
    """

    context: int
    choice: int
    choices: int
    preamble: int = 0
    forks: int = 0


ZERO_SHOT = {
    "ARC-e": Shape(30, 5, 4),
    "ARC-c": Shape(33, 7, 4),
    "HellaSwag": Shape(60, 28, 4),
    "OBQA": Shape(14, 4, 4),
    "PIQA": Shape(15, 22, 2),
    "SIQA": Shape(33, 5, 3),
    "WinoGrande": Shape(15, 7, 2, forks=2),
}
FEW_SHOT = {"MMLU 5-shot": Shape(80, 1, 4, preamble=650)}


def draw_requests(shape: Shape, documents: int, vocabulary: int, seed: int = 0) -> list[Encoded]:
    """Draw the requests of a task; lengths vary by a factor of about two around their means."""
    generator = np.random.default_rng(seed)

    def tokens(mean: int) -> list[int]:
        count = mean if mean <= 2 else max(1, round(generator.gamma(6, mean / 6)))
        return generator.integers(3, vocabulary, size=count).tolist()

    preamble = generator.integers(3, vocabulary, size=shape.preamble).tolist()
    letters = [tokens(1) for _ in range(shape.choices)]
    requests: list[Encoded] = []
    for _ in range(documents):
        context = preamble + tokens(shape.context)
        ending = tokens(shape.choice)
        for choice in range(shape.choices):
            if shape.forks:
                requests.append((None, context + tokens(shape.forks), ending))
            else:
                answer = letters[choice] if shape.choice == 1 else tokens(shape.choice)
                requests.append((None, context, answer))
    return requests


class StockCounter:
    """Counts the tokens that the stock model feeds, padding included."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.fed = 0
        model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, module: object, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        self.fed += inputs[0].numel()


def peak_memory(device: str) -> float:
    """Return the peak memory in MiB: of CUDA since the last reset, else of the process so far."""
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
        torch.cuda.reset_peak_memory_stats()
        return peak
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def timed(scorer: HFLM, requests: list[Encoded]) -> tuple[float, np.ndarray, list[bool]]:
    """Return seconds, log-likelihoods and greedy flags."""
    started = time.perf_counter()
    answers = scorer._loglikelihood_tokens(requests, disable_tqdm=True)
    if scorer.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return seconds, np.array([score for score, _ in answers]), [flag for _, flag in answers]


def stock_padding(requests: list[Encoded], fed: int) -> int:
    """Return how many of the fed tokens are padding, from the inputs that stock keeps apart."""
    inputs = {tuple(context + answer[:-1]) for _, context, answer in requests}
    return fed - sum(map(len, inputs))


def measure(name: str, shape: Shape, arguments: argparse.Namespace, pair: tuple) -> list[float]:
    """Run one shape through both scorers, print its row and return seconds (stock, prefix)."""
    stock, prefix, counter = pair
    vocabulary = prefix.model.get_input_embeddings().num_embeddings
    requests = draw_requests(shape, arguments.documents, vocabulary)
    prefix.work = Work()
    peak_memory(arguments.device)
    fast, ours, ours_greedy = timed(prefix, requests)
    fast_memory = peak_memory(arguments.device)
    counter.fed = 0
    slow, theirs, theirs_greedy = timed(stock, requests)
    slow_memory = peak_memory(arguments.device)
    work = prefix.work
    flags = sum(a != b for a, b in zip(ours_greedy, theirs_greedy, strict=True))
    print(
        f"| {name} | {counter.fed} | {stock_padding(requests, counter.fed)} | {work.tokens} "
        f"| {work.padding} | {slow:.2f} | {fast:.2f} | {slow / fast:.2f} "
        f"| {slow_memory:.0f} | {fast_memory:.0f} | {np.abs(ours - theirs).max():.1e} | {flags} |",
        flush=True,
    )
    return [slow, fast]


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="built-in id, folder or hub id")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--documents", type=int, default=40, help="per task")
    parser.add_argument("--batch-size", type=int, default=64, help="of stock; auto finds 64 on CPU")
    parser.add_argument("--batch-tokens", type=int, help="of the prefix scorer")
    parser.add_argument("--row-tokens", type=int, help="of the prefix scorer")
    arguments = parser.parse_args()
    folder = locate(arguments.model)
    model = load_model(folder, dtype=arguments.dtype, device=arguments.device)
    tokenizer = load_tokenizer(folder)
    stock = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=arguments.batch_size,
        max_length=2048,
        softmax_dtype="float32",
    )
    prefix = PrefixScorer(model, tokenizer, max_length=2048, batch_tokens=arguments.batch_tokens)
    prefix.budget.row = arguments.row_tokens or prefix.budget.row
    pair = (stock, prefix, StockCounter(model))
    print(
        "| shape | stock tokens | of them padding | prefix tokens | padding besides | stock s "
        "| prefix s | ratio | stock MiB | prefix MiB | max difference | greedy flags differ |"
    )
    print("|---" * 12 + "|")
    zero_shot = np.array([measure(name, s, arguments, pair) for name, s in ZERO_SHOT.items()])
    for name, shape in FEW_SHOT.items():
        measure(name, shape, arguments, pair)
    ratios = zero_shot[:, 0] / zero_shot[:, 1]
    total = zero_shot.sum(axis=0)
    print(f"\nZero-shot: mean ratio {ratios.mean():.2f}, ratio of sums {total[0] / total[1]:.2f}")


if __name__ == "__main__":
    main()
