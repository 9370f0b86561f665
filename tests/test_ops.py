"""Literal numbers in, literal numbers out, for every function of ops; torch.distributions as the oracle of dist.

The numbers of the first returns and advantages are the golden values of rlpyt's formulas.
"""

from __future__ import annotations

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slmx import ops
from slmx.dist import Categorical, Categoricals, Gaussian, SquashedGaussian, relaxed_one_hot

GAMMA = torch.tensor([[0.9]], dtype=torch.float64)
LAM = torch.tensor([[0.95]], dtype=torch.float64)


def time(*numbers: float) -> Tensor:
    """One member, one body: `[1, T, 1]`."""
    return torch.tensor(numbers, dtype=torch.float64).view(1, -1, 1)


def flags(*numbers: int) -> Tensor:
    return torch.tensor(numbers, dtype=torch.bool).view(1, -1, 1)


def row(*numbers: float) -> Tensor:
    """One member, N samples: `[1, N]`."""
    return torch.tensor([numbers], dtype=torch.float64)


def close(result: Tensor, *numbers: float) -> None:
    torch.testing.assert_close(result.flatten(), torch.tensor(numbers, dtype=result.dtype))


def test_every_function_is_tested_here() -> None:
    source = inspect.getsource(inspect.getmodule(close))
    names = [name for name, f in vars(ops).items() if inspect.isfunction(f) and f.__module__ == ops.__name__]
    assert names
    assert not [name for name in names if f"ops.{name}(" not in source]


def test_discounted_return() -> None:
    ended = flags(0, 1, 0)
    close(ops.discounted_return(time(1, 2, 3), time(7, 7, 10), ended, ended, GAMMA), 2.8, 2, 12)


def test_discounted_return_bootstraps_at_truncation() -> None:
    done, terminated = flags(0, 1, 0), flags(0, 0, 0)
    close(ops.discounted_return(time(1, 2, 3), time(7, 5, 10), terminated, done, GAMMA), 1 + 0.9 * 6.5, 6.5, 12)


def test_n_step_return() -> None:
    ended = flags(0, 0, 1, 0)
    close(ops.n_step_return(time(1, 2, 3, 4), time(0, 0, 0, 0), ended, ended, GAMMA, 2), 2.8, 4.7, 3, 4)
    # the value of the state reached after two rewards; at the window's end, after one
    result = ops.n_step_return(time(1, 2, 3, 4), time(10, 20, 30, 40), flags(0, 0, 0, 0), flags(0, 0, 0, 0), GAMMA, 2)
    close(result, 2.8 + 0.81 * 20, 4.7 + 0.81 * 30, 6.6 + 0.81 * 40, 4 + 0.9 * 40)
    # the second reward's episode is cut off there: its own value, not that of the episode after
    result = ops.n_step_return(time(1, 2, 3, 4), time(10, 20, 30, 40), flags(0, 0, 0, 0), flags(0, 1, 0, 0), GAMMA, 3)
    close(result, 2.8 + 0.81 * 20, 2 + 0.9 * 20, 6.6 + 0.81 * 40, 4 + 0.9 * 40)


def test_one_step_return_and_a_horizon_longer_than_the_window() -> None:
    ended = flags(0, 1, 0)
    one = ops.n_step_return(time(1, 2, 3), time(10, 10, 10), ended, ended, GAMMA, 1)
    close(one, 10, 2, 12)
    far = ops.n_step_return(time(1, 2, 3), time(10, 10, 10), ended, ended, GAMMA, 99)
    close(far, 2.8, 2, 12)


def test_reward_to_go() -> None:
    close(ops.reward_to_go(time(1, 2, 3), flags(0, 1, 0), GAMMA), 2.8, 2, 3)


def test_gae() -> None:
    ended = flags(0, 1, 0)
    value, following = time(0.5, 1, 1.5), time(1, 1.5, 10)
    close(ops.gae(time(1, 2, 3), value, following, ended, ended, GAMMA, LAM), 2.255, 1, 10.5)


def naive_gae(
    reward: Tensor, value: Tensor, next_value: Tensor, terminated: Tensor, done: Tensor, g: float, lam: float
) -> list[float]:
    """One body of one member, from the definition: a sum of discounted errors up to the episode's end."""
    result = []
    for t in range(len(reward)):
        total = 0.0
        for k in range(t, len(reward)):
            error = float(reward[k]) + (0.0 if terminated[k] else g * float(next_value[k])) - float(value[k])
            total += (g * lam) ** (k - t) * error
            if done[k]:
                break
        result.append(total)
    return result


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 3), st.integers(1, 3))
def test_gae_equals_the_naive_loop(seed: int, t: int, b: int, m: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    reward, value, following = torch.randn(3, m, t, b, generator=generator, dtype=torch.float64)
    terminated = torch.rand(m, t, b, generator=generator) < 0.2
    done = terminated | (torch.rand(m, t, b, generator=generator) < 0.2)
    gamma, lam = torch.rand(2, m, 1, generator=generator, dtype=torch.float64)
    result = ops.gae(reward, value, following, terminated, done, gamma, lam)
    for i in range(m):
        for j in range(b):
            each = (x[i, :, j] for x in (reward, value, following, terminated, done))
            close(result[i, :, j], *naive_gae(*each, gamma[i].item(), lam[i].item()))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_gae_with_lambda_one_is_the_return_and_with_zero_the_one_step_error(seed: int, t: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    reward, value, following = torch.randn(3, 2, t, 3, generator=generator, dtype=torch.float64)
    terminated = torch.rand(2, t, 3, generator=generator) < 0.2
    gamma = torch.tensor([[0.9], [0.5]], dtype=torch.float64)
    # a value function that agrees with itself from step to step, as a network's does
    ends = torch.rand(2, t, 3, generator=generator) < 0.2
    done = terminated | ends
    following[:, :-1] = torch.where(done[:, :-1], following[:, :-1], value[:, 1:])
    one = ops.gae(reward, value, following, terminated, done, gamma, torch.ones_like(gamma))
    torch.testing.assert_close(one + value, ops.discounted_return(reward, following, terminated, done, gamma))
    zero = ops.gae(reward, value, following, terminated, done, gamma, torch.zeros_like(gamma))
    torch.testing.assert_close(zero + value, ops.n_step_return(reward, following, terminated, done, gamma, 1))


def test_n_step_transition() -> None:
    obs = torch.arange(1.0, 4).view(1, 3, 1, 1)
    never = flags(0, 0, 0)
    reward, next_obs, terminated, discount = ops.n_step_transition(time(1, 2, 3), obs, never, never, GAMMA)
    close(reward, 1 + 1.8 + 2.43)
    close(next_obs, 3)
    assert not terminated.any()
    close(discount, 0.729)


@pytest.mark.parametrize("terminal", [True, False])
def test_n_step_transition_stops_at_an_episodes_end(terminal: bool) -> None:
    obs = torch.arange(1.0, 7).view(1, 3, 1, 2)
    done = flags(0, 1, 0)
    ended = done if terminal else flags(0, 0, 0)
    reward, next_obs, terminated, discount = ops.n_step_transition(time(1, 2, 3), obs, ended, done, GAMMA)
    close(reward, 2.8)
    close(next_obs, 3, 4)
    assert terminated.tolist() == [[terminal]]
    close(discount, 0.81)


def test_standardize() -> None:
    close(ops.standardize(row(1, 2, 3, 4)), *(x / math.sqrt(1.25) for x in (-1.5, -0.5, 0.5, 1.5)))
    mask = row(1, 1, 1, 1, 0)
    close(ops.standardize(row(1, 2, 3, 4, 1000), mask), *(x / math.sqrt(1.25) for x in (-1.5, -0.5, 0.5, 1.5, 0)))


def test_standardize_is_zero_where_nothing_differs() -> None:
    close(ops.standardize(row(7, 7)), 0, 0)
    close(ops.standardize(row(7, 7, 8), row(1, 1, 0)), 0, 0, 0)


def test_standardize_leaves_a_single_sample() -> None:
    close(ops.standardize(row(7)), 7)
    close(ops.standardize(row(7, 8), row(1, 0)), 7, 0)


def test_means() -> None:
    x = torch.tensor([[1.0, 2, 6], [4, 5, 9]])
    mask = torch.tensor([[1.0, 1, 0], [0, 0, 0]])
    close(ops.mean(x, None), 3, 6)
    close(ops.mean(x, mask), 1.5, 0)
    close(ops.masked_mean(x, mask), 1.5, 0)


def test_clipped_surrogate() -> None:
    log_ratio = torch.tensor([1.5, 1.5, 0.5, 0.5, 1.1, 0.9], dtype=torch.float64).log()[None]
    advantage = row(2, -2, 2, -2, 2, -2)
    close(ops.clipped_surrogate(log_ratio, advantage, torch.tensor([[0.2]])), -2.4, 3, -1, 1.6, -2.2, 1.8)


def test_squared_errors() -> None:
    close(ops.squared_error(row(1, 5), row(3, 5)), 2, 0)
    eps = torch.tensor([[0.5]])
    # moved beyond eps towards the target: the larger, clipped error counts; away from it: the real error is larger
    close(ops.clipped_squared_error(row(2, -2, 0.25), row(0, 0, 0), row(3, 3, 3), eps), 3.125, 12.5, 0.5 * 2.75**2)


def test_imitation_losses() -> None:
    logp, better = row(-0.5, -2, -1).requires_grad_(), row(2, 0, 3).requires_grad_()
    policy_loss, value_loss = ops.imitation_losses(logp, better)
    close(policy_loss, 1, 0, 3)
    close(value_loss, 2, 0, 4.5)
    (policy_loss + value_loss).sum().backward()
    assert logp.grad is not None and better.grad is not None
    close(logp.grad, -2, 0, -3)
    close(better.grad, 2, 0, 3)  # of the value loss alone


def test_huber() -> None:
    close(ops.huber(row(2, 2.5, 1.5, 3, -1), row(2, 2, 2, 2, 2)), 0, 0.125, 0.125, 0.5, 2.5)
    prediction = row(1.3, 0.7, 6, -4).requires_grad_()
    ops.huber(prediction, torch.ones_like(prediction)).sum().backward()
    assert prediction.grad is not None
    close(prediction.grad, 0.3, -0.3, 1, -1)


FIVE = row(-2, -1, 0, 1, 2)  # a support


def atoms(*probabilities: float) -> Tensor:
    """The distribution of one sample of one member: `[1, 1, K]`."""
    return row(*probabilities)[None]


def test_support_and_expectation() -> None:
    low, high = torch.tensor([[-2.0], [0.0]]), torch.tensor([[2.0], [1.0]])
    close(ops.support(low, high, 5), -2, -1, 0, 1, 2, 0, 0.25, 0.5, 0.75, 1)
    logits = torch.tensor([0.1, 0.2, 0.4, 0.2, 0.1, 0.0, 0.0, 0.5, 0.0, 0.5]).log().view(1, 1, 2, 5)
    close(ops.expectation(logits.expand(2, 1, 2, 5), ops.support(low, high, 5)), 0, 1, 0.5, 0.75)


def test_project() -> None:
    certain, spread = atoms(0, 0, 0, 1, 0), atoms(0.1, 0.2, 0.4, 0.2, 0.1)
    close(ops.project(certain, row(0.5), row(0.9), FIVE), 0, 0, 0, 0.6, 0.4)  # at 1.4
    close(ops.project(spread, row(1), row(0.5), FIVE), 0, 0, 0.2, 0.6, 0.2)  # at 0, 0.5, 1, 1.5, 2
    close(ops.project(spread, row(0), row(1), FIVE), 0.1, 0.2, 0.4, 0.2, 0.1)


def test_project_after_a_termination_is_the_reward_alone() -> None:
    close(ops.project(atoms(0.1, 0.2, 0.4, 0.2, 0.1), row(-0.25), row(0), FIVE), 0, 0.25, 0.75, 0, 0)
    close(ops.project(atoms(0.1, 0.2, 0.4, 0.2, 0.1), row(2), row(0), FIVE), 0, 0, 0, 0, 1)


def test_project_keeps_what_lies_beyond_the_support_at_its_ends() -> None:
    spread = atoms(0.1, 0.2, 0.4, 0.2, 0.1)
    close(ops.project(spread, row(7), row(0.9), FIVE), 0, 0, 0, 0, 1)
    close(ops.project(spread, row(-7), row(0.9), FIVE), 1, 0, 0, 0, 0)
    close(ops.project(spread, row(1.5), row(1), FIVE), 0, 0.05, 0.15, 0.3, 0.5)  # at -0.5, 0.5, 1.5, and beyond


def test_project_of_what_is_not_finite_is_not_a_number() -> None:
    for wrong in (math.nan, math.inf, -math.inf):
        both = ops.project(atoms(0, 0, 0, 1, 0).expand(1, 2, 5), row(wrong, 0.5), row(0.9, 0.9), FIVE)
        assert both[0, 0].isnan().any()
        close(both[0, 1], 0, 0, 0, 0.6, 0.4)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 60))
def test_project_keeps_the_mass_and_the_mean_of_what_is_kept_within_the_support(seed: int, k: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probability = torch.randn(3, 7, k, generator=generator, dtype=torch.float64).softmax(-1)
    reward = 5 * torch.randn(3, 7, generator=generator, dtype=torch.float64)
    bootstrap = torch.rand(3, 7, generator=generator, dtype=torch.float64) * (reward > -2)
    low = torch.tensor([[-1.0], [-10], [0]], dtype=torch.float64)
    support = ops.support(low, torch.tensor([[1.0], [10], [200]], dtype=torch.float64), k)
    result = ops.project(probability, reward, bootstrap, support)
    assert (result >= 0).all()
    torch.testing.assert_close(result.sum(-1), torch.ones(3, 7, dtype=torch.float64))
    moved = (reward[..., None] + bootstrap[..., None] * support[:, None]).clamp(
        support[:, None, :1], support[:, None, -1:]
    )
    torch.testing.assert_close((result * support[:, None]).sum(-1), (probability * moved).sum(-1))


def test_kl_divergence() -> None:
    half, ninth = atoms(0.5, 0.5), atoms(0.9, 0.1)
    close(ops.kl_divergence(half, half.log()), 0)
    close(ops.kl_divergence(half, ninth.log() + 3), 0.5 * math.log(0.25 / 0.09))
    close(ops.kl_divergence(atoms(1, 0), half.log()), math.log(2))  # of an atom without mass nothing is asked
    logits = ninth.log().requires_grad_()
    ops.kl_divergence(half, logits).sum().backward()
    assert logits.grad is not None
    close(logits.grad, 0.4, -0.4)  # the cross-entropy's


def test_flat() -> None:
    assert ops.flat(torch.zeros(2, 3, 4, 5)).shape == (2, 12, 5)
    close(ops.flat(torch.arange(6.0).view(1, 3, 2)), 0, 1, 2, 3, 4, 5)


def test_take_and_pick() -> None:
    x = torch.arange(12.0).view(2, 3, 2)
    index = torch.tensor([[2, 0], [1, 1]])
    assert ops.take(x, index).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
    assert ops.take(x[..., 0], index).tolist() == [[4, 0], [8, 8]]
    assert ops.pick(x, torch.tensor([[0, 1, 0], [1, 0, 1]])).tolist() == [[0, 3, 4], [7, 8, 11]]
    deep = torch.arange(24.0).view(2, 3, 2, 2)
    assert ops.pick(deep, torch.tensor([[0, 1, 0], [1, 0, 1]]))[1].tolist() == [[14, 15], [16, 17], [22, 23]]


def test_categorical_equals_torch() -> None:
    logits = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0))
    own, oracle = Categorical(logits), torch.distributions.Categorical(logits=logits)
    action = torch.randint(4, (3, 50), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(own.log_prob(action), oracle.log_prob(action))
    log_prob, entropy = own.log_prob_entropy(action)
    torch.testing.assert_close(log_prob, oracle.log_prob(action))
    torch.testing.assert_close(entropy, oracle.entropy())
    torch.testing.assert_close(own.log_probs().exp(), oracle.probs)
    assert torch.equal(own.mode(), oracle.mode)


def test_categorical_samples_follow_the_distribution_function() -> None:
    logits = torch.tensor([[[0.1, 0.2, 0.7]]]).log()
    uniform = torch.tensor([[0.0, 0.05, 0.15, 0.29, 0.31, 0.999, 1.0]])
    assert Categorical(logits.expand(1, 7, 3)).sample(uniform).tolist() == [[0, 0, 1, 1, 2, 2, 2]]
    even = (torch.arange(10_000)[None] + 0.5) / 10_000
    drawn = Categorical(logits.expand(1, 10_000, 3)).sample(even)
    assert drawn.flatten().bincount().tolist() == pytest.approx([1000, 2000, 7000], abs=1)


@pytest.mark.parametrize("choices", [(2, 5, 3), (4, 4), (2, 2, 2, 2), (3,), (1, 2)])
def test_categoricals_equal_torch(choices: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(3, 50, sum(choices), generator=generator)).requires_grad_()
    action = torch.stack([torch.randint(n, (3, 50), generator=generator) for n in choices], -1)
    own = Categoricals(logits, choices)
    parts = [torch.distributions.Categorical(logits=part) for part in logits.split(choices, -1)]
    expected = torch.stack([part.log_prob(x) for part, x in zip(parts, action.unbind(-1), strict=True)]).sum(0)
    log_prob, entropy = own.log_prob_entropy(action)
    torch.testing.assert_close(log_prob, expected)
    torch.testing.assert_close(own.log_prob(action), expected)
    torch.testing.assert_close(entropy, torch.stack([part.entropy() for part in parts]).sum(0))
    assert torch.equal(own.mode(), torch.stack([part.mode for part in parts], -1))
    for one, other in ((log_prob, expected), (entropy, torch.stack([part.entropy() for part in parts]))):
        slopes = [torch.autograd.grad(x.sum(), logits, retain_graph=True)[0] for x in (one, other)]
        torch.testing.assert_close(*slopes)
    with torch.no_grad():
        uniform = torch.rand(3, 50, len(choices), generator=generator)
        drawn = Categoricals(logits, choices).sample(uniform)
        each = zip(logits.split(choices, -1), uniform.unbind(-1), strict=True)
        assert torch.equal(drawn, torch.stack([Categorical(part).sample(u) for part, u in each], -1))


def test_bernoullis_are_categoricals_of_two_choices() -> None:
    logits = torch.randn(3, 50, 4, generator=torch.Generator().manual_seed(0))
    action = torch.randint(2, (3, 50, 4), generator=torch.Generator().manual_seed(1))
    both = torch.stack([torch.zeros_like(logits), logits], -1).flatten(-2)
    oracle = torch.distributions.Independent(torch.distributions.Bernoulli(logits=logits), 1)
    log_prob, entropy = Categoricals(both, (2,) * 4).log_prob_entropy(action)
    torch.testing.assert_close(log_prob, oracle.log_prob(action.float()))
    torch.testing.assert_close(entropy, oracle.entropy())


def test_components_choose_nothing_beyond_what_each_has() -> None:
    """Whatever the noise, and where nothing is a number."""
    sure = torch.tensor([[[-50.0, 50.0, 0.0, 0.0, 0.0]]])
    for logits in (torch.zeros(1, 1, 5), sure, torch.full((1, 1, 5), torch.nan)):
        own = Categoricals(logits, (2, 3))
        for number in (0.0, 0.999, 1.0):
            drawn = own.sample(torch.full((1, 1, 2), number))
            assert (drawn < torch.tensor([2, 3])).all() and (drawn >= 0).all()
        assert (own.mode() < torch.tensor([2, 3])).all()
    assert Categoricals(torch.zeros(1, 1, 5), (2, 3)).sample(torch.ones(1, 1, 2)).tolist() == [[[1, 2]]]


def test_gaussian_equals_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    mean, action = torch.randn(2, 3, 50, 4, generator=generator)
    log_std = torch.randn(3, 1, 4, generator=generator)
    own = Gaussian(mean, log_std)
    oracle = torch.distributions.Independent(torch.distributions.Normal(mean, log_std.exp().expand_as(mean)), 1)
    torch.testing.assert_close(own.log_prob(action), oracle.log_prob(action))
    log_prob, entropy = own.log_prob_entropy(action)
    torch.testing.assert_close(log_prob, oracle.log_prob(action))
    torch.testing.assert_close(entropy, oracle.entropy())
    assert torch.equal(own.mode(), mean)
    noise = torch.randn(3, 50, 4, generator=generator)
    torch.testing.assert_close(own.sample(noise), mean + log_std.exp() * noise)


def test_squashed_gaussian_equals_torch_and_stays_finite_at_the_bounds() -> None:
    mean, log_std = torch.tensor([[[0.3, -1.2]]]).double(), torch.tensor([[[-0.5, 0.2]]]).double()
    normal = torch.tensor([[[0.7, -0.4]]]).double()
    own = SquashedGaussian(mean, log_std)
    action, log_prob = own.sample_log_prob(normal)
    base = torch.distributions.Normal(mean, log_std.exp())
    oracle = torch.distributions.TransformedDistribution(base, [torch.distributions.TanhTransform(cache_size=1)])
    torch.testing.assert_close(action, (mean + log_std.exp() * normal).tanh())
    torch.testing.assert_close(log_prob, oracle.log_prob(action).sum(-1))
    torch.testing.assert_close(own.sample(normal), action)
    torch.testing.assert_close(own.mode(), mean.tanh())
    far = torch.full((1, 1, 1), 40.0, requires_grad=True)
    action, log_prob = SquashedGaussian(far, torch.zeros(1, 1, 1)).sample_log_prob(torch.zeros(1, 1, 1))
    (slope,) = torch.autograd.grad(log_prob.sum(), far)
    assert action.item() == 1 and log_prob.isfinite().all() and slope.item() == pytest.approx(2)
    assert SquashedGaussian(mean, log_std + 99).log_std.max() == 2


def test_relaxed_one_hot_draws_in_proportion_and_has_the_gradient_of_a_softmax() -> None:
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(1, 20_000, 3)
    uniform = torch.rand(1, 20_000, 3, generator=torch.Generator().manual_seed(0))
    drawn = relaxed_one_hot(logits, uniform, torch.ones(1, 1, 1))
    torch.testing.assert_close(drawn.mean(1), torch.tensor([[0.1, 0.2, 0.7]]), atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.amax(-1), torch.ones(1, 20_000))
    x = torch.tensor([[[0.3, -0.1]]]).double().requires_grad_()
    noise = torch.tensor([[[0.4, 0.6]]]).double()
    soft = ((x - (-noise.log()).log()) / 0.5).softmax(-1)
    hard = relaxed_one_hot(x, noise, torch.full((1, 1, 1), 0.5).double())
    found, expected = (torch.autograd.grad(y[..., 0].sum(), x)[0] for y in (hard, soft))
    torch.testing.assert_close(found, expected)
    assert relaxed_one_hot(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 0.5]]]), torch.ones(1, 1, 1)).isfinite().all()


def test_rescaled_values() -> None:
    x = torch.tensor([1000.0, -100.0, 0.0, 1e-3, -3.0], dtype=torch.float64)
    expected = torch.tensor([31.638584, -9.149876, 0.0], dtype=torch.float64)
    torch.testing.assert_close(ops.rescale(x)[:3], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(ops.rescale_back(ops.rescale(x)), x)
    torch.testing.assert_close(ops.rescale_back(ops.rescale(x.float())), x.float(), rtol=1e-3, atol=1e-3)


def test_weighted_means_are_each_member_s_own() -> None:
    x = torch.tensor([[1.0, 3.0], [2.0, 6.0]])
    assert ops.weighted_mean(x, None).tolist() == [2.0, 4.0]
    assert ops.weighted_mean(x, torch.tensor([[1.0, 0.5], [0.0, 1.0]])).tolist() == [1.25, 3.0]
