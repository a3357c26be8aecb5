"""An lm-eval model that computes each shared prefix once and projects only what is scored.

`PrefixScorer` gives the numbers of lm-eval's own `HFLM` in float32. What differs is the work:
choices of one question and few-shot preambles are branches of a prefix tree (see `packing`), rows
are filled without padding, and the vocabulary projection runs only where a token is scored.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from adaptprune.data.encoding import added_ids, check_ids, check_text
from adaptprune.errors import UserError
from adaptprune.evaluation.documents import DocumentError
from adaptprune.evaluation.forward import Budget, Scores, TreeRunner, Work
from adaptprune.evaluation.freshstate import FreshState
from adaptprune.evaluation.packing import Request, plan
from adaptprune.evaluation.plain import score_plainly
from adaptprune.evaluation.probe import why_not_packed
from adaptprune.models.causality import check_causal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lm_eval.api.instance import Instance
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from adaptprune.evaluation.forward import Precision

logger = logging.getLogger(__name__)

# lm-eval's request: (context, continuation) as text, or None for a rolling window; both as tokens.
Encoded = tuple[tuple[str, str] | None, list[int], list[int]]

# Tokens of one row. In a longer one more of the attention is between strangers, which on a
# processor costs more than fewer passes save.
ROW_TOKENS = {"cpu": 256, "cuda": 512}
# A processor is busy with one row, which never needs padding; a GPU wants many.
BATCH_TOKENS = {"cpu": 256, "cuda": 16384}
FORWARD_OVERHEAD = 128  # what one more forward pass costs, in tokens


class PrefixScorer(HFLM):
    """lm-eval's Hugging Face model with shared prefixes; every lm-eval task works unchanged.

    Generation is inherited. A model that cannot take a tree mask, or whose own forward pass
    disagrees with the tree on a probe, is shown every text by itself, and a warning says why.

    Args:
        model: a causal language model that no text went through yet.
        tokenizer: its tokenizer. An end token that it appends to every text is left off: nothing
            could follow it.
        max_length: tokens the model sees at most; None for what its configuration says.
        batch_tokens: tokens per forward pass; None for a default by device. Running out of CUDA
            memory halves it.
        batch_size: of generation.
        precision: of the softmax: float32, or ``stock`` for the model's dtype as lm-eval has it.

    Raises:
        UserError: the model is not decoder-only, or not causal.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        batch_tokens: int | None = None,
        batch_size: int = 16,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(
            pretrained=model, tokenizer=tokenizer, max_length=max_length, batch_size=batch_size
        )
        if self.backend != "causal":
            raise UserError(f"a {model.config.model_type} model is not decoder-only")
        kind = "cuda" if self.device.type == "cuda" else "cpu"
        batch_tokens = batch_tokens or BATCH_TOKENS[kind]
        self.budget = Budget(min(ROW_TOKENS[kind], batch_tokens), batch_tokens)
        self.precision: Precision = precision
        self.work = Work()
        self.rows = self._embedding_rows()
        self.appended = len(added_ids(tokenizer)[1])
        if self.appended:
            logger.warning("the tokenizer appends an end token to every text: it is left off")
        self._state = FreshState(model)
        check_causal(model)
        self._state.restore()
        self.stock_reason = why_not_packed(model, self._model_call, self._state, self.max_length)
        if self.stock_reason:
            logger.warning("scoring without shared prefixes: %s", self.stock_reason)

    def _embedding_rows(self) -> int:
        words: Any = self.model.get_input_embeddings()
        return int(words.weight.shape[0])

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,
        left_truncate_len: int | None = None,
        **kwargs: Any,
    ) -> list[int]:
        """Return the token ids of a text, as lm-eval takes them, without an appended end token.

        Raises:
            UserError: the text holds half a surrogate pair, or a token that the model has no row
                for.
        """
        check_text(string)
        ids = super().tok_encode(string, add_special_tokens, **kwargs)
        # A text that begins with the begin token is given no special tokens at all.
        if self.appended and add_special_tokens is not False:
            bare = super().tok_encode(string, False, **kwargs)
            ids = ids if ids == bare else ids[: -self.appended]
        check_ids(ids, self.rows, f"text {string[:40]!r}")
        return ids[-left_truncate_len:] if left_truncate_len else ids

    def tok_batch_encode(
        self,
        strings: list[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return prompts as lm-eval pads them on the left, without an appended end token."""
        if not self.appended:
            return super().tok_batch_encode(strings, padding_side, left_truncate_len, truncation)
        ids = [self.tok_encode(string, None, left_truncate_len) for string in strings]
        width = max(map(len, ids))
        pad = self.tokenizer.pad_token_id
        padded = [[pad] * (width - len(row)) + row for row in ids]
        seen = [[0] * (width - len(row)) + [1] * len(row) for row in ids]
        return torch.tensor(padded), torch.tensor(seen)

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Score continuations of contexts.

        Returns:
            Per request the continuation's log-likelihood in nats and whether it is the greedy one.

        Raises:
            UserError: names the task and document of a continuation that has no tokens or is
                longer than the window, or of a text that cannot be encoded.
        """
        encoded: list[Encoded] = []
        for request in tqdm(requests, desc="Tokenizing inputs", disable=disable_tqdm or None):
            try:
                encoded.append((request.args, *self._encode(*request.args)))
            except UserError as error:
                raise _of_document(request, str(error)) from None
        return self._loglikelihood_tokens(encoded, disable_tqdm)

    def _encode(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Encode a pair as lm-eval does; without a context the begin or end token stands for it."""
        if context:
            before, after = self._encode_pair(context, continuation)
        else:
            after = self.tok_encode(continuation, add_special_tokens=False)
            before = [self.prefix_token_id]
            if after[:1] == before:
                after = after[1:]
        if not before:
            raise UserError(f"what stands before the choice, {context[:40]!r}, has no tokens")
        if not after:
            raise UserError(f"the choice {continuation!r} adds no token to what stands before it")
        if len(after) > self.max_length:
            raise UserError(
                f"the choice {continuation[:40]!r} has {len(after)} tokens, the window "
                f"{self.max_length}"
            )
        return before, after

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Score whole texts in lm-eval's windows, all in one call.

        Returns:
            Per text the sum of its tokens' log-probabilities, in nats.

        Raises:
            UserError: names the task and document of a text that cannot be encoded; or no text has
                any token.
        """
        windows: list[Encoded] = []
        counts = []
        for request in requests:
            (text,) = request.args
            try:
                tokens = self.tok_encode(text)
            except UserError as error:
                raise _of_document(request, str(error)) from None
            rolling = get_rolling_token_windows(
                token_list=tokens,
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            of_text: list[Encoded] = [(None, *make_disjoint_window(window)) for window in rolling]
            windows += of_text
            counts.append(len(of_text))
        if requests and not windows:
            raise _of_document(requests[0], "the text is empty, and so are all others")
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
        answers = []
        scored = self.score_tokens([request[1:] for request in requests], disable_tqdm)
        for (text, _, _), (log_probabilities, greedy) in zip(requests, scored, strict=True):
            answer = (self._total(log_probabilities), bool(greedy.all()))
            answers.append(answer)
            if text is not None:  # rolling windows are remembered per text, by the caller
                self.cache_hook.add_partial("loglikelihood", text, answer)
        return answers

    def _total(self, log_probabilities: np.ndarray) -> float:
        """Add up the scores of a continuation; stock adds in the dtype of the logits."""
        if self.precision == "stock":
            return float(torch.from_numpy(log_probabilities).to(self.model.dtype).sum())
        return math.fsum(log_probabilities.tolist())

    def score_tokens(
        self, pairs: Sequence[tuple[list[int], list[int]]], disable_tqdm: bool = True
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
        scores = self._run(requests, slots, disable_tqdm)
        bounds = [request.slot for request in requests[1:]]
        log_probabilities = np.split(scores.log_probabilities.cpu().numpy(), bounds)
        greedy = np.split(scores.greedy.cpu().numpy(), bounds)
        # Splitting nothing still gives one (empty) piece: hence not strict.
        return list(zip(log_probabilities, greedy, strict=True))[: len(requests)]

    def _run(self, requests: list[Request], slots: int, disable_tqdm: bool) -> Scores:
        """Score requests with a progress bar in tokens, whose estimate of the time left is good."""
        walk = None if self.stock_reason else plan(requests, self.budget.row, FORWARD_OVERHEAD)
        alone = {request.inputs for request in requests}  # equal texts are computed once
        total = walk.token_count() if walk else sum(map(len, alone))
        scores = Scores.empty(slots, self.device)
        finished = 0
        with tqdm(total=total, unit="token", desc="Scoring", disable=disable_tqdm or None) as bar:

            def progress(tokens: int, done: int) -> None:
                nonlocal finished
                finished += done
                bar.set_postfix_str(f"{finished}/{len(requests)} requests", refresh=False)
                bar.update(tokens)

            how = (self.precision, progress)
            if walk:
                TreeRunner(self.model, self.budget, scores, *how, self.work).run(walk)
            else:
                score_plainly(self._model_call, requests, scores, self._state, self.budget, *how)
        return scores


def _of_document(request: Instance, reason: str) -> DocumentError:
    """Return what is wrong with a request as an error of its document."""
    return DocumentError(str(request.task_name), int(request.doc_id or 0), reason)
