"""The hyperparameters of every contender. The peers import this too, so it does without slmx."""

from __future__ import annotations

from typing import Any

GAMMA = 0.99
ATARI = {"Pong-v5": "PongNoFrameskip-v4"}  # the same game by its name in envpool and in gymnasium
HIDDEN = [64, 64]
PPO = {
    "envs": 8,
    "horizon": 128,
    "minibatch": 256,
    "epochs": 4,
    "lr": 3e-4,
    "clip": 0.2,
    "lam": 0.95,
    "entropy": 0.01,
    "value": 0.5,
    "max_grad_norm": 0.5,
}
PONG = PPO | {"lr": 2.5e-4, "clip": 0.1}  # of PPO's; the network is the one of Mnih et al., 2015
A2C = {"envs": 8, "horizon": 16, "lr": 7e-4, "lam": 0.95, "entropy": 0.01, "value": 0.5, "max_grad_norm": 0.5}
DQN = {
    "lr": 1e-3,
    "memory": 10_000,
    "batch": 64,
    "train_every": 4,
    "target_every": 500,
    "learning_starts": 1000,
    "explore": (1.0, 0.05, 5000),  # from, to, over so many frames
    "max_grad_norm": 10.0,
}
SAC = {"lr": 1e-3, "memory": 10_000, "batch": 64, "polyak": 0.005, "learning_starts": 1000}
# A search: what is drawn, by the name of the function that draws it, and how each setting is tried.
SPACE = {"lr": ("loguniform", 1e-4, 1e-2), "gamma": ("uniform", 0.9, 0.999), "entropy": ("loguniform", 1e-4, 1e-1)}
SEEDS = 4
EVALUATION = 20  # greedy episodes at the end of each training
CORES = 2  # programs or processes at once, each with one torch thread


def spec(algorithm: str, env: str, frames: int, backend: str = "envpool") -> dict[str, Any]:
    """The spec of one contender, as a spec file has it."""
    if algorithm == "DQN":
        start, end, steps = DQN["explore"]
        schedule = {"name": "linear_decay", "start_val": start, "end_val": end, "start_step": 0, "end_step": steps}
        agent = {
            "algorithm": {
                "name": "DQN",
                "gamma": GAMMA,
                "explore_var": schedule,
                "update_frequency": DQN["target_every"],
                "training_start_step": DQN["learning_starts"],
                "training_frequency": DQN["train_every"],
            },
            "memory": {"name": "Replay", "max_size": DQN["memory"], "batch_size": DQN["batch"]},
            "net": _net("relu", DQN),
        }
        bodies = 1
    elif algorithm == "SAC":
        learning = {"name": "SAC", "gamma": GAMMA, "polyak_coef": SAC["polyak"]}
        agent = {
            "algorithm": learning | {"training_start_step": SAC["learning_starts"]},
            "memory": {"name": "Replay", "max_size": SAC["memory"], "batch_size": SAC["batch"]},
            "net": _net("relu", SAC),
        }
        bodies = 1
    else:
        setting = setting_of(algorithm, env)
        learning = {
            "name": algorithm,
            "gamma": GAMMA,
            "lam": setting["lam"],
            "entropy_coef": setting["entropy"],
            "val_loss_coef": setting["value"],
            "time_horizon": setting["horizon"],
        }
        if algorithm == "PPO":
            learning |= {
                "clip_eps": setting["clip"],
                "minibatch_size": setting["minibatch"],
                "training_epoch": setting["epochs"],
            }
        net = _images(setting) if env in ATARI else _net("tanh", setting)
        agent = {"algorithm": learning, "memory": {"name": "Rollout"}, "net": net}
        bodies = setting["envs"]
    return {
        "agent": [{"name": algorithm.lower(), **agent}],
        "env": [{"name": env, "max_frame": frames, "backend": backend} | ({"atari": {}} if env in ATARI else {})],
        "body": {"product": "outer", "num": bodies},
        "meta": {"max_session": 1, "eval_episode": 1, "threads": 1},
    }


def setting_of(algorithm: str, env: str) -> dict[str, Any]:
    """What an algorithm that learns from rollouts is to be run with in an environment."""
    return PONG if env in ATARI else {"PPO": PPO, "A2C": A2C}[algorithm]


def search_spec(settings: int, frames: int) -> dict[str, Any]:
    """The spec of a search over so many settings of PPO on CartPole, the spec's own among them."""
    raw = spec("PPO", "CartPole-v1", frames, "auto")
    raw["meta"] = {"max_session": SEEDS, "max_trial": settings - 1, "eval_episode": EVALUATION, "validate": None}
    paths = {"lr": "net.optim_spec.lr", "gamma": "algorithm.gamma", "entropy": "algorithm.entropy_coef"}
    raw["search"] = {f"agent.0.{paths[key]}__{kind}": list(bounds) for key, (kind, *bounds) in SPACE.items()}
    return raw


def _net(activation: str, setting: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "MLP",
        "hid_layers": HIDDEN,
        "hid_layers_activation": activation,
        "clip_grad_val": setting.get("max_grad_norm"),
        "optim_spec": {"name": "Adam", "lr": setting["lr"]},
    }


def _images(setting: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "ConvNet",
        "conv_layers": [[32, 8, 4], [64, 4, 2], [64, 3, 1]],
        "hid_layers": [512],
        "shared": True,
        "clip_grad_val": setting["max_grad_norm"],
        "optim_spec": {"name": "Adam", "lr": setting["lr"]},
    }
