"""Requests as prefix trees, and trees as rows: the arithmetic of the scorer, without torch.

Requests that begin alike are arranged in a trie, so that a common beginning is computed once. A
tree is laid out depth first: the descendants of a token then follow it without a gap, and *query
attends to key* is two comparisons, ``key <= query < end of key``. The rule holds unchanged for
several trees side by side, which is how rows are filled with almost no padding.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Request:
    """What the model reads for one score, and what is scored.

    Attributes:
        inputs: token ids fed to the model, at least as many as ``scored``.
        scored: token ids whose log-probability is asked for; they follow the last
            ``len(scored)`` inputs.
        slot: where the score of the first scored token goes in the flat result array.
    """

    inputs: tuple[int, ...]
    scored: tuple[int, ...]
    slot: int


@dataclass(frozen=True)
class Tree:
    """A piece of the trie in depth-first order.

    Attributes:
        tokens: token id of each node, [nodes].
        depths: position of each node in its sequence, [nodes].
        ends: one past the last descendant of each node, [nodes].
        targets: (node, next token, slot) of everything to score, [targets, 3].
        requests: how many requests have their last token here.
    """

    tokens: np.ndarray
    depths: np.ndarray
    ends: np.ndarray
    targets: np.ndarray
    requests: int

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """Whether no node has two children."""
        return bool((self.ends == len(self)).all())


@dataclass
class Group:
    """Trees that continue one common prefix.

    Attributes:
        prefix: the prefix's last stretch (a chain that continues the parent group's prefix);
            None for the group of everything.
        trees: what is packed into rows, each attending to the whole prefix.
        groups: longer prefixes that continue this one.
    """

    prefix: Tree | None = None
    trees: list[Tree] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)

    def token_count(self) -> int:
        """Return how many tokens the model computes for this group and those inside it."""
        own = sum(map(len, self.trees)) + (len(self.prefix) if self.prefix else 0)
        return own + sum(group.token_count() for group in self.groups)


@dataclass(frozen=True)
class Rows:
    """Trees packed side by side, padded to one width.

    Attributes:
        tokens, depths, ends: as in `Tree`, node numbers within the row, [rows, width].
        targets: (index into the flattened rows, next token, slot), [targets, 3].
        used: tokens that are not padding.
        requests: how many requests have their last token here.
        causal: whether each row is a single chain, so that ordinary causal attention does.
    """

    tokens: np.ndarray
    depths: np.ndarray
    ends: np.ndarray
    targets: np.ndarray
    used: int
    requests: int
    causal: bool


def plan(requests: list[Request], capacity: int, forward_overhead: int) -> Group:
    """Arrange requests in trees that fit a row, below prefixes that are worth a pass of their own.

    A branching point with a trie too large for one row is either *repeated* (each branch becomes a
    tree with its own copy of the prefix) or *shared* (the prefix is computed once and its keys and
    values are kept), whichever computes less.

    Args:
        requests: in any order; the plan depends on their content and slots alone.
        capacity: tokens of a row; only a single branch may be longer.
        forward_overhead: cost of one more forward pass, in tokens.
    """
    ordered = sorted(requests, key=lambda request: (request.inputs, request.slot))
    common = _common_prefixes(ordered)
    lengths = np.array([len(request.inputs) for request in ordered], dtype=np.int64)
    fresh = np.concatenate([[0], np.cumsum(lengths - common)])  # nodes up to a request

    everything = Group()
    pending = [(0, len(ordered), 0, everything)] if ordered else []
    while pending:  # a stack, not recursion: a trie can be as deep as the window is long
        low, high, start, group = pending.pop()
        size = lengths[low] - start + fresh[high] - fresh[low + 1]
        branches, fork = _first_fork(lengths, common, low, high)
        if size <= capacity or len(branches) < 2:
            group.trees.append(_build(ordered, common, low, high, start))
            continue
        if (len(branches) - 1) * (fork - start) > forward_overhead:
            shared = Group(prefix=_build(ordered, common, low, high, start, fork))
            group.groups.append(shared)
            pending += [(begin, end, fork, shared) for begin, end in reversed(branches)]
        else:
            branches[0] = (low, branches[0][1])  # with the requests that end before the fork
            pending += [(begin, end, start, group) for begin, end in reversed(branches)]
    return everything


def _common_prefixes(ordered: list[Request]) -> np.ndarray:
    """Return how many first tokens each request shares with the one before it, [requests]."""
    common = np.zeros(len(ordered), dtype=np.int64)
    previous = np.zeros(0, dtype=np.int64)
    for index, request in enumerate(ordered):
        current = np.array(request.inputs, dtype=np.int64)
        shortest = min(len(previous), len(current))
        differs = np.flatnonzero(previous[:shortest] != current[:shortest])
        common[index] = differs[0] if len(differs) else shortest
        previous = current
    return common


def _first_fork(
    lengths: np.ndarray, common: np.ndarray, low: int, high: int
) -> tuple[list[tuple[int, int]], int]:
    """Find where the sorted requests low..high first part ways.

    Returns:
        The ranges of requests that go on past the fork, one per branch (requests that end before
        it are in none), and the depth of the fork. Without a fork at most one range.
    """
    first = low
    while first < high:
        fork = int(common[first + 1 : high].min()) if high - first > 1 else int(lengths[first])
        if lengths[first] > fork:
            break
        first += 1
    if high - first < 2:
        return [(first, high)] if first < high else [], int(lengths[high - 1])
    starts = [first, *(first + 1 + np.flatnonzero(common[first + 1 : high] == fork)).tolist()]
    return list(zip(starts, [*starts[1:], high], strict=True)), fork


def _build(
    ordered: list[Request],
    common: np.ndarray,
    low: int,
    high: int,
    start: int,
    stop: int | None = None,
) -> Tree:
    """Lay out the trie of sorted requests low..high, from depth ``start`` to before ``stop``."""
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    targets: list[tuple[int, int, int]] = []
    path: list[int] = []  # node numbers from depth `start` down to the request at hand
    finished = 0
    for index in range(low, high):
        request = ordered[index]
        keep = 0 if index == low else min(max(int(common[index]) - start, 0), len(path))
        for node in path[keep:]:
            ends[node] = len(tokens)
        del path[keep:]
        added = request.inputs[start + keep : stop]
        path.extend(range(len(tokens), len(tokens) + len(added)))
        depths.extend(range(start + keep, start + keep + len(added)))
        tokens.extend(added)
        ends.extend([0] * len(added))
        first_scored = len(request.inputs) - len(request.scored)
        for offset, token in enumerate(request.scored):
            if 0 <= first_scored + offset - start < len(path):
                node = path[first_scored + offset - start]
                targets.append((node, token, request.slot + offset))
        finished += start < len(request.inputs) <= start + len(path)
    for node in path:
        ends[node] = len(tokens)
    return Tree(
        np.array(tokens, dtype=np.int64),
        np.array(depths, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        np.array(targets, dtype=np.int64).reshape(-1, 3),
        finished,
    )


def take_trees(pending: list[Tree], capacity: int, budget: int) -> list[list[Tree]]:
    """Take trees for one forward pass: rows filled with the largest tree that still fits.

    Args:
        pending: trees by ascending size; those taken are removed.
        capacity: tokens of a row, unless the largest tree needs more.
        budget: tokens of all rows together; there is always one row.
    """
    width = max(capacity, len(pending[-1]))
    rows: list[list[Tree]] = []
    while pending and (not rows or (len(rows) + 1) * width <= budget):
        row: list[Tree] = []
        gap = width
        while (fitting := bisect_right(pending, gap, key=len)) > 0:
            row.append(pending.pop(fitting - 1))
            gap -= len(row[-1])
        rows.append(row)
    return rows


def pack(trees: list[list[Tree]]) -> Rows:
    """Lay rows of trees out in rectangles; a padding token attends to nothing but itself."""
    width = max(sum(map(len, row)) for row in trees)
    shape = (len(trees), width)
    tokens = np.zeros(shape, dtype=np.int64)
    depths = np.zeros(shape, dtype=np.int64)
    ends = np.tile(np.arange(1, width + 1), (len(trees), 1))
    targets: list[np.ndarray] = []
    for index, row in enumerate(trees):
        at = 0
        for tree in row:
            span = slice(at, at + len(tree))
            tokens[index, span] = tree.tokens
            depths[index, span] = tree.depths
            ends[index, span] = tree.ends + at
            targets.append(np.add(tree.targets, (index * width + at, 0, 0)))
            at += len(tree)
    flat = [tree for row in trees for tree in row]
    return Rows(
        tokens,
        depths,
        ends,
        np.concatenate(targets),
        used=sum(map(len, flat)),
        requests=sum(tree.requests for tree in flat),
        causal=all(len(row) == 1 and row[0].is_chain for row in trees),
    )
