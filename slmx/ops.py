"""Returns, targets and surrogates: pure functions of tensors.

Time is axis 1; members, bodies and hyperparameters broadcast. Nothing here reduces over members or batch: a loss is per
sample, and the caller names the axis of its mean. `terminated` cuts the bootstrap, `done` (terminated or truncated) the
trace.
"""

from __future__ import annotations

from slmx.lazy import torch


def discounted_return(
    reward: torch.Tensor, next_value: torch.Tensor, terminated: torch.Tensor, done: torch.Tensor, gamma: torch.Tensor
) -> torch.Tensor:
    """Returns `[M, T, B]`, bootstrapped with `next_value` `[M, T, B]` at truncations and at the end of the window."""
    return n_step_return(reward, next_value, terminated, done, gamma, reward.shape[1])


def n_step_return(
    reward: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    done: torch.Tensor,
    gamma: torch.Tensor,
    n: int,
) -> torch.Tensor:
    """n-step returns `[M, T, B]`: at most n rewards, then the value of the state reached (Sutton and Barto, 7.1).

    The sum ends early at an episode's end and at the end of the window, where it bootstraps likewise.
    """
    horizon = reward.shape[1]
    one_step = reward + gamma[..., None] * next_value * ~terminated
    result = one_step.clone()
    for _ in range(1, min(n, horizon)):  # each pass looks one step further
        further = one_step.clone()
        further[:, :-1] = torch.where(done[:, :-1], one_step[:, :-1], reward[:, :-1] + gamma[..., None] * result[:, 1:])
        result = further
    return result


def reward_to_go(reward: torch.Tensor, done: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
    """Discounted rewards from each step to the end of its episode, `[M, T, B]`; no bootstrap (Williams, 1992)."""
    result, later = torch.empty_like(reward), torch.zeros_like(reward[:, 0])
    for t in reversed(range(reward.shape[1])):
        later = reward[:, t] + gamma * later * ~done[:, t]
        result[:, t] = later
    return result


def gae(
    reward: torch.Tensor,
    value: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    done: torch.Tensor,
    gamma: torch.Tensor,
    lam: torch.Tensor,
) -> torch.Tensor:
    """Generalised advantages `[M, T, B]` (Schulman et al., 2015, arXiv:1506.02438); gamma, lam `[M, 1]`."""
    delta = reward + gamma[..., None] * next_value * ~terminated - value
    decay = (gamma * lam)[..., None] * ~done
    advantage, trace = torch.empty_like(reward), torch.zeros_like(reward[:, 0])
    for t in reversed(range(reward.shape[1])):
        trace = torch.addcmul(delta[:, t], decay[:, t], trace)
        advantage[:, t] = trace
    return advantage


def n_step_transition(
    reward: torch.Tensor, next_obs: torch.Tensor, terminated: torch.Tensor, done: torch.Tensor, gamma: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The transition from the first of n steps `[M, n, B, ...]` to the last one of its episode among them.

    Returns reward `[M, B]` (discounted sum), next_obs, terminated, and the discount `[M, B]` of the value that follows.
    """
    total, last_obs, ended = reward[:, -1], next_obs[:, -1], terminated[:, -1]
    discount = gamma.expand_as(total).clone()
    for t in reversed(range(reward.shape[1] - 1)):
        cut = done[:, t]
        total = torch.where(cut, reward[:, t], reward[:, t] + gamma * total)
        ended = torch.where(cut, terminated[:, t], ended)
        discount = torch.where(cut, gamma, gamma * discount)
        last_obs = torch.where(cut.view(*cut.shape, *[1] * (last_obs.dim() - 2)), next_obs[:, t], last_obs)
    return total, last_obs, ended, discount


def standardize(x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Each member's numbers `[M, N]` to mean 0 and standard deviation 1, over the samples of `mask` `[M, N]`.

    The standard deviation is that of the samples themselves (divided by N). A single sample, of which nothing would be
    left to learn from, stays as it is.
    """
    if mask is None:
        return x if x.shape[1] == 1 else (x - x.mean(1, keepdim=True)) / (x.std(1, correction=0, keepdim=True) + 1e-8)
    mean = masked_mean(x, mask)[:, None]
    variance = masked_mean((x - mean).square(), mask)[:, None]
    single = mask.sum(1, keepdim=True) == 1
    return torch.where(single, x, (x - mean) / (variance.sqrt() + 1e-8)) * mask


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Each member's mean `[M]` of `x` `[M, N]` over the samples of `mask` `[M, N]`."""
    return (x * mask).sum(1) / mask.sum(1).clamp(min=1)


def mean(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Each member's mean `[M]` of `x` `[M, N]`, over the samples of `mask` `[M, N]` where there is one."""
    return x.mean(1) if mask is None else masked_mean(x, mask)


def weighted_mean(x: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
    """Each member's mean `[M]` of `x` `[M, N]`, each sample times its weight `[M, N]` where there are weights."""
    return (x if weight is None else weight * x).mean(1)


def clipped_surrogate(log_ratio: torch.Tensor, advantage: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """PPO's policy loss per sample `[M, N]` (Schulman et al., 2017, arXiv:1707.06347); eps `[M, 1]`."""
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - eps, 1 + eps) * advantage)


def imitation_losses(logp: torch.Tensor, better: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Self-imitation's policy and value loss per sample (Oh et al., 2018, arXiv:1806.05635, equations 2 and 3).

    `better`: by how much the return of an action of log-probability `logp` exceeds its state's value, else 0.
    """
    return -logp * better.detach(), 0.5 * better.square()


def squared_error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Half the squared error per sample."""
    return 0.5 * (prediction - target).square()


def clipped_squared_error(
    prediction: torch.Tensor, old: torch.Tensor, target: torch.Tensor, eps: torch.Tensor
) -> torch.Tensor:
    """The larger of the squared errors of a value and of that value kept within eps of the old one, per sample."""
    clipped = old + (prediction - old).clamp(-eps, eps)
    return torch.maximum(squared_error(prediction, target), squared_error(clipped, target))


def huber(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Huber's loss with threshold 1, per sample: the loss whose gradient is the error clipped to [-1, 1]."""
    return torch.nn.functional.huber_loss(prediction, target, reduction="none")


def support(v_min: torch.Tensor, v_max: torch.Tensor, atoms: int) -> torch.Tensor:
    """The returns `[M, K]`, equally far apart, over which a distribution has K atoms; v_min, v_max `[M, 1]`."""
    return v_min + (v_max - v_min) * torch.linspace(0, 1, atoms, dtype=v_min.dtype, device=v_min.device)


def expectation(logits: torch.Tensor, support: torch.Tensor) -> torch.Tensor:
    """The means `[M, N, A]` of distributions with logits `[M, N, A, K]` over a support `[M, K]`."""
    return (logits.softmax(-1) * support[:, None, None]).sum(-1)


def project(
    probability: torch.Tensor, reward: torch.Tensor, bootstrap: torch.Tensor, support: torch.Tensor
) -> torch.Tensor:
    """Distributions `[M, N, K]` of reward + bootstrap * return, given those of the return, over the same support.

    Each atom moves to its new return, which is kept within the support, and its mass goes to the two atoms beside that,
    the nearer the more (Bellemare et al., 2017, arXiv:1707.06887, algorithm 1). reward, bootstrap `[M, N]`; support
    `[M, K]`, K at least 2. What is not finite becomes NaN, not the end of the support.
    """
    last = support.shape[1] - 1
    low, high = support[:, None, :1], support[:, None, -1:]
    moved = reward[..., None] + bootstrap[..., None] * support[:, None]
    place = ((moved.clamp(low, high) - low) * (last / (high - low))).clamp(0, last).where(moved.isfinite(), torch.nan)
    below = place.nan_to_num().long().clamp(max=last - 1)
    above = probability * (place - below)
    result = torch.zeros_like(probability).scatter_add_(-1, below, probability - above)
    return result.scatter_add_(-1, below + 1, above)


def kl_divergence(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """How far distributions of logits `[M, N, K]` are from `target` `[M, N, K]`, per sample, in nats.

    It is their cross-entropy without what no logits could take away, so its gradient is the cross-entropy's.
    """
    return torch.nn.functional.kl_div(logits.log_softmax(-1), target, reduction="none").sum(-1)


def rescale(x: torch.Tensor, eps: float = 1e-3) -> torch.Tensor:
    """h(x) = sign(x) (sqrt(|x| + 1) - 1) + eps x: about the root of a value (Pohlen et al., 2018, arXiv:1805.11593)."""
    return x.sign() * ((x.abs() + 1).sqrt() - 1) + eps * x


def rescale_back(x: torch.Tensor, eps: float = 1e-3) -> torch.Tensor:
    """The inverse of `rescale`."""
    root = (1 + 4 * eps * (x.abs() + 1 + eps)).sqrt()
    return x.sign() * (((root - 1) / (2 * eps)).square() - 1)


def flat(x: torch.Tensor) -> torch.Tensor:
    """`[M, T, B, ...]` to `[M, T * B, ...]`."""
    return x.flatten(1, 2)


def take(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Each member's own samples `index` `[M, K]` of `x` `[M, N, ...]`: `[M, K, ...]`."""
    members, n = x.shape[:2]
    rows = (index + torch.arange(members, device=x.device)[:, None] * n).flatten()
    return x.reshape(members * n, *x.shape[2:]).index_select(0, rows).view(*index.shape, *x.shape[2:])


def pick(x: torch.Tensor, choice: torch.Tensor) -> torch.Tensor:
    """The entry `choice` `[M, N]` of the third axis of `x` `[M, N, A, ...]`: `[M, N, ...]`."""
    index = choice.view(*choice.shape, *[1] * (x.dim() - 2))
    return x.gather(2, index.expand(-1, -1, 1, *x.shape[3:])).squeeze(2)
