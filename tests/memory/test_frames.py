"""Replay that keeps each picture once hands out what replay hands out that keeps all of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from slmx.member.hyper import Stacked
from slmx.member.streams import Streams, seed_sequence
from slmx.memory.frames import FrameReplay, FrameRing, PrioritizedFrameReplay
from slmx.memory.prioritized import PrioritizedReplay
from slmx.memory.replay import STAGED, Replay
from slmx.memory.ring import Ring
from slmx.spec.build import build
from slmx.spec.check import problems

M, B, STACK = 2, 3, 4


def replay(kind: type[Replay], **keys: int) -> Replay:
    streams = Streams([seed_sequence(0, 0, m) for m in range(M)])
    return kind(Stacked([kind.Hyper(**keys) for _ in range(M)]), streams)


def lived(ticks: int, end: float, start: str, seed: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """Transitions of stacked frames, as environments emit them.

    An episode ends with probability `end` at each step; the next begins with a stack that repeats its first frame
    ("repeated"), has zeros before it ("zeros"), or goes on with the frames before ("continued": a lost life).
    """
    rng = np.random.default_rng(seed)
    frame = lambda: rng.integers(0, 256, (2, 3), np.uint8)
    begun = lambda: [np.zeros((2, 3), np.uint8)] * (STACK - 1) + [frame()] if start == "zeros" else [frame()] * STACK
    stacks = [begun() for _ in range(M * B)]
    number = 0.0
    for _ in range(ticks):
        following = [[*stack[1:], frame()] for stack in stacks]
        obs, next_obs = (torch.from_numpy(np.stack(s).reshape(M, B, STACK, 2, 3)) for s in (stacks, following))
        value = number + torch.arange(M * B).view(M, B).float()
        number += M * B
        yield obs, (value % 5).long(), value, next_obs, value / 2
        for i, done in enumerate(rng.random(M * B) < end):
            if done:
                following[i] = [*following[i][1:], frame()] if start == "continued" else begun()
        stacks = following


@pytest.mark.parametrize(("size", "most", "room"), [(2, STAGED - 1, 1000), (1000, 0, 20)])
def test_few_large_images_wait_and_many_small_rows(size: int, most: int, room: int) -> None:
    memory, image = replay(Replay, max_size=room), torch.zeros(M, B, 1, size, size, dtype=torch.uint8)
    waited = 0
    while memory.ring is None:
        memory.add(image, torch.zeros(M, B), torch.zeros(M, B), image, torch.zeros(M, B))
        waited = max(waited, len(memory._staged))
    assert waited == most


@pytest.mark.parametrize("kind", [(FrameReplay, Replay), (PrioritizedFrameReplay, PrioritizedReplay)])
@pytest.mark.parametrize("start", ["repeated", "zeros", "continued"])
@pytest.mark.parametrize("end", [0.02, 0.5])
def test_it_hands_out_what_replay_does(kind: tuple[type[Replay], type[Replay]], start: str, end: float) -> None:
    one, other = (replay(each, max_size=40, batch_size=16) for each in kind)
    for tick, row in enumerate(lived(120, end, start)):
        one.add(*row)
        other.add(*row)
        if tick % 7 == 0 or tick > 100:
            first, second = one.sample(), other.sample()
            for name in ("obs", "action", "reward", "next_obs", "bootstrap", "index"):
                assert torch.equal(getattr(first, name), getattr(second, name)), name
            assert first.obs.dtype == torch.uint8 and first.obs.shape == (M, 16, STACK, 2, 3)


def test_members_that_stay_or_are_copied_have_their_pictures() -> None:
    one, other = (replay(each, max_size=40, batch_size=16) for each in (FrameReplay, Replay))
    rows = list(lived(60, 0.3, "repeated"))
    for memory in (one, other):
        for row in rows[:30]:
            memory.add(*row)
        memory.write()
        memory.clone([1, 1])
        for row in rows[30:45]:
            memory.add(*row)
        memory.keep([1])
        for row in rows[45:]:
            memory.add(*(x[:1] for x in row))
    first, second = one.sample(), other.sample()
    assert torch.equal(first.obs, second.obs) and torch.equal(first.next_obs, second.next_obs)


def test_each_step_takes_one_picture() -> None:
    memory, steps = replay(FrameReplay, max_size=600, batch_size=1), 200
    for row in lived(steps, 0.0, "repeated"):
        memory.add(*row)
    memory.write()
    assert isinstance(memory.ring, FrameRing)
    assert memory.ring.count.tolist() == [B * (steps + 1)] * M, "and the first of each body"
    assert memory.ring.pictures.shape == (M, 619, 6), "a spare one for each 32"


def test_room_grows_where_episodes_are_short_and_no_further() -> None:
    memory = replay(FrameReplay, max_size=900, batch_size=1)
    for row in lived(1000, 1.0, "repeated"):
        memory.add(*row)
    memory.write()
    assert isinstance(memory.ring, FrameRing)
    assert memory.ring.count.tolist() == [B * 2000] * M
    assert 1800 <= memory.ring.pictures.shape[1] < 2 * 1800


def test_a_member_that_sees_little_keeps_its_pictures_where_another_needs_more_room() -> None:
    """One sees a new picture a step, then two; the other some, for long the last of them, and then all again."""

    def rows(one: int, other: int) -> Tensor:
        return torch.tensor([one, other], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 1, 1, 2, 3)

    number, head = torch.zeros(2, 1), 0
    like = [rows(0, 0), number, number, rows(0, 0), number]
    frames, plain = FrameRing(40, like, torch.float32), Ring(40, like, torch.float32)
    everything = torch.arange(40).expand(2, -1)
    for tick in range(120):
        one = (tick, tick + 1) if tick < 76 else (2 * tick, 2 * tick + 1)
        other = (tick, tick + 1) if tick < 30 else (30, 30) if tick < 76 else (tick % 30, tick % 30 + 1)
        row = [rows(one[0], other[0]), number, number, rows(one[1], other[1]), number]
        for ring in (frames, plain):
            ring.write(head, row)
        head = (head + 1) % 40
        if tick == 75:
            assert frames.pictures.shape[1] == 42, "there was no need for more yet"
        for kept, expected in zip(frames.read(everything), plain.read(everything), strict=True):
            assert tick < 40 or torch.equal(kept, expected), tick
    assert frames.pictures.shape[1] > 42


def test_a_hundred_thousand_frames_of_atari_fit_into_less_than_a_gigabyte() -> None:
    image = torch.zeros(1, 1, 4, 84, 84, dtype=torch.uint8)
    number = torch.zeros(1, 1)
    ring = FrameRing(100_000, [image, number.long(), number, image, number], torch.float32)
    assert sum(x.nbytes for x in (ring.pictures, *ring.stores.values())) < 0.74e9
    assert FrameReplay.observed_bytes((4, 84, 84), 1) * 100_000 == pytest.approx(ring.pictures.nbytes, rel=0.01)
    assert Replay.observed_bytes((4, 84, 84), 1) == 2 * 4 * 84 * 84


def test_what_is_no_image_is_refused_before_anything_starts() -> None:
    agent = {
        "name": "dqn", "algorithm": {"name": "DQN"}, "memory": {"name": "FrameReplay"},
        "net": {"type": "MLP", "optim_spec": {"name": "Adam"}},
    }  # fmt: skip
    spec = build("it", {"agent": agent, "env": {"name": "CartPole-v1", "max_frame": 10_000}})
    assert [str(error) for error in problems(spec)] == [
        "agent.0.memory.name: it keeps pictures of images, not 4 numbers (CartPole-v1, env.0)"
    ]
