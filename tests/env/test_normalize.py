"""Running normalisation against sums over everything that was seen, and member by member."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from slmx.env.base import Step
from slmx.env.normalize import EPSILON, PRIOR_COUNT, Normalizer
from slmx.env.spec import EnvSpec

M, B, D, T = 5, 3, 4, 40
GAMMA = torch.linspace(0.5, 0.99, M)[:, None]


def normalizer(members: slice | list[int] = slice(None), **keys: object) -> Normalizer:
    spec = EnvSpec(name="CartPole-v1", max_frame=1, **keys)
    gamma = GAMMA[members]
    made = Normalizer(spec, len(gamma), (D,), torch.float32, "cpu")
    made.retune(gamma)
    return made


def begin(norm: Normalizer, obs: torch.Tensor) -> torch.Tensor:
    """First observations, counted and then normalised."""
    norm.begin(obs)
    return norm.observe(obs)


def live(norm: Normalizer, step: Step) -> Step:
    """A step with all in it counted and then normalised."""
    norm.count(step)
    next_obs = norm.observe(step.next_obs)
    obs = next_obs if step.obs is step.next_obs else norm.observe(step.obs)
    return replace(step, obs=obs, next_obs=next_obs, reward=norm.scale(step.reward))


def stream(seed: int = 0) -> tuple[torch.Tensor, list[Step]]:
    """First observations and steps of M members, each with its own scale and its own ends."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** np.arange(-1, M - 1)[:, None]
    draw = lambda *shape: rng.normal(3, 1, (M, *shape)) * scale.reshape(M, *[1] * len(shape))
    tensor = lambda array: torch.tensor(array, dtype=torch.float32)
    first, steps = tensor(draw(B, D)), []
    for t in range(T):
        done = rng.random((M, B)) < (0.3 if t % 3 else 0.0)
        done[0] = False  # member 0 never ends
        terminated = done & (rng.random((M, B)) < 0.5)
        next_obs = draw(B, D)
        obs = np.where(done[..., None], draw(B, D), next_obs)
        next_obs = tensor(next_obs)
        ended = torch.tensor(terminated), torch.tensor(done & ~terminated)
        steps.append(Step(tensor(obs) if done.any() else next_obs, next_obs, tensor(draw(B)), *ended))
    return first, steps


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of all values and of a prior of weight 1e-4 with mean 0 and variance 1."""
    total = len(values) + PRIOR_COUNT
    mean = values.sum(0) / total
    return mean, (((values - mean) ** 2).sum(0) + PRIOR_COUNT * (1 + mean**2)) / total


def test_observations_against_all_that_were_emitted() -> None:
    norm, (first, steps) = normalizer(normalize_obs=True), stream()
    seen = [list(first[m].double().numpy()) for m in range(M)]
    for m in range(M):
        mean, var = moments(np.array(seen[m]))
        expected = (first[m].numpy() - mean) / np.sqrt(var + EPSILON)
        if m == 0:
            out = begin(norm, first)
        np.testing.assert_allclose(out[m], expected, rtol=1e-4, atol=1e-5)
    for step in steps:
        given = live(norm, step)
        assert given.reward is step.reward and given.terminated is step.terminated
        assert (given.obs is given.next_obs) == (step.obs is step.next_obs)
        for m in range(M):
            seen[m] += list(step.next_obs[m].double().numpy()) + list(step.obs[m][step.done[m]].double().numpy())
            mean, var = moments(np.array(seen[m]))
            for raw, out in ((step.obs, given.obs), (step.next_obs, given.next_obs)):
                expected = (raw[m].numpy() - mean) / np.sqrt(var + EPSILON)
                np.testing.assert_allclose(out[m], expected, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(norm.state()["obs_count"][m], len(seen[m]) + PRIOR_COUNT)
        assert given.obs.dtype == torch.float32


def test_rewards_by_the_deviation_of_the_discounted_return() -> None:
    norm, (first, steps) = normalizer(normalize_reward=True), stream()
    assert begin(norm, first) is first
    running, seen = np.zeros((M, B)), [[] for _ in range(M)]
    for step in steps:
        given = live(norm, step)
        assert given.obs is step.obs
        running = running * GAMMA.double().numpy() + step.reward.double().numpy()
        for m in range(M):
            seen[m] += list(running[m])
            _, var = moments(np.array(seen[m]))
            np.testing.assert_allclose(given.reward[m], step.reward[m] / np.sqrt(var + EPSILON), rtol=1e-4)
        running[step.done.numpy()] = 0
    begin(norm, first)  # new episodes everywhere: the returns begin again, the statistics stay
    reward = live(norm, steps[0])
    seen[1] += list(steps[0].reward[1].double().numpy())
    _, var = moments(np.array(seen[1]))
    np.testing.assert_allclose(reward.reward[1], steps[0].reward[1] / np.sqrt(var + EPSILON), rtol=1e-4)


def test_agrees_with_gymnasium_where_definitions_do() -> None:
    from gymnasium.wrappers.utils import RunningMeanStd

    norm, (first, steps) = normalizer([3], normalize_obs=True), stream()
    oracle = RunningMeanStd(shape=(D,))
    begin(norm, first[3:4])
    oracle.update(first[3].double().numpy())
    for step in steps:
        live(norm, step.map(lambda x: x[3:4]))
        oracle.update(step.next_obs[3].double().numpy())
        if step.done[3].any():
            oracle.update(step.obs[3][step.done[3]].double().numpy())
    np.testing.assert_allclose(norm.state()["obs_mean"][0], oracle.mean, rtol=1e-10)
    np.testing.assert_allclose(norm.state()["obs_var"][0], oracle.var, rtol=1e-10)


def test_a_member_alone_is_bitwise_the_member_in_company() -> None:
    keys = {"normalize_obs": True, "normalize_reward": True, "clip_obs": 5.0, "clip_reward": 2.0}
    together, (first, steps) = normalizer(**keys), stream()
    out = [begin(together, first), *[live(together, step) for step in steps]]
    for m in range(M):
        alone = normalizer([m], **keys)
        assert torch.equal(begin(alone, first[m : m + 1]), out[0][m : m + 1])
        for step, company in zip(steps, out[1:], strict=True):
            mine = live(alone, step.map(lambda x, m=m: x[m : m + 1]))
            for key in ("obs", "next_obs", "reward"):
                assert torch.equal(getattr(mine, key)[0], getattr(company, key)[m]), key
        for key, value in alone.state().items():
            assert torch.equal(value[0], together.state()[key][m]), key


def test_a_poisoned_member_poisons_itself_alone() -> None:
    keys = {"normalize_obs": True, "normalize_reward": True}
    well, ill, (first, steps) = normalizer(**keys), normalizer(**keys), stream()
    poison = torch.ones(M, 1)
    poison[2] = torch.nan
    begin(well, first), begin(ill, first * poison[..., None])
    for step in steps:
        one = live(well, step)
        other = live(ill, step.map(lambda x: x * poison.view(M, *[1] * (x.ndim - 1)) if x.is_floating_point() else x))
        for m in (0, 1, 3, 4):
            assert torch.equal(one.obs[m], other.obs[m]) and torch.equal(one.reward[m], other.reward[m])
        assert other.obs[2].isnan().all()


def test_what_is_kept_is_normalised_as_things_are_when_it_is_drawn() -> None:
    norm, (first, steps) = normalizer(normalize_obs=True, normalize_reward=True), stream()
    begin(norm, first)
    met = [live(norm, step) for step in steps]
    kept = torch.stack([step.next_obs for step in steps], 2)  # [M, B, T, D]: sequences of B bodies
    assert torch.equal(norm.observe(kept)[:, :, -1], met[-1].next_obs)
    assert not torch.equal(norm.observe(kept)[:, :, 0], met[0].next_obs), "the statistics have moved on"
    reward = torch.stack([step.reward for step in steps], 2)
    assert torch.equal(norm.divide(reward)[:, :, -1], met[-1].reward)
    assert not torch.equal(norm.divide(reward)[:, :, 0], met[0].reward)
    torch.testing.assert_close(norm.multiply(norm.divide(reward)), reward)


def test_saved_statistics_come_back_and_are_copies() -> None:
    keys = {"normalize_obs": True, "normalize_reward": True}
    norm, (first, steps) = normalizer(**keys), stream()
    begin(norm, first)
    live(norm, steps[0])
    state = norm.state()
    kept = {key: value.clone() for key, value in state.items()}
    live(norm, steps[1])
    assert all(torch.equal(state[key], kept[key]) for key in state)
    one = normalizer([2], **keys)
    one.load({key: value[2:3] for key, value in state.items()})
    other = normalizer(**keys)
    other.load(state)
    assert torch.equal(one.observe(first[2:3])[0], other.observe(first)[2])
    with pytest.raises(ValueError, match="do not fit"):
        other.load({key: value[:2] for key, value in state.items()})
    with pytest.raises(ValueError, match="do not fit"):
        normalizer(normalize_obs=True).load(state)


def test_clipping() -> None:
    first, steps = stream()
    norm = normalizer(clip_obs=1.5, clip_reward=0.5)
    assert norm.active and norm.state() == {}
    assert torch.equal(begin(norm, first), first.clamp(-1.5, 1.5))
    given, reward = live(norm, steps[1]), steps[1].reward
    assert torch.equal(given.obs, steps[1].obs.clamp(-1.5, 1.5))
    assert torch.equal(given.reward, steps[1].reward.clamp(-0.5, 0.5))
    assert torch.equal(norm.clip(steps[1].reward), given.reward) and torch.equal(norm.divide(reward), reward)
    norm = normalizer(normalize_obs=True, clip_obs=0.25)
    assert begin(norm, first).abs().max() == 0.25
    norm = normalizer(normalize_reward=True, clip_reward=0.5)
    given = live(norm, steps[1])
    torch.testing.assert_close(norm.divide(norm.clip(steps[1].reward)), given.reward)


def test_rewards_are_scaled_by_what_is_given_and_then_clipped() -> None:
    first, steps = stream()
    norm = normalizer(reward_scale=0.25)
    assert norm.active and norm.state() == {}
    assert torch.equal(begin(norm, first), first)
    given, reward = live(norm, steps[1]), steps[1].reward
    assert torch.equal(given.reward, reward * 0.25) and torch.equal(given.obs, steps[1].obs)
    assert torch.equal(norm.divide(reward), given.reward) and torch.equal(norm.multiply(given.reward), reward)
    clipped = normalizer(reward_scale=0.25, clip_reward=0.1)
    assert (reward.abs() * 0.25).max() > 0.1
    assert torch.equal(live(clipped, steps[1]).reward, (reward * 0.25).clamp(-0.1, 0.1))
    torch.testing.assert_close(clipped.divide(clipped.clip(reward)), live(clipped, steps[1]).reward)


def test_nothing_asked_for_is_nothing_done() -> None:
    norm, (first, steps) = normalizer(), stream()
    assert not norm.active
    given = live(norm, steps[0])
    assert begin(norm, first) is first
    assert given.obs is steps[0].obs and given.reward is steps[0].reward
