"""An lm-eval model that computes each shared prefix once and projects only what is scored.

`PrefixScorer` gives the numbers of lm-eval's own `HFLM`. What differs is the work: choices of one
question and few-shot preambles are branches of a prefix tree (see `packing`), rows are filled
without padding, and the vocabulary projection runs only where a token is scored.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from adaptprune.errors import UserError
from adaptprune.evaluate.forward import Budget, TreeRunner, Work
from adaptprune.evaluate.packing import Request, plan

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# lm-eval's request: (context, continuation) as text, or None for a rolling window; both as tokens.
Encoded = tuple[tuple[str, str] | None, list[int], list[int]]

# Tokens of one row. In a longer one more of the attention is between strangers, which on a
# processor costs more than fewer passes save.
ROW_TOKENS = {"cpu": 256, "cuda": 512}
# A processor is busy with one row, which never needs padding; a GPU wants many.
BATCH_TOKENS = {"cpu": 256, "cuda": 16384}
FORWARD_OVERHEAD = 128  # what one more forward pass costs, in tokens
# A tree that is not understood is wrong by whole nats. Rounding stays far below, though a sliced
# model, which has no normalised stream, has shown 0.002 nats in float32.
PROBE_TOLERANCE = {torch.float32: 0.02, torch.float16: 0.1, torch.bfloat16: 0.5}


class PrefixScorer(HFLM):
    """lm-eval's Hugging Face model with shared prefixes; every lm-eval task works unchanged.

    Generation is inherited. A model that cannot take a tree mask, or whose own forward pass
    disagrees with the tree on a short probe, is scored by the inherited code, and a warning says
    why.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        max_length: tokens the model sees at most; None for what its configuration says.
        batch_tokens: tokens per forward pass; None for a default by device. Running out of CUDA
            memory halves it.
        batch_size: of generation, and of the inherited code.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        batch_size: int = 16,
    ) -> None:
        super().__init__(
            pretrained=model, tokenizer=tokenizer, max_length=max_length, batch_size=batch_size
        )
        kind = "cuda" if self.device.type == "cuda" else "cpu"
        batch_tokens = batch_tokens or BATCH_TOKENS[kind]
        self.budget = Budget(min(ROW_TOKENS[kind], batch_tokens), batch_tokens)
        self.work = Work()
        self.stock_reason = self._why_stock()
        if self.stock_reason:
            logger.warning("scoring without shared prefixes: %s", self.stock_reason)

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Score whole texts in lm-eval's windows, all in one call.

        Returns:
            Per text the sum of its tokens' log-probabilities, in nats.
        """
        if self.stock_reason:
            return super().loglikelihood_rolling(requests, disable_tqdm)
        windows: list[Encoded] = []
        counts = []
        for (text,) in (request.args for request in requests):
            rolling = get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            of_text: list[Encoded] = [(None, *make_disjoint_window(window)) for window in rolling]
            windows += of_text
            counts.append(len(of_text))
        scores = iter(self._loglikelihood_tokens(windows, disable_tqdm))
        totals = [math.fsum(next(scores)[0] for _ in range(count)) for count in counts]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _loglikelihood_tokens(
        self,
        requests: list[Encoded],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        """Score continuations.

        Returns:
            Per request the continuation's log-likelihood in nats and whether it is the greedy one.
        """
        if self.stock_reason:
            return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)
        answers = []
        scored = self.score_tokens([request[1:] for request in requests], disable_tqdm)
        for (text, _, _), (log_probabilities, greedy) in zip(requests, scored, strict=True):
            answer = (math.fsum(log_probabilities.tolist()), bool(greedy.all()))
            answers.append(answer)
            if text is not None:  # rolling windows are remembered per text, by the caller
                self.cache_hook.add_partial("loglikelihood", text, answer)
        return answers

    def score_tokens(
        self, pairs: list[tuple[list[int], list[int]]], disable_tqdm: bool = True
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Score each token of continuations.

        Args:
            pairs: (context, continuation) token ids, neither of them empty. What does not fit the
                window is cut from the left, as lm-eval does.
            disable_tqdm: show no progress.

        Returns:
            Per pair the log-probabilities in nats (float32) and whether each token is the most
            probable one, both [continuation].
        """
        requests = []
        slots = 0
        for context, continuation in pairs:
            if not context or not 0 < len(continuation) <= self.max_length:
                raise ValueError(
                    f"context of {len(context)} and continuation of {len(continuation)} tokens "
                    f"cannot be scored in a window of {self.max_length}"
                )
            window = (*context, *continuation)[-(self.max_length + 1) :]
            requests.append(Request(window[:-1], tuple(continuation), slots))
            slots += len(continuation)
        runner = self._run(requests, slots, disable_tqdm)
        bounds = [request.slot for request in requests[1:]]
        log_probabilities = np.split(runner.log_probabilities.cpu().numpy(), bounds)
        greedy = np.split(runner.greedy.cpu().numpy(), bounds)
        # Splitting nothing still gives one (empty) piece: hence not strict.
        return list(zip(log_probabilities, greedy, strict=True))[: len(requests)]

    def _run(self, requests: list[Request], slots: int, disable_tqdm: bool) -> TreeRunner:
        """Score requests with a progress bar in tokens, whose estimate of the time left is good."""
        work = plan(requests, self.budget.row, FORWARD_OVERHEAD)
        finished = 0
        with tqdm(
            total=work.token_count(), unit="token", desc="Scoring", disable=disable_tqdm
        ) as bar:

            def progress(tokens: int, done: int) -> None:
                nonlocal finished
                finished += done
                bar.set_postfix_str(f"{finished}/{len(requests)} requests", refresh=False)
                bar.update(tokens)

            runner = TreeRunner.create(self.model, self.budget, slots, progress)
            runner.work = self.work
            runner.run(work)
        return runner

    def _why_stock(self) -> str | None:
        """Return why the tree cannot be used with this model, or None."""
        config = self.model.config
        attention = config._attn_implementation
        if self.backend != "causal":
            return "it is not a decoder-only model"
        if attention not in ("eager", "sdpa"):
            return f"its attention implementation {attention!r} takes no tree mask"
        sliding = getattr(config, "sliding_window", None)
        if sliding and sliding < self.max_length:
            return f"its sliding window ({sliding}) is below the context window ({self.max_length})"
        return self._probe()

    def _probe(self) -> str | None:
        """Compare the tree with the model's own forward pass on a few tokens."""
        stem = tuple(range(1, 9))
        requests = [Request((*stem, tail), (tail, 1), 2 * tail) for tail in range(3)]
        runner = TreeRunner.create(self.model, Budget(row=4, batch=8), slots=6)
        try:
            # Rows this small and no overhead: kept prefix, mask and projection all take part.
            runner.run(plan(requests, capacity=1, forward_overhead=0))
            inputs = torch.tensor([request.inputs for request in requests], device=self.device)
            logits = self._model_call(inputs)[:, -2:].float()
        except (
            TypeError,
            ValueError,
            RuntimeError,
            AttributeError,
            IndexError,
            UserError,
        ) as error:
            return f"its forward pass refuses a tree ({type(error).__name__}: {error})"
        wanted = torch.tensor([request.scored for request in requests], device=self.device)
        expected = logits.log_softmax(-1).gather(-1, wanted[..., None]).flatten()
        difference = (runner.log_probabilities - expected).abs().max().item()
        if math.isnan(difference) and expected.isnan().any():
            return None  # a broken model: its own NaN is what is to be reported
        if difference <= PROBE_TOLERANCE.get(self.model.dtype, 1e-3):
            return None
        return f"its own forward pass differs from the tree by {difference:.2g} nats on a probe"
