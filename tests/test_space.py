"""The AEB space: products, errors, and the two index maps that undo each other."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slmx.errors import SpecError
from slmx.space import Body, Layout, Place, Space, resolve
from slmx.spec.model import BodySpec

Product = Literal["outer", "inner", "custom"]
NUMBER = "number the bodies of an agent in an environment 0, 1, 2, ..."


def triples(space: Space) -> list[tuple[int, int, int]]:
    return [tuple(body) for body in space.bodies]


def test_outer_puts_every_agent_in_every_environment() -> None:
    space = resolve(BodySpec(product="outer", num=2), 2, 2)
    assert triples(space) == [(a, e, b) for a in range(2) for e in range(2) for b in range(2)]
    assert space.counts == {(0, 0): 2, (0, 1): 2, (1, 0): 2, (1, 1): 2}
    assert resolve(BodySpec(product="outer", num=[3, 1]), 2, 2).counts == {(0, 0): 3, (0, 1): 1, (1, 0): 3, (1, 1): 1}


def test_inner_pairs_agents_with_environments() -> None:
    assert triples(resolve(BodySpec(product="inner", num=[2, 1]), 2, 2)) == [(0, 0, 0), (0, 0, 1), (1, 1, 0)]


def test_custom_is_what_is_listed_in_any_order() -> None:
    space = resolve(BodySpec(product="custom", num=[[1, 0, 1], [0, 0, 0], [1, 0, 0], [1, 1, 0]]), 2, 2)
    assert triples(space) == [(0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 1, 0)]


@pytest.mark.parametrize(
    ("product", "num", "agents", "envs", "message"),
    [
        ("outer", [[0, 0, 0]], 1, 1, "num: lists of [agent, env, body] need product custom; product is outer"),
        ("outer", [1, 2], 1, 1, "num: has 2 numbers for 1 environment; give one number, or one each"),
        ("outer", [1, 0], 1, 2, "num: [1, 0]: every environment needs at least one body of each of its agents"),
        ("outer", 0, 1, 1, "num: 0: every environment needs at least one body of each of its agents"),
        ("inner", 1, 2, 1, "product: inner pairs agents with environments, but there are 2 and 1"),
        ("custom", 3, 1, 1, "num: product custom needs a list of [agent, env, body], not 3"),
        ("custom", [], 1, 1, "num: product custom needs a list of [agent, env, body], not []"),
        ("custom", [[0, 0]], 1, 1, "num: product custom needs a list of [agent, env, body], not [[0, 0]]"),
        ("custom", [[0, 0, 0], [0, 0, 2]], 1, 1,
         "num: there is a hole: [0, 0, 2] but no [0, 0, 1]; " + NUMBER),
        ("custom", [[0, 0, 1]], 1, 1,
         "num: there is a hole: [0, 0, 1] but no [0, 0, 0]; " + NUMBER),
        ("custom", [[0, 0, 0], [0, 0, 0]], 1, 1, "num: [0, 0, 0] stands twice"),
        ("custom", [[0, 1, 0]], 1, 1, "num: [0, 1, 0] is outside the spec's 1 agent and 1 environment"),
        ("custom", [[1, 0, 0]], 1, 1, "num: [1, 0, 0] is outside the spec's 1 agent and 1 environment"),
        ("custom", [[0, 0, -1]], 1, 1, "num: [0, 0, -1] is outside the spec's 1 agent and 1 environment"),
        ("custom", [[0, 0, 0]], 2, 1, "num: agent 1 has no body"),
        ("custom", [[0, 1, 0]], 1, 2, "num: env 0 has no body"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(product: Product, num: Any, agents: int, envs: int, message: str) -> None:
    with pytest.raises(SpecError) as error:
        resolve(BodySpec(product=product, num=num), agents, envs)
    assert str(error.value) == message


def test_rows_of_single_environments_stand_agent_after_agent() -> None:
    layout = resolve(BodySpec(product="outer", num=2), 2, 1).layout([1])
    assert layout.places == [[Place(0, 0, (0, 1))], [Place(1, 0, (2, 3))]]
    assert (layout.copies, layout.rows) == ([4], [4])


def test_agents_share_the_slots_of_an_environment_in_equal_consecutive_parts() -> None:
    layout = resolve(BodySpec(product="outer", num=4), 2, 1).layout([4])
    assert layout.places == [[Place(0, 0, (0, 1, 4, 5))], [Place(1, 0, (2, 3, 6, 7))]]
    assert (layout.copies, layout.rows) == ([2], [8])


@pytest.mark.parametrize(
    ("num", "agents", "slots", "message"),
    [
        (1, 2, 3, "num: environment 0 has 3 slots, which 2 agents cannot share equally"),
        (3, 2, 4, "num: environment 0 has 4 slots, 2 for each of 2 agents: "
         "their bodies must be equally many and a multiple of 2, not 3"),
        (1, 1, 2, "num: environment 0 has 2 slots, 2 for each of 1 agent: "
         "their bodies must be equally many and a multiple of 2, not 1"),
    ],
)  # fmt: skip
def test_slots_that_bodies_do_not_fill_are_refused(num: int, agents: int, slots: int, message: str) -> None:
    with pytest.raises(SpecError) as error:
        resolve(BodySpec(num=num), agents, 1).layout([slots])
    assert str(error.value) == message


def test_slots_need_equally_many_bodies_of_all_their_agents() -> None:
    bodies = [[0, 0, 0], [0, 0, 1], [1, 0, 0]]
    with pytest.raises(SpecError, match="equally many"):
        resolve(BodySpec(product="custom", num=bodies), 2, 1).layout([2])


@st.composite
def layouts(draw: st.DrawFn) -> tuple[Space, list[int]]:
    """Any space of up to three agents and environments that fits its slots."""
    agents, envs = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    pairs = [(a, e) for a in range(agents) for e in range(envs)]
    present = draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
    present += [(a, 0) for a in range(agents) if a not in {p[0] for p in present}]
    present += [(0, e) for e in range(envs) if e not in {p[1] for p in present}]
    slots, counts = [], {}
    for e in range(envs):
        here = [pair for pair in present if pair[1] == e]
        share = draw(st.sampled_from([0, 1, 2, 3]))  # 0: an environment for single agents
        slots.append(share * len(here) or 1)
        copies = draw(st.integers(1, 3))
        counts |= {pair: share * copies if slots[e] > 1 else draw(st.integers(1, 3)) for pair in here}
    bodies = [[a, e, b] for (a, e), count in counts.items() for b in range(count)]
    return resolve(BodySpec(product="custom", num=draw(st.permutations(bodies))), agents, envs), slots


def values(layout: Layout, members: int = 2) -> list[np.ndarray]:
    """Every number of every environment's rows is another one."""
    shapes = [(members, rows, 3) for rows in layout.rows]
    return [1000 * e + np.arange(np.prod(shape)).reshape(shape) for e, shape in enumerate(shapes)]


@settings(max_examples=150, deadline=None)
@given(layouts())
def test_scatter_after_gather_is_the_identity(case: tuple[Space, list[int]]) -> None:
    space, slots = case
    layout = space.layout(slots)
    by_env = values(layout)
    by_agent = layout.gather(by_env)
    for before, after in zip(by_env, layout.scatter(by_agent), strict=True):
        np.testing.assert_array_equal(before, after)
    # and the other way round: every row belongs to one body, every body has its row
    for own, places in zip(by_agent, layout.places, strict=True):
        for array, place in zip(own, places, strict=True):
            assert array.shape[1] == space.counts[place.agent, place.env]
            np.testing.assert_array_equal(array, by_env[place.env][:, list(place.rows)])
    assert layout.rows == [copies * s for copies, s in zip(layout.copies, slots, strict=True)]
    assert sum(layout.rows) == len(space.bodies)


@settings(max_examples=50, deadline=None)
@given(layouts(), st.data())
def test_an_environment_that_has_ended_is_none_all_the_way(case: tuple[Space, list[int]], data: st.DataObject) -> None:
    space, slots = case
    layout = space.layout(slots)
    over = data.draw(st.sets(st.integers(0, len(slots) - 1)))
    by_env = [None if e in over else x for e, x in enumerate(values(layout))]
    for e, (before, after) in enumerate(zip(by_env, layout.scatter(layout.gather(by_env)), strict=True)):
        assert (after is None) == (e in over)
        if before is not None:
            np.testing.assert_array_equal(before, after)


@settings(max_examples=50, deadline=None)
@given(layouts(), st.integers(1, 3))
def test_with_counts_keeps_the_ports(case: tuple[Space, list[int]], copies: int) -> None:
    space, slots = case
    shares = [space.share(e, slots[e]) if slots[e] > 1 else 1 for e in range(len(slots))]
    other = space.with_counts(lambda a, e: copies * shares[e])
    assert list(other.counts) == list(space.counts)
    assert other.counts == {(a, e): copies * shares[e] for a, e in space.counts}
    assert other.layout(slots).rows == [
        copies * slots[e] if slots[e] > 1 else copies * sum(env == e for _, env in space.counts)
        for e in range(len(slots))
    ]


def test_what_fills_an_environment_in_order_is_not_copied() -> None:
    layout = Space((Body(0, 0, 0), Body(0, 0, 1))).layout([1])
    array = np.zeros((2, 2, 3))
    ((gathered,),) = layout.gather([array])
    assert gathered is array
    assert layout.scatter([[array]])[0] is array
