"""Other libraries on the same task with the same hyperparameters, in their own virtual environment.

python peers.py {stable-baselines3|cleanrl} {PPO|DQN|SAC} ENV FRAMES prints frames and seconds as JSON. The loops called
cleanrl do in plain torch what CleanRL's ppo.py and dqn.py do (https://github.com/vwxyzjn/cleanrl), step for step.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from settings import ATARI, DQN, GAMMA, HIDDEN, PPO, SAC, setting_of
from torch import nn


def sb3_ppo(env: str, seed: int, lr: float | None = None, gamma: float = GAMMA, entropy: float = PPO["entropy"]) -> Any:
    """stable-baselines3's PPO, ready to learn."""
    import stable_baselines3 as sb3
    from stable_baselines3.common.env_util import make_vec_env

    setting = setting_of("PPO", env)
    if env in ATARI:
        policy, envs, options = "CnnPolicy", atari(ATARI[env], setting["envs"], seed), {}
    else:
        policy, envs = "MlpPolicy", make_vec_env(env, setting["envs"], seed=seed)
        options = {"policy_kwargs": {"net_arch": HIDDEN, "activation_fn": nn.Tanh}}
    return sb3.PPO(
        policy,
        envs,
        learning_rate=setting["lr"] if lr is None else lr,
        n_steps=setting["horizon"],
        batch_size=setting["minibatch"],
        n_epochs=setting["epochs"],
        gamma=gamma,
        gae_lambda=setting["lam"],
        clip_range=setting["clip"],
        ent_coef=entropy,
        vf_coef=setting["value"],
        max_grad_norm=setting["max_grad_norm"],
        seed=seed,
        device="cpu",
        **options,
    )


def atari(env: str, count: int, seed: int) -> Any:
    """Copies of a game, seen and played as in DQN."""
    import ale_py
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gym.register_envs(ale_py)
    return VecFrameStack(make_atari_env(env, count, seed=seed), 4)


def replaying(env: str, setting: dict[str, Any]) -> dict[str, Any]:
    """What stable-baselines3's algorithms with a replay memory share."""
    from stable_baselines3.common.env_util import make_vec_env

    return {
        "policy": "MlpPolicy",
        "env": make_vec_env(env, 1, seed=0),
        "learning_rate": setting["lr"],
        "buffer_size": setting["memory"],
        "learning_starts": setting["learning_starts"],
        "batch_size": setting["batch"],
        "gamma": GAMMA,
        "device": "cpu",
    }


def stable_baselines3(algorithm: str, env: str, frames: int) -> Callable[[], Any]:
    """A model's `learn`, ready to be called."""
    import stable_baselines3 as sb3

    if algorithm == "PPO":
        model: Any = sb3_ppo(env, 0)
    elif algorithm == "SAC":
        model = sb3.SAC(tau=SAC["polyak"], policy_kwargs={"net_arch": HIDDEN}, **replaying(env, SAC))
    else:
        start, end, steps = DQN["explore"]
        model = sb3.DQN(
            train_freq=DQN["train_every"],
            gradient_steps=1,
            target_update_interval=DQN["target_every"],
            exploration_initial_eps=start,
            exploration_final_eps=end,
            exploration_fraction=min(1.0, steps / frames),
            max_grad_norm=DQN["max_grad_norm"],
            policy_kwargs={"net_arch": HIDDEN, "activation_fn": nn.ReLU},
            **replaying(env, DQN),
        )
    return lambda: model.learn(frames)


def cleanrl(algorithm: str, env: str, frames: int) -> Callable[[], Any]:
    """A training loop, ready to be called."""
    loop, count = (cleanrl_ppo, PPO["envs"]) if algorithm == "PPO" else (cleanrl_dqn, 1)
    make = lambda: gym.wrappers.RecordEpisodeStatistics(gym.make(env))
    envs = SyncVectorEnv([make] * count, autoreset_mode=AutoresetMode.SAME_STEP)
    return lambda: loop(envs, frames)


def cleanrl_ppo(envs: SyncVectorEnv, frames: int) -> None:
    """CleanRL's ppo.py: separate actor and critic, annealed learning rate, normalised advantages, clipped values."""

    def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
        linear = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(linear.weight, gain)
        nn.init.zeros_(linear.bias)
        return linear

    def mlp(outputs: int, gain: float) -> nn.Sequential:
        sizes = [envs.single_observation_space.shape[0], *HIDDEN]
        hidden = [m for a, b in pairwise(sizes) for m in (layer(a, b), nn.Tanh())]
        return nn.Sequential(*hidden, layer(sizes[-1], outputs, gain))

    horizon, count = PPO["horizon"], envs.num_envs
    batch = horizon * count
    actor, critic = mlp(envs.single_action_space.n, 0.01), mlp(1, 1.0)
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=PPO["lr"], eps=1e-5)
    obs = torch.zeros((horizon, count, *envs.single_observation_space.shape))
    actions, logps, rewards, dones, values = (torch.zeros((horizon, count)) for _ in range(5))
    next_obs, next_done = torch.tensor(envs.reset(seed=0)[0]), torch.zeros(count)
    updates = frames // batch
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = (1 - update / updates) * PPO["lr"]
        for t in range(horizon):
            obs[t], dones[t] = next_obs, next_done
            with torch.no_grad():
                policy = torch.distributions.Categorical(logits=actor(next_obs))
                action = policy.sample()
                logps[t], values[t], actions[t] = policy.log_prob(action), critic(next_obs).flatten(), action
            successor, reward, terminated, truncated, _ = envs.step(action.numpy())
            rewards[t] = torch.tensor(reward)
            next_obs, next_done = torch.tensor(successor), torch.tensor(terminated | truncated, dtype=torch.float32)
        with torch.no_grad():
            next_value, last = critic(next_obs).flatten(), torch.zeros(count)
            advantages = torch.zeros_like(rewards)
            for t in reversed(range(horizon)):
                alive = 1 - (next_done if t == horizon - 1 else dones[t + 1])
                following = next_value if t == horizon - 1 else values[t + 1]
                delta = rewards[t] + GAMMA * following * alive - values[t]
                advantages[t] = last = delta + GAMMA * PPO["lam"] * alive * last
            returns = advantages + values
        b_obs, b_actions, b_logps = obs.flatten(0, 1), actions.flatten(), logps.flatten()
        b_advantages, b_returns, b_values = advantages.flatten(), returns.flatten(), values.flatten()
        order = np.arange(batch)
        for _ in range(PPO["epochs"]):
            np.random.shuffle(order)  # noqa: NPY002 as there
            for start in range(0, batch, PPO["minibatch"]):
                i = order[start : start + PPO["minibatch"]]
                policy = torch.distributions.Categorical(logits=actor(b_obs[i]))
                log_ratio = policy.log_prob(b_actions[i]) - b_logps[i]
                ratio = log_ratio.exp()
                with torch.no_grad():
                    _ = ((ratio - 1) - log_ratio).mean().item(), ((ratio - 1).abs() > PPO["clip"]).float().mean().item()
                advantage = b_advantages[i]
                advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                clipped = ratio.clamp(1 - PPO["clip"], 1 + PPO["clip"])
                policy_loss = torch.max(-advantage * ratio, -advantage * clipped).mean()
                value = critic(b_obs[i]).flatten()
                near = b_values[i] + (value - b_values[i]).clamp(-PPO["clip"], PPO["clip"])
                value_loss = 0.5 * torch.max((value - b_returns[i]) ** 2, (near - b_returns[i]) ** 2).mean()
                loss = policy_loss - PPO["entropy"] * policy.entropy().mean() + PPO["value"] * value_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, PPO["max_grad_norm"])
                optimizer.step()


def cleanrl_dqn(envs: SyncVectorEnv, frames: int) -> None:
    """CleanRL's dqn.py: one environment, epsilon-greedy, squared error, no gradient clipping."""
    shape, choices = envs.single_observation_space.shape, envs.single_action_space.n

    def mlp() -> nn.Sequential:
        sizes = [shape[0], *HIDDEN]
        hidden = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*hidden, nn.Linear(sizes[-1], choices))

    online, target = mlp(), mlp()
    target.load_state_dict(online.state_dict())
    optimizer = torch.optim.Adam(online.parameters(), lr=DQN["lr"])
    size, rng = DQN["memory"], np.random.default_rng(0)
    memory_obs, memory_next = np.zeros((2, size, *shape), np.float32)
    memory_action, memory_reward, memory_done = np.zeros(size, np.int64), *np.zeros((2, size), np.float32)
    explore, floor, steps = DQN["explore"]
    obs, _ = envs.reset(seed=0)
    for frame in range(frames):
        if rng.random() < max(floor, explore + (floor - explore) * frame / steps):
            action = np.array([envs.single_action_space.sample()])
        else:
            action = online(torch.tensor(obs)).argmax(1).numpy()
        next_obs, reward, terminated, truncated, ended = envs.step(action)
        successor = np.stack(ended["final_obs"]) if truncated.any() else next_obs
        at = frame % size
        memory_obs[at], memory_next[at] = obs[0], successor[0]
        memory_action[at], memory_reward[at], memory_done[at] = action[0], reward[0], terminated[0]
        obs = next_obs
        if frame < DQN["learning_starts"]:
            continue
        if frame % DQN["train_every"] == 0:
            i = rng.integers(0, min(frame + 1, size), DQN["batch"])
            with torch.no_grad():
                best = target(torch.tensor(memory_next[i])).amax(1)
                goal = torch.tensor(memory_reward[i]) + GAMMA * best * (1 - torch.tensor(memory_done[i]))
            q = online(torch.tensor(memory_obs[i])).gather(1, torch.tensor(memory_action[i])[:, None]).flatten()
            loss = nn.functional.mse_loss(goal, q)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if frame % DQN["target_every"] == 0:
            target.load_state_dict(online.state_dict())


if __name__ == "__main__":
    library, algorithm, env, frames = sys.argv[1:]
    torch.set_num_threads(1)
    train = {"stable-baselines3": stable_baselines3, "cleanrl": cleanrl}[library](algorithm, env, int(frames))
    start = time.perf_counter()
    train()
    print(json.dumps({"frames": int(frames), "seconds": time.perf_counter() - start}))
