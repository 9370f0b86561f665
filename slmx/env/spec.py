"""The spec's keys for an environment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from slmx.member.hyper import Int, Model

RESERVED = {
    "max_episode_steps": 'the time limit is "max_t"',
    "render_mode": "rendering is asked for where a model is played",
    "seed": 'seeds derive from "meta.seed"',
    "env_seed": 'seeds derive from "meta.seed"',
    "num_envs": 'the number of copies is "body.num"',
    "batch_size": "all sub-environments step together",
    "num_threads": 'threads are "meta.threads"',
}


class WrapperSpec(Model):
    """A gymnasium wrapper with the keyword arguments it is made with, beside its name."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, description='a name in gymnasium.wrappers, or "module:Class"')


class EnvSpec(Model):
    """One environment: which, for how long, and how its observations and rewards are prepared."""

    name: str = Field(min_length=1, description='a registered id, or "module:Class": an own gymnasium.Env')
    backend: Literal["auto", "envpool", "gymnasium"] = Field(
        "auto", description="who runs it; auto: the first that can"
    )
    max_frame: Int = Field(gt=0, description="environment steps of one member, all its bodies together")
    max_t: Int | None = Field(None, gt=0, description="steps until an episode is truncated; null: its own limit")
    kwargs: dict[str, Any] = Field(default_factory=dict, description="keyword arguments the environment is made with")
    wrappers: list[str | WrapperSpec] = Field(default_factory=list, description="gymnasium wrappers, innermost first")
    visible: list[Annotated[Int, Field(ge=0)]] | None = Field(
        None, min_length=1, description="which numbers of an observation agents see, by index; null: all"
    )
    normalize_obs: bool = Field(False, description="observations to running mean 0, variance 1")
    normalize_reward: bool = Field(False, description="rewards by the deviation of the discounted return")
    clip_obs: float | None = Field(None, gt=0, description="observations to [-c, c], after normalisation")
    clip_reward: float | None = Field(None, gt=0, description="rewards to [-c, c], after normalisation")

    def conflicts(self) -> dict[str, str]:
        """Keys whose values contradict one another or would do nothing, each with what is wrong."""
        found = {}
        if self.backend == "envpool" and self.wrappers:
            found["wrappers"] = 'only the backend "gymnasium" has wrappers'
        if self.backend == "envpool" and ":" in self.name:
            found["backend"] = 'a class of one\'s own ("module:Class") runs on the backend "gymnasium"'
        found |= {f"kwargs.{key}": f"not set here: {RESERVED[key]}" for key in self.kwargs if key in RESERVED}
        return found
