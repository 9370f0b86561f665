"""The typed spec: agents, environments, bodies and what is to be done with them. Closed: there are no other keys."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SerializeAsAny, field_validator

from slmx.env.spec import EnvSpec
from slmx.errors import SpecError, did_you_mean
from slmx.member.hyper import Hyper, Int, Model, NamedHyper
from slmx.member.streams import seed_sequence
from slmx.metric import METRICS, TRIAL_METRICS
from slmx.spec.registry import REGISTRIES
from slmx.storage import URI

NAME = re.compile(r'(?![. ])[^\x00-\x1f/\\:*?"<>|]+(?<! )')
LONGEST_NAME = 200  # bytes, of the 255 that a file name may have


def file_name(name: str) -> str:
    """A name that files and folders can be called by. ValueError for any other."""
    if not NAME.fullmatch(name):
        raise ValueError(
            "folders are called by this name: it may not be empty, begin with a dot, begin or end with a blank, or "
            'have any of / \\ : * ? " < > | or a line break in it'
        )
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"folders are called by this name: it may have {LONGEST_NAME} bytes, not {len(name.encode())}")
    return name


class AgentSpec(Model):
    """One agent: how it learns, what it remembers and what it thinks with."""

    name: str = Field(description="what graphs call it where there are several agents")
    algorithm: SerializeAsAny[NamedHyper] = Field(description="how it learns, by `name`")
    memory: SerializeAsAny[NamedHyper] | None = Field(None, description="what it learns from, by `name`")
    net: SerializeAsAny[Hyper] | None = Field(None, description="its network, by `type`")


class BodySpec(Model):
    """Which agent has how many bodies in which environment: the AEB space."""

    product: Literal["outer", "inner", "custom"] = Field(
        "outer", description="outer: all agents in all environments; inner: agent i in environment i; custom: as listed"
    )
    num: Int | list[Int] | list[list[Int]] = Field(
        1, description="bodies per agent and environment: a number, one per environment, or [agent, env, body] (custom)"
    )


class GoalSpec(Model):
    """One number of each trial, and which way is up."""

    metric: str = Field("final_return", description="a fitness column of experiment.csv")
    mode: Literal["max", "min"] = Field("max", description="whether more of it is better, or less")

    @field_validator("metric")
    @classmethod
    def _is_known(cls, metric: str) -> str:
        if metric not in METRICS:
            hint = did_you_mean(metric, METRICS) or f"known: {', '.join(METRICS)}"
            raise ValueError(f'unknown metric "{metric}"; {hint}')
        return metric


class ObjectiveSpec(GoalSpec):
    """What a search looks for: one number of each trial."""

    aggregate: Literal["mean", "iqm", "worst", "lcb"] = Field(
        "mean", description="over seeds: mean, interquartile mean, worst seed, or the worse end of the 95 % interval"
    )

    def conflicts(self) -> dict[str, str]:
        """Keys whose values contradict one another, each with what is wrong."""
        if self.metric in TRIAL_METRICS and self.aggregate != "mean":
            return {"aggregate": f"does nothing: all seeds have one {self.metric} together"}
        return {}


class ResourceSpec(Model):
    """What one program of a search gets of the machine."""

    cpu: float = Field(1.0, gt=0, description="cores; so many programs run at once as there are cores for")
    gpu: float = Field(0.0, ge=0, description="GPUs, or a share of one")


class ValidateSpec(Model):
    """How the best settings of a search are trained again, on seeds that the search has not seen."""

    top: Int = Field(3, ge=0, description="how many of the best settings, beside the spec's own; 0: no validation")
    sessions: Int = Field(10, ge=2, description="fresh sessions (seeds) of each")
    seed: Int | None = Field(None, ge=0, description="their meta.seed; by default one derived from that of the search")

    def seed_after(self, tuning: int) -> int:
        """The seed, disjoint from that of the search. SpecError where it is the search's own."""
        if self.seed == tuning:
            hint = "choose another, or leave it out"
            raise SpecError("meta.validate.seed", f"{tuning} is meta.seed, on whose seeds settings are chosen", hint)
        if self.seed is not None:
            return self.seed
        drawn = int(seed_sequence(tuning, 0, 0, "validation").generate_state(1)[0])
        return drawn + (drawn == tuning)


class StageSpec(Model):
    """Values that take the place of others in mid-training."""

    frame: Int = Field(ge=1, description="frame of the first environment where they begin; environments begin anew too")
    settings: dict[str, Any] = Field(
        min_length=1, description="values by dotted path, of numbers that may differ between sessions"
    )


class VideoSpec(Model):
    """Films of greedy episodes, made beside a training, of which they change nothing."""

    frequency: Int | None = Field(None, ge=1, description="frames between films; null: none on the way")
    best: bool = Field(False, description="film each model whose evaluation is the best so far")
    end: bool = Field(True, description="film the model of the end")
    session: list[Int] = Field([0], min_length=1, description="the sessions of a trial that are filmed")
    search: bool = Field(False, description="film the trials of a search too, beside each program")


class MetaSpec(Model):
    """How often and where the spec is run, and what is recorded."""

    max_session: Int = Field(4, ge=1, description="sessions (seeds) of a trial")
    max_trial: Int = Field(16, ge=1, description="settings that a search draws for each combination of its grid")
    seed: Int = Field(0, ge=0, description="from which every random stream is derived")
    common_seeds: bool = Field(
        False, description="trials of a search have the same random streams, and differ by their settings alone"
    )
    log_frequency: Int | None = Field(None, ge=1, description="frames per table row; by default max_frame / 100")
    eval_episode: Int = Field(20, ge=1, description="greedy episodes of an evaluation")
    eval_frequency: Int | None = Field(None, ge=1, description="frames between evaluations; by default only at the end")
    save: Literal["last", "best", "all"] | Annotated[Int, Field(ge=1)] = Field(
        "last",
        description="which models of a session are kept: that of its end, always; best: of its best evaluation too; "
        "a number: those at its multiples in frames, which are evaluated; all: best, and that of every evaluation",
    )
    video: VideoSpec | None = Field(None, description="which models are filmed, into the trial's video/; null: none")
    save_state_img: Int | None = Field(
        None,
        ge=1,
        description="frames between pictures (PNG) of what each session's networks see, where that is images, into the "
        "trial's img/; null: none",
    )
    checkpoint_frequency: Int | None = Field(
        500_000, ge=1, description="frames between checkpoints: environments begin anew at each; null: none"
    )
    stages: list[StageSpec] = Field(
        [], description="values that begin at later frames: what the best of a population went through"
    )
    device: Literal["cpu", "cuda", "auto"] = Field("cpu", description="where to compute")
    dtype: Literal["float32", "float64"] = Field("float32", description="the precision of the learning")
    amp: bool = Field(False, description="networks and losses in bfloat16 where that is safe; all else stays float32")
    threads: Int = Field(1, ge=1, description="torch threads of a program")
    search_spec: SerializeAsAny[NamedHyper] = Field(
        default_factory=lambda: REGISTRIES["search_spec"].find("random").Hyper(name="random"),
        description="who chooses the settings of a search, by `name`",
    )
    scheduler_spec: SerializeAsAny[NamedHyper] | None = Field(
        None, description="who lets settings leave a search early, or changes them, by `name`; null: nobody"
    )
    objective: ObjectiveSpec = Field(
        default_factory=lambda: ObjectiveSpec.model_validate({}), description="what a search looks for"
    )
    validation: ValidateSpec | None = Field(
        default_factory=lambda: ValidateSpec.model_validate({}), serialization_alias="validate",
        description="the test of a search's best settings on fresh seeds; null: none",
    )  # fmt: skip
    max_member: Literal["auto"] | Annotated[Int, Field(ge=1)] = Field(
        "auto", description="sessions that a search trains as one program at most; auto: by the networks' sizes"
    )
    resources: ResourceSpec = Field(
        default_factory=lambda: ResourceSpec.model_validate({}), description="cores and GPUs of a search's program"
    )
    ray_address: str | None = Field(
        None,
        description="HOST:PORT of the Ray cluster on which to search; by default, or local, a Ray of one's own",
    )
    storage: str | None = Field(
        None,
        description="the folder for results where --data names none, by default data, which a cluster's nodes share; "
        "or a URI, s3://bucket/folder, to which they are copied",
    )

    @field_validator("ray_address")
    @classmethod
    def _is_address(cls, address: str | None) -> str | None:
        if address not in (None, "local") and not re.fullmatch(r"[\w.:\[\]-]+:\d+", address):
            raise ValueError('must be HOST:PORT of a Ray cluster, as `ray start --head` prints it, or "local"')
        return address

    @field_validator("storage")
    @classmethod
    def _is_folder(cls, storage: str | None) -> str | None:
        if storage == "":
            raise ValueError("must be a folder, or a URI")
        if storage is not None and (uri := URI.match(storage)):
            import fsspec

            protocol, known = uri["protocol"], fsspec.available_protocols()
            if protocol not in known:
                hint = did_you_mean(protocol, known) or f"known: {', '.join(known)}"
                raise ValueError(f'"{protocol}" is no kind of URI that is known here; {hint}')
        return storage

    @property
    def goals(self) -> dict[str, GoalSpec]:
        """All that a search looks for, by path: meta.objective, and what its searcher weighs beside it."""
        beside: list[GoalSpec] = getattr(self.search_spec, "objectives", [])
        return {"meta.objective": self.objective} | {
            f"meta.search_spec.objectives.{i}": goal for i, goal in enumerate(beside)
        }


class Spec(Model):
    """One spec of a file: `{name: {agent, env, body, meta, search}}`."""

    name: Annotated[str, AfterValidator(file_name)] = Field(description="the spec's key in its file")
    agent: list[AgentSpec] = Field(min_length=1, description="the agents")
    env: list[EnvSpec] = Field(min_length=1, description="the environments")
    body: BodySpec = Field(
        default_factory=lambda: BodySpec.model_validate({}), description="which agent lives where, how often"
    )
    meta: MetaSpec = Field(
        default_factory=lambda: MetaSpec.model_validate({}), description="repetition, recording, machine"
    )
    search: dict[str, Any] = Field({}, description="which keys to search, and over what")
