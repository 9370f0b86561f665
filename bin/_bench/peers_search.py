"""The search of the bench as others do it with stable-baselines3, in their own virtual environment.

python peers_search.py {tune|optuna} SETTINGS FRAMES prints the frames of all, the best mean greedy return of a
setting, and how many were tried, as JSON. Each library has its best arrangement: workers start once and import torch
once, and nothing is logged.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor

from settings import CORES, EVALUATION, SEEDS, SPACE

Setting = dict[str, float]


def train(setting: Setting, seed: int, frames: int) -> tuple[int, float]:
    """Train one seed of one setting; how many frames that took, and the mean return of its greedy episodes."""
    import torch
    from peers import sb3_ppo
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)
    model = sb3_ppo("CartPole-v1", seed, **setting)
    model.learn(frames)
    # an environment an episode: fewest passes through the network
    mean, _ = evaluate_policy(model, make_vec_env("CartPole-v1", EVALUATION, seed=seed + 1000), EVALUATION)
    return model.num_timesteps, float(mean)


def search_with_tune(settings: int, frames: int) -> list[tuple[int, float]]:
    """Ray Tune's random search. A trial is a setting, its seeds one after the other, in an actor that is used again."""
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0"}
    import ray
    from ray import tune
    from ray.tune.search import BasicVariantGenerator

    class Trainable(tune.Trainable):
        def setup(self, config: Setting) -> None:
            self.setting = config

        def reset_config(self, new_config: Setting) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, object]:
            seeds = [train(self.setting, seed, frames) for seed in range(SEEDS)]
            mean = statistics.mean(score for _, score in seeds)
            return {"done": True, "frames": sum(count for count, _ in seeds), "score": mean}

    with tempfile.TemporaryDirectory(prefix="slmx") as folder:
        ray.init(
            address="local", num_cpus=CORES, include_dashboard=False, log_to_driver=False,
            logging_level=logging.CRITICAL, object_store_memory=100 * 2**20, _temp_dir=folder,
        )  # fmt: skip
        tuner = tune.Tuner(
            tune.with_resources(Trainable, {"cpu": 1}),
            param_space={key: getattr(tune, kind)(*bounds) for key, (kind, *bounds) in SPACE.items()},
            tune_config=tune.TuneConfig(
                search_alg=BasicVariantGenerator(random_state=0), num_samples=settings, max_concurrent_trials=CORES,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=folder, verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)
            ),
        )  # fmt: skip
        results = [result.metrics for result in tuner.fit()]
        ray.shutdown()
    return [(metrics["frames"], metrics["score"]) for metrics in results]


def search_with_optuna(settings: int, frames: int) -> list[tuple[int, float]]:
    """A study in memory, which asks for all settings at once, over processes that each take one seed after another."""
    import optuna
    import peers  # noqa: F401  # torch is imported once, before the processes part

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(settings)]
    results = []
    with ProcessPoolExecutor(CORES, multiprocessing.get_context("fork")) as pool:
        asked = [[pool.submit(train, suggested(trial), seed, frames) for seed in range(SEEDS)] for trial in trials]
        for trial, seeds in zip(trials, asked, strict=True):
            ended = [seed.result() for seed in seeds]
            score = statistics.mean(score for _, score in ended)
            study.tell(trial, score)
            results.append((sum(count for count, _ in ended), score))
    return results


def suggested(trial: object) -> Setting:
    """What a trial of Optuna is to try."""
    return {
        key: trial.suggest_float(key, *bounds, log="log" in kind)  # type: ignore[attr-defined]
        for key, (kind, *bounds) in SPACE.items()
    }


if __name__ == "__main__":
    library, settings, frames = sys.argv[1:]
    search = {"tune": search_with_tune, "optuna": search_with_optuna}[library]
    found = search(int(settings), int(frames))
    best = max(score for _, score in found)
    print(json.dumps({"frames": sum(count for count, _ in found), "best": best, "settings": len(found)}))
