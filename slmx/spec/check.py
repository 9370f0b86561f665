"""Everything that can be known to be wrong with a spec before it runs, all at once and without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmx.env import describe, filmable
from slmx.env.spec import EnvSpec
from slmx.errors import SpecError, SpecErrors, counted
from slmx.metric import RAW_COLUMNS, TRIAL_METRICS
from slmx.space import resolve
from slmx.spec.build import bodies_of, is_recurrent
from slmx.spec.dump import static, with_settings
from slmx.spec.load import attempt_file, in_spec, pick
from slmx.spec.model import MetaSpec, Spec, ValidateSpec
from slmx.spec.registry import REGISTRIES
from slmx.spec.search_space import SearchSpace, search_space

if TYPE_CHECKING:
    from slmx.env.base import Spaces
    from slmx.space import Space

NO_MEAN = "returns have no mean over several environments"
PREPARATIONS = ("visible", "normalize_obs", "normalize_reward", "reward_scale", "clip_obs", "clip_reward")
"""Keys of an environment that change what its agents see and learn from, and nothing else."""


def check_file(
    path: Path | str,
    name: str | None = None,
    variables: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Spec]:
    """All specs of a file, or the one of that name; SpecErrors holds everything that is wrong in any of them.

    SlmxError where the file as a whole cannot be read or has no such spec.
    """
    specs, errors = attempt_file(path, name and pick(path, name, variables), variables, overrides)
    for key, spec in specs.items():
        errors += [in_spec(key, error) for error in problems(spec)]
    if errors:
        raise SpecErrors(str(path), errors)
    return specs


def check_one(
    path: Path | str,
    name: str | None = None,
    variables: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Spec:
    """The spec of that name, or the only one of the file, ready to run; errors as `check_file`."""
    name = pick(path, name, variables)
    return check_file(path, name, variables, overrides)[name]


def problems(spec: Spec) -> list[SpecError]:
    """What is wrong with a spec whose keys are right: its search, its bodies, its environments, and how they fit."""
    searched, errors = search_space(spec)
    if searched.domains and not errors:
        errors += _search(spec, searched)
    errors += [*_stages(spec, searched), *_models(spec), *_video(spec), *_amp(spec)]
    space = None
    try:
        space = resolve(spec.body, len(spec.agent), len(spec.env))
    except SpecError as error:
        errors.append(error.under("body"))
    described: dict[int, Spaces] = {}
    for e, env in enumerate(spec.env):
        try:
            described[e] = describe(env)
        except SpecError as error:
            errors.append(error.under(f"env.{e}"))
    if space is not None:
        errors += _actions(spec, space, described)
        errors += _observations(spec, space, described)
        errors += _sequences(spec, space, described)
        errors += _views(spec, described)
        errors += _rollouts(spec)
        errors += _unlearned(spec, space)
        errors += _unseen(spec, space)
        if len(described) == len(spec.env):
            try:
                space.layout([described[e].slots for e in range(len(spec.env))])
            except SpecError as error:
                errors.append(error.under("body"))
    return errors


def _search(spec: Spec, space: SearchSpace) -> list[SpecError]:
    """What a search could not do as it is told."""
    meta, errors = spec.meta, []
    searcher = REGISTRIES["search_spec"].find(meta.search_spec.name)
    wrong_keys = searcher.misfits(meta.search_spec, space)
    errors += [SpecError(f"meta.search_spec.{key}", message) for key, message in wrong_keys.items()]
    if meta.scheduler_spec is not None:
        errors += _scheduler(spec, space)
    sessions = counted(meta.max_session, "session")
    if meta.max_member != "auto" and meta.max_member < meta.max_session:
        message, hint = f"{meta.max_member} is less than the {sessions} of a trial", 'set it to as many, or to "auto"'
        errors.append(SpecError("meta.max_member", message, hint))
    if meta.objective.aggregate == "lcb" and meta.max_session < 2:
        errors.append(SpecError("meta.objective.aggregate", "one seed has no interval", "set meta.max_session >= 2"))
    errors += _goals(spec)
    if meta.validation is not None and meta.validation.top:
        errors += _validation(meta, meta.validation)
    if meta.device == "cuda" and not meta.resources.gpu:
        errors.append(SpecError("meta.resources.gpu", 'meta.device "cuda" needs a GPU or a share of one', "e.g. 0.25"))
    return errors


def _goals(spec: Spec) -> list[SpecError]:
    """Objectives that have no number, that failures would make better, or that stand twice."""
    errors = []
    for path, goal in spec.meta.goals.items():
        if _several(spec) and goal.metric in RAW_COLUMNS + TRIAL_METRICS[:2]:
            hint = 'choose one without a unit, like "max_strength_corrected"'
            errors.append(SpecError(f"{path}.metric", f"{goal.metric} has no mean over several environments", hint))
        if goal.mode == "min" and goal.metric in TRIAL_METRICS:
            wrong = f"failed seeds make {goal.metric} less, so with less being better they would win"
            errors.append(SpecError(f"{path}.mode", wrong, 'use "max", or a metric that each seed has by itself'))
        if goal is not spec.meta.objective and goal.metric == spec.meta.objective.metric:
            errors.append(SpecError(f"{path}.metric", f"{goal.metric} is meta.objective already"))
    return errors


def _validation(meta: MetaSpec, validation: ValidateSpec) -> list[SpecError]:
    """What the validation of a search could not do as it is told."""
    errors = []
    if meta.max_member != "auto" and meta.max_member < validation.sessions:
        sessions = counted(validation.sessions, "session")
        wrong = f"the {sessions} of a setting are one program, but meta.max_member is {meta.max_member}"
        errors.append(SpecError("meta.validate.sessions", wrong, "set fewer, or validate null for none"))
    try:
        validation.seed_after(meta.seed)
    except SpecError as error:
        errors.append(error)
    return errors


def _scheduler(spec: Spec, space: SearchSpace) -> Iterator[SpecError]:
    """What a search's scheduler could not do."""
    hp = spec.meta.scheduler_spec
    kind = REGISTRIES["scheduler_spec"].find(getattr(hp, "name", None))
    yield from kind.misfits(hp, spec, space)
    first = min(kind(hp, spec).pauses(), default=spec.env[0].max_frame)
    if (spec.meta.log_frequency or spec.env[0].max_frame // 100) > first:
        wrong = f"settings are judged at frame {first}, before there is a row of any table"
        yield SpecError("meta.log_frequency", wrong, f"at most {first}")
    for a, agent in enumerate(spec.agent):
        memory = None if agent.memory is None else REGISTRIES["memory"].find(agent.memory.name)
        if not kind.alone and memory is not None and not (hasattr(memory, "keep") and hasattr(memory, "clone")):
            wrong = f"{getattr(hp, 'name', '')} moves members, which this memory has no keep and clone for"
            yield SpecError(f"agent.{a}.memory.name", wrong, "see slmx.member.axis.Membered")


def _stages(spec: Spec, space: SearchSpace) -> Iterator[SpecError]:
    """Stages that could not begin, or do not fit."""
    stages, last = spec.meta.stages, spec.env[0].max_frame
    searched = {domain.path for domain in space.domains}
    before = 0
    for i, stage in enumerate(stages):
        place = f"meta.stages.{i}"
        if not before < stage.frame < last:
            wrong = f"must be after frame {before} and before the end of the training at {last}, not {stage.frame}"
            yield SpecError(f"{place}.frame", wrong)
        before = max(before, stage.frame)
        for path, value in stage.settings.items():
            here = f"{place}.settings.{path}"
            if path in searched:
                yield SpecError(here, "is searched, but has its own value from there on")
            elif path.partition(".")[0] != "agent":
                yield SpecError(here, "cannot change in mid-training", "only numbers of agents can")
            else:
                yield from (SpecError(here, wrong.message, wrong.hint) for wrong in _changed(spec, path, value))


def _models(spec: Spec) -> Iterator[SpecError]:
    """Models that could not be kept as they are asked for, or would be but the one that is kept anyway."""
    save, every, last = spec.meta.save, spec.meta.eval_frequency, max(env.max_frame for env in spec.env)
    if isinstance(save, int) and save >= last:
        yield SpecError("meta.save", f"keeps nothing but the model of the end: {save} is not less than {last} frames")
    if save in ("best", "all"):
        if every is None or every >= last:
            wrong = "there is no evaluation before that of the end, whose model is kept anyway"
            yield SpecError("meta.save", wrong, f"set meta.eval_frequency to less than {last}")
        if _several(spec):
            wrong = f"which model is best cannot be told: {NO_MEAN}"
            yield SpecError("meta.save", wrong, "keep one every so many frames: give their number")


def _video(spec: Spec) -> Iterator[SpecError]:
    """Films that nobody would make, or could."""
    video, last = spec.meta.video, max(env.max_frame for env in spec.env)
    if video is None:
        return
    if not (video.frequency or video.best or video.end):
        yield SpecError("meta.video", "films nothing", "set frequency, best or end, or video null for none")
    if video.frequency and video.frequency >= last:
        wrong = f"films nothing before the end: {video.frequency} is not less than {last} frames"
        yield SpecError("meta.video.frequency", wrong, "leave it out, and set end")
    if video.best and not spec.meta.eval_frequency:
        wrong = "there is no evaluation before that of the end"
        yield SpecError("meta.video.best", wrong, "set meta.eval_frequency, or end instead")
    if video.best and _several(spec):
        yield SpecError("meta.video.best", f"which model is best cannot be told: {NO_MEAN}", "set frequency")
    for session in video.session:
        if session < 0 or session >= spec.meta.max_session:
            sessions = counted(spec.meta.max_session, "session")
            yield SpecError("meta.video.session", f"there is no session {session}: a trial has {sessions}, from 0")
    if video.search and not search_space(spec)[0].domains:
        yield SpecError("meta.video.search", "does nothing: nothing is searched")
    for e, env in enumerate(spec.env):
        try:
            describe(env)
        except SpecError:
            continue  # that is told with the environments
        try:
            filmable(env)
        except SpecError as error:
            yield SpecError("meta.video", f"env.{e}: {error}", "without films set video null")


def _views(spec: Spec, described: Mapping[int, Spaces]) -> Iterator[SpecError]:
    """Pictures of what networks see that there would be none of; `described`: what is known of which environments."""
    every, last = spec.meta.save_state_img, max(env.max_frame for env in spec.env)
    if every is None:
        return
    if every > last:
        wrong = f"takes no picture: {every} is more than {last} frames"
        yield SpecError("meta.save_state_img", wrong, "set it to fewer, or to null for none")
    shapes = {e: spaces.obs_space.shape for e, spaces in described.items()}
    if len(shapes) == len(spec.env) and not any(len(shape) == 3 for shape in shapes.values()):
        seen = ", ".join(f"{spec.env[e].name} (env.{e}) shows {shape[0]} numbers" for e, shape in shapes.items())
        yield SpecError("meta.save_state_img", f"there are no images: {seen}", "set it to null")


def _amp(spec: Spec) -> Iterator[SpecError]:
    """Mixed precision where there is nothing to mix."""
    if not spec.meta.amp:
        return
    if spec.meta.dtype != "float32":
        wrong = f"mixes float32 with bfloat16, but meta.dtype is {spec.meta.dtype}"
        yield SpecError("meta.amp", wrong, "leave one of them out")
    if not any(REGISTRIES["algorithm"].find(agent.algorithm.name).learns for agent in spec.agent):
        yield SpecError("meta.amp", "does nothing: nobody learns")


def _several(spec: Spec) -> bool:
    """Whether there are environments of several kinds."""
    return len({env.name for env in spec.env}) > 1


def _changed(spec: Spec, path: str, value: Any) -> list[SpecError]:
    """Why a key cannot take another value in mid-training; empty where it can."""
    bare = spec.model_copy(update={"meta": spec.meta.model_copy(update={"stages": []})})
    try:
        if static(with_settings(bare, {path: value})) != static(bare):
            return [SpecError(path, "cannot change in mid-training: it makes another program")]
    except SpecErrors as error:
        return list(error.errors)
    except KeyError:
        return [SpecError(path, "there is no such key")]
    return []


def _actions(spec: Spec, space: Space, described: Mapping[int, Spaces]) -> list[SpecError]:
    """Agents whose algorithm cannot act in an environment they live in."""
    from gymnasium.spaces import Box

    errors = []
    for a, e in sorted({(body.agent, body.env) for body in space.bodies}):
        if e not in described:
            continue
        hyper, registry, actions = spec.agent[a].algorithm, REGISTRIES["algorithm"], described[e].action_space
        name, algorithm, kind = hyper.name, registry.find(hyper.name), described[e].kind
        where = f"{spec.env[e].name} (env.{e})"
        if kind not in algorithm.actions:
            able = [known for known in registry.known if kind in registry.find(known).actions and known != "Random"]
            hint = f"{kind} actions are taken by {', '.join(able)}"
            several = f" ({counted(len(choices), 'choice')} at once)" if (choices := described[e].choices) else ""
            errors.append(
                SpecError(
                    f"agent.{a}.algorithm.name",
                    f"{name} cannot act in {where}, whose actions are {kind}{several}",
                    hint,
                )
            )
            continue
        errors += [
            SpecError(f"agent.{a}.algorithm.{key}", f"does not fit {where}: {wrong}")
            for key, wrong in algorithm.unfit(hyper, kind).items()
        ]
        if described[e].obs_space.dtype.kind == "u" and not algorithm.sees(kind):
            wrong = f"{name} takes no images where actions are {kind}, and {where} shows some"
            errors.append(SpecError(f"agent.{a}.algorithm.name", wrong, "A2C and PPO do"))
        if algorithm.squashes and isinstance(actions, Box) and not actions.is_bounded():
            wrong = f"{name} acts within bounds, and actions of {where} have none"
            errors.append(SpecError(f"agent.{a}.algorithm.name", wrong, "A2C and PPO do without"))
    return errors


def _observations(spec: Spec, space: Space, described: Mapping[int, Spaces]) -> Iterator[SpecError]:
    """Networks and memories that cannot take what their agents observe; one's own need not say what they take."""
    for a, e in sorted(space.counts):
        for part in ("net", "memory"):
            hyper, registry = getattr(spec.agent[a], part), REGISTRIES[part]
            kind = None if hyper is None else registry.find(getattr(hyper, registry.selector))
            misfits = getattr(kind, "misfits", None)
            if e in described and misfits is not None:
                for key, wrong in misfits(hyper, described[e].obs_space.shape).items():
                    yield SpecError(f"agent.{a}.{part}.{key}", f"{wrong} ({spec.env[e].name}, env.{e})")


def _sequences(spec: Spec, space: Space, described: Mapping[int, Spaces]) -> Iterator[SpecError]:
    """Sequences to learn from that are longer than any episode."""
    for a, e in sorted(space.counts):
        length = getattr(spec.agent[a].memory, "sequence_length", 0)
        limit = described[e].max_t if e in described else None
        if limit is not None and length > limit:
            wrong = (
                f"{length} steps are more than any episode of {spec.env[e].name} (env.{e}) has: it ends after {limit}"
            )
            yield SpecError(f"agent.{a}.memory.sequence_length", wrong)


def _rollouts(spec: Spec) -> list[SpecError]:
    """Algorithms whose settings do not fit the number of their bodies."""
    errors = []
    for a, agent in enumerate(spec.agent):
        kind, bodies = REGISTRIES["algorithm"].find(agent.algorithm.name), bodies_of(spec, a)
        misfits = kind.misfits(agent.algorithm, bodies)
        if not misfits and is_recurrent(agent):
            misfits = kind.misfits_of_sequences(agent.algorithm, bodies)
        errors += [SpecError(f"agent.{a}.algorithm.{key}", wrong) for key, wrong in misfits.items()]
    return errors


def _unlearned(spec: Spec, space: Space) -> Iterator[SpecError]:
    """Algorithms that would learn nothing before their training is over."""
    steps = space.steps([env.max_frame for env in spec.env])
    for a, agent in enumerate(spec.agent):
        kind = REGISTRIES["algorithm"].find(agent.algorithm.name)
        memory = None if agent.memory is None else REGISTRIES["memory"].find(agent.memory.name)
        lived = [count for (owner, _), count in steps.items() if owner == a]
        for key, wrong in kind.unlearned(agent.algorithm, memory, bodies_of(spec, a), lived).items():
            yield SpecError(f"agent.{a}.algorithm.{key}", f"nothing would be learned: {wrong}")


def _unseen(spec: Spec, space: Space) -> list[SpecError]:
    """Preparations of observations and rewards that nobody learns from."""
    registry, errors = REGISTRIES["algorithm"], []
    for e, env in enumerate(spec.env):
        living = [spec.agent[a].algorithm.name for a, where in space.counts if where == e]
        if not any(registry.find(name).learns for name in living):
            errors += [
                SpecError(f"env.{e}.{key}", f"does nothing: {', '.join(dict.fromkeys(living))} learns nothing")
                for key in PREPARATIONS
                if getattr(env, key) != EnvSpec.model_fields[key].default
            ]
    return errors
