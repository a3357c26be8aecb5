"""The trie and its rows, against the definition of attention by brute force."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptprune.evaluation.packing import Group, Request, Tree, pack, plan, take_trees

# Few token ids and short sequences: shared prefixes of every depth, repeats, prefixes of others.
sequences = st.lists(st.integers(0, 2), min_size=1, max_size=12)


def as_requests(inputs: list[list[int]]) -> list[Request]:
    """Score the last half of each sequence, then a token 9 that no input holds."""
    requests = []
    slots = 0
    for tokens in inputs:
        count = len(tokens) // 2 + 1
        scored = (*tokens[len(tokens) - count + 1 :], 9)
        requests.append(Request(tuple(tokens), scored, slots))
        slots += count
    return requests


def walk(group: Group, before: tuple[int, ...] = ()) -> list[tuple[tuple[int, ...], Tree]]:
    """List every tree with the tokens of the prefix that it continues."""
    found = []
    if group.prefix is not None:
        found.append((before, group.prefix))
        assert group.prefix.is_chain
        before = (*before, *group.prefix.tokens.tolist())
    found += [(before, tree) for tree in group.trees]
    return found + [pair for inner in group.groups for pair in walk(inner, before)]


def visible(row_tokens: np.ndarray, ends: np.ndarray, query: int) -> list[int]:
    """Return the tokens that a query sees in a row, in order."""
    return [int(row_tokens[key]) for key in range(query + 1) if query < ends[key]]


@settings(deadline=None, max_examples=200)
@given(st.lists(sequences, min_size=1, max_size=20), st.integers(1, 30), st.integers(0, 20))
def test_every_target_sees_exactly_its_own_sequence(inputs, capacity, overhead):
    requests = as_requests(inputs)
    wanted = {
        request.slot + offset: (
            request.inputs[: len(request.inputs) - len(request.scored) + offset + 1],
            token,
        )
        for request in requests
        for offset, token in enumerate(request.scored)
    }
    found = {}
    finished = 0
    for before, tree in walk(plan(requests, capacity, overhead)):
        finished += tree.requests
        for node, token, slot in tree.targets.tolist():
            seen = (*before, *visible(tree.tokens, tree.ends, node))
            assert len(seen) == tree.depths[node] + 1
            assert slot not in found
            found[slot] = (seen, token)
    assert found == wanted
    assert finished == len(requests)


@settings(deadline=None, max_examples=100)
@given(st.lists(sequences, min_size=1, max_size=20), st.integers(1, 30), st.integers(1, 60))
def test_rows_hold_the_trees_unchanged_and_padding_sees_only_itself(inputs, capacity, budget):
    trees = plan(as_requests(inputs), capacity, forward_overhead=10**9).trees
    pending = sorted(trees, key=len)
    taken = []
    while pending:
        chosen = take_trees(pending, capacity, budget)
        rows = pack(chosen)
        assert len(chosen) == 1 or rows.tokens.size <= budget
        assert rows.used == sum(len(tree) for row in chosen for tree in row)
        targets = rows.targets.tolist()
        for index, row in enumerate(chosen):
            at = 0
            for tree in row:
                for node, token, slot in tree.targets.tolist():
                    seen = visible(rows.tokens[index], rows.ends[index], at + node)
                    assert seen == visible(tree.tokens, tree.ends, node)
                    assert [index * rows.tokens.shape[1] + at + node, token, slot] in targets
                at += len(tree)
                taken.append(id(tree))
            padding = np.arange(at, rows.tokens.shape[1])
            assert (rows.ends[index, at:] == padding + 1).all()
    assert sorted(taken) == sorted(map(id, trees))


def test_choices_of_a_question_are_computed_once():
    context = tuple(range(100, 120))
    requests = [Request((*context, choice), (choice, 9), 2 * choice) for choice in range(4)]
    work = plan(requests, capacity=256, forward_overhead=128)
    assert work.token_count() == len(context) + 4
    assert len(work.trees) == 1


def test_a_long_preamble_is_kept_and_a_short_one_repeated():
    def requests(preamble: int) -> list[Request]:
        start = tuple(range(1000, 1000 + preamble))
        return [Request((*start, *[doc] * 40), (9,), doc) for doc in range(20)]

    kept = plan(requests(300), capacity=256, forward_overhead=128)
    assert kept.token_count() == 300 + 20 * 40
    assert len(kept.groups[0].trees) == 20
    repeated = plan(requests(3), capacity=256, forward_overhead=128)
    assert not repeated.groups
    assert repeated.token_count() == 20 * 43


def test_the_plan_does_not_depend_on_the_order_of_requests():
    requests = as_requests([[1, 2, 3], [1, 2], [1, 2, 3], [0], [1, 1, 1, 1]])
    one = walk(plan(requests, 4, 1))
    other = walk(plan(requests[::-1], 4, 1))
    assert len(one) == len(other)
    for (before, tree), (other_before, other_tree) in zip(one, other, strict=True):
        assert before == other_before
        assert (tree.tokens == other_tree.tokens).all()
        assert (tree.targets == other_tree.targets).all()


def test_deeply_nested_branching_needs_no_recursion():
    requests = [Request((*[1] * depth, 2), (9,), depth) for depth in range(1500)]
    work = plan(requests, capacity=16, forward_overhead=10**9)
    assert sum(tree.requests for tree in work.trees) == 1500


def test_nothing_to_score_is_an_empty_plan():
    assert plan([], 256, 128).token_count() == 0
