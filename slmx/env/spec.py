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


OF_THREADS = "envpool", "ale"  # backends that step their copies in threads
THREADS = "{} steps its copies in threads, which are meta.threads"


class WrapperSpec(Model):
    """A gymnasium wrapper with the keyword arguments it is made with, beside its name."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1, description='a name in slmx.env.wrappers or gymnasium.wrappers, or "module:Class"')


class AtariSpec(Model):
    """How an Atari game is seen and played; the defaults are those of DQN (Mnih et al., 2015, Nature 518).

    Each pixel is the brighter of the last two frames of an action.
    """

    frame_skip: Int = Field(4, ge=1, description="frames of the game for which an action is held: one step")
    stack_num: Int = Field(4, ge=1, description="pictures in an observation, each a step later than the one before")
    img_height: Int = Field(84, ge=1, description="pixels of a picture from top to bottom")
    img_width: Int = Field(84, ge=1, description="pixels of a picture from side to side")
    gray_scale: bool = Field(True, description="pictures in shades of grey, else in three colours")
    noop_max: Int = Field(
        30, ge=1, description="frames without an action before an episode, at most; how many is drawn"
    )
    use_fire_reset: bool = Field(True, description="FIRE is pressed where an episode begins, if the game knows it")
    episodic_life: bool = Field(
        True, description="an episode ends with a life; tables and evaluations count whole games"
    )
    reward_clip: bool = Field(True, description="learn from the sign of rewards; tables count the rewards themselves")
    repeat_action_probability: float = Field(0.0, ge=0, lt=1, description="of the last action, in place of the new one")
    full_action_space: bool = Field(False, description="all 18 actions, else those that do something in the game")


class EnvSpec(Model):
    """One environment: which, for how long, and how its observations and rewards are prepared."""

    name: str = Field(min_length=1, description='a registered id, or "module:Class": an own gymnasium.Env')
    backend: Literal["auto", "envpool", "gymnasium", "ale"] = Field(
        "auto", description="who runs it; auto: envpool or else gymnasium, whichever can"
    )
    max_frame: Int = Field(gt=0, description="environment steps of one member, all its bodies together")
    max_t: Int | None = Field(
        None, gt=0, description="steps within its wrappers until an episode is truncated; null: its own limit"
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="keyword arguments the environment is made with")
    atari: AtariSpec | None = Field(
        None, description="how an Atari game is seen and played; {}: as in DQN; null: as the backend does by itself"
    )
    workers: Int = Field(0, ge=0, description="processes that step its copies, with backend gymnasium; 0: this one")
    wrappers: list[str | WrapperSpec] = Field(default_factory=list, description="gymnasium wrappers, innermost first")
    visible: list[Annotated[Int, Field(ge=0)]] | None = Field(
        None, min_length=1, description="which numbers of an observation agents see, by index; null: all"
    )
    normalize_obs: bool = Field(False, description="observations to running mean 0, variance 1")
    normalize_reward: bool = Field(False, description="rewards by the deviation of the discounted return")
    reward_scale: float = Field(1.0, gt=0, description="of rewards learned from; tables count them as they are")
    clip_obs: float | None = Field(None, gt=0, description="observations to [-c, c], after normalisation")
    clip_reward: float | None = Field(None, gt=0, description="rewards to [-c, c], after scaling or normalisation")

    def conflicts(self) -> dict[str, str]:
        """Keys whose values contradict one another or would do nothing, each with what is wrong."""
        found = {}
        if self.backend in OF_THREADS:
            if self.wrappers:
                found["wrappers"] = 'only the backend "gymnasium" has wrappers'
            if self.workers:
                found["workers"] = THREADS.format(self.backend)
            if ":" in self.name:
                found["backend"] = 'a class of one\'s own ("module:Class") runs on the backend "gymnasium"'
        found |= {f"kwargs.{key}": f"not set here: {RESERVED[key]}" for key in self.kwargs if key in RESERVED}
        if self.atari is not None:
            twice = self.kwargs.keys() & AtariSpec.model_fields
            found |= {f"kwargs.{key}": f"not set here: it is atari.{key}" for key in twice}
            if self.atari.reward_clip and self.clip_reward is not None:
                found["clip_reward"] = "atari.reward_clip clips rewards already"
            for key in ("normalize_reward", "reward_scale"):
                if self.atari.reward_clip and getattr(self, key) != EnvSpec.model_fields[key].default:
                    found[key] = "atari.reward_clip leaves nothing of rewards but their sign"
        if self.normalize_reward and self.reward_scale != 1.0:
            found["reward_scale"] = "normalize_reward divides by their own deviation: their scale does nothing"
        return found

    @property
    def reward_bound(self) -> float | None:
        """The largest reward, either way, to learn from. (Atari's are whole numbers: within 1 they are their signs.)"""
        return 1.0 if self.atari is not None and self.atari.reward_clip else self.clip_reward
