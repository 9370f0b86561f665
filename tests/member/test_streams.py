"""Member i draws the same numbers alone and in company, whatever is asked for in whatever order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slmx.member.streams import BLOCK, Streams, seed_sequence

M = 3
SIZES = st.one_of(st.integers(1, 9), st.integers(BLOCK - 2, BLOCK + 2), st.sampled_from([2 * BLOCK, 3 * BLOCK + 1]))
CALL = st.tuples(st.sampled_from(["uniform", "normal", "integers", "permutation"]), SIZES)


def streams(*sessions: int, dtype: torch.dtype = torch.float32) -> Streams:
    return Streams([seed_sequence(0, 0, s, "explore") for s in sessions], dtype)


def draw(source: Streams, kind: str, n: int) -> torch.Tensor:
    return source.integers(7, n) if kind == "integers" else getattr(source, kind)(n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@settings(max_examples=40, deadline=None)
@given(calls=st.lists(CALL, min_size=1, max_size=8))
def test_alone_as_in_company(dtype: torch.dtype, calls: list[tuple[str, int]]) -> None:
    company, alone = streams(*range(M), dtype=dtype), [streams(m, dtype=dtype) for m in range(M)]
    together = [draw(company, *call) for call in calls]
    for m in range(M):
        apart = [draw(alone[m], *call) for call in calls]
        for mine, all_members in zip(apart, together, strict=True):
            assert torch.equal(mine[0], all_members[m])


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(SIZES, min_size=1, max_size=8))
def test_numbers_do_not_depend_on_how_many_are_asked_for_at_once(sizes: list[int]) -> None:
    """And what was handed out stays as it is: later draws must not write into it."""
    for kind in ("uniform", "normal"):
        pieces, whole = streams(0, 1, dtype=torch.float64), streams(0, 1, dtype=torch.float64)
        drawn = [draw(pieces, kind, n) for n in sizes]
        draw(pieces, kind, BLOCK)
        assert torch.equal(torch.cat(drawn, 1), draw(whole, kind, sum(sizes)))


def test_shapes_and_types() -> None:
    source = streams(0, 1)
    assert source.uniform(4, 5).shape == (2, 4, 5)
    assert source.normal().shape == (2,)
    assert source.uniform(2).dtype == torch.float32
    assert streams(0, dtype=torch.float64).normal(2).dtype == torch.float64
    assert source.integers(3, 2).dtype == source.permutation(3).dtype == torch.int64
    assert source.members == 2


def test_distributions() -> None:
    source = streams(0, 1)
    uniform, normal, whole = source.uniform(40_000), source.normal(40_000), source.integers(4, 40_000)
    assert 0 <= uniform.min() < uniform.max() <= 1
    torch.testing.assert_close(uniform.mean(1), torch.full((2,), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(normal.mean(1), torch.zeros(2), atol=0.02, rtol=0)
    torch.testing.assert_close(normal.std(1), torch.ones(2), atol=0.02, rtol=0)
    for m in range(2):
        assert whole[m].bincount().tolist() == pytest.approx([10_000] * 4, rel=0.05)
        assert source.permutation(100)[m].sort().values.tolist() == list(range(100))
    assert not torch.equal(*source.permutation(100))


SEEDS: list[tuple[Any, ...]] = [
    (0, 0, 0, "explore"), (1, 0, 0, "explore"), (0, 1, 0, "explore"), (0, 0, 1, "explore"), (0, 0, 0, "learn"),
    (0, 0, 0), (0, 0, 0, "env", 0), (0, 0, 0, "env", 1), (0, 0, 0, "agent", 0, "explore"),
    (0, 0, 0, "agent", 1, "explore"),
]  # fmt: skip


def test_every_seed_trial_session_and_purpose_has_its_own_numbers() -> None:
    drawn = {Streams([seed_sequence(*key)]).uniform(3).numpy().tobytes() for key in SEEDS}
    assert len(drawn) == len(SEEDS)
    # the three streams of one seed are apart as well
    source = streams(0)
    assert not np.isin(source.uniform(100).numpy(), source.normal(100).numpy()).any()
