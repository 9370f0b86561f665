"""From what a file says to a typed spec, collecting every error with its place instead of stopping at the first."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from slmx.env.spec import EnvSpec
from slmx.errors import SpecError, SpecErrors, did_you_mean, edit_distance, nearest
from slmx.member.hyper import Hyper
from slmx.plain import join
from slmx.space import resolve
from slmx.spec.model import AgentSpec, ObjectiveSpec, Spec
from slmx.spec.registry import REGISTRIES, Registry, registry_of
from slmx.spec.words import arms, custom, explain, phrase, show

ModelT = TypeVar("ModelT", bound=BaseModel)


def build(name: str, raw: Any, *, idle: bool = True, relations: bool = True) -> Spec:
    """The typed spec of that name, defaults filled in; `raw` is left as it was.

    `idle=False` lets keys stand that do nothing under the others, `relations=False` besides does not ask whether
    values fit one another: for trying one value of a search at a time. SpecErrors holds everything that is wrong.
    """
    spec, errors = attempt(name, raw, idle=idle, relations=relations)
    if spec is None:
        raise SpecErrors(name, errors)
    return spec


def attempt(name: str, raw: Any, *, idle: bool = True, relations: bool = True) -> tuple[Spec | None, list[SpecError]]:
    """The typed spec, or None and all that is wrong with it."""
    builder = _Builder(idle=idle and relations, relations=relations)
    if isinstance(raw, Mapping):
        raw = {"name": name} | copy.deepcopy(dict(raw))
        if raw["name"] != name:
            builder.wrong("name", f"must be {show(name)}, not {show(raw['name'])}", "it is the spec's key in its file")
    spec = builder.model(Spec, raw, "")
    errors = builder.finish()
    return (None, errors) if errors else (spec, [])


def attempt_group(model: type[ModelT], raw: Any, place: str) -> tuple[ModelT | None, list[SpecError]]:
    """A typed group of keys that is not part of a spec, or None and all that is wrong with it."""
    builder = _Builder(idle=True, relations=True)
    built = builder.model(model, raw, place)
    return built, builder.finish()


@dataclass
class _Unknown:
    """A key that is not known at its place, judged when all places have been seen."""

    place: str
    key: str
    known: tuple[str, ...]
    present: frozenset[str]

    def meant(self) -> str | None:
        """The known key nearest in spelling."""
        hits = nearest(self.key, self.known, present=self.present)
        return hits[0] if hits else None


@dataclass
class _Missing:
    """A key without which there is no model."""

    place: str
    key: str
    takes: str


class _Builder:
    """One pass over a raw spec."""

    def __init__(self, idle: bool, relations: bool):
        self.idle, self.relations = idle, relations
        self.found: list[SpecError | _Unknown | _Missing] = []
        self.places: dict[str, tuple[str, ...]] = {}

    def wrong(self, path: str, message: str, hint: str = "") -> None:
        """Note an error and go on."""
        self.found.append(SpecError(path, message, hint))

    def model(self, model: type[ModelT], raw: Any, place: str, registry: Registry | None = None) -> ModelT | None:
        """One closed group of keys, or None where something in it is wrong."""
        if not isinstance(raw, Mapping):
            self.wrong(place, f"must be a mapping of keys, not {show(raw)}")
            return None
        errors_before = len(self.found)
        keys = spec_keys(model, registry)
        self.places[place] = tuple(key for key in keys if place or key != "name")
        for key in raw:
            if key not in keys:
                self.found.append(_Unknown(place, str(key), self.places[place], frozenset(map(str, raw))))
        values, failed = {}, set()
        for key, field in keys.items():
            info = model.model_fields[field]
            if key in raw:
                count = len(self.found)
                values[field] = self.value(key, info.annotation, raw[key], join(place, key))
                if len(self.found) > count:
                    failed.add(field)
            elif info.is_required():
                failed.add(field)
                self.found.append(_Missing(place, key, phrase(info.annotation)))
        built = self.validate(model, values, failed, place, {field: key for key, field in keys.items()})
        if built is None or len(self.found) > errors_before:
            return None
        self.check_relations(built, raw, place)
        return built if len(self.found) == errors_before else None

    def value(self, key: str, annotation: Any, raw: Any, path: str) -> Any:
        """One value: nested groups are built, everything else is left to the type of its field."""
        groups = tuple(arm for arm in arms(annotation) if isinstance(arm, type) and issubclass(arm, BaseModel))
        registry = registry_of(key)
        if registry and any(issubclass(group, Hyper) for group in groups):
            return None if raw is None and type(None) in arms(annotation) else self.component(registry, raw, path)
        if groups and (isinstance(raw, Mapping) or groups == arms(annotation)):
            return self.model(groups[0], raw, path)
        for arm in arms(annotation):
            inner = get_args(arm)[0] if get_origin(arm) is list and get_args(arm) else None
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                if not isinstance(raw, Mapping | list):
                    self.wrong(path, f"must be a mapping or a list of them, not {show(raw)}")
                    return None
                items = raw if isinstance(raw, list) else [raw]
                return [self.model(inner, item, join(path, i)) for i, item in enumerate(items)]
            if get_origin(arm) is tuple and isinstance(raw, list):
                return tuple(raw)
        return raw

    def component(self, registry: Registry, raw: Any, path: str) -> BaseModel | None:
        """The hyperparameters of a class that the spec names."""
        if not isinstance(raw, Mapping):
            example = f'{{"{registry.selector}": "{next(iter(registry.known))}", ...}}'
            self.wrong(path, f"must be a mapping like {example}, not {show(raw)}")
            return None
        selector = registry.selector
        if selector not in raw:
            slips = [k for k in raw if isinstance(k, str) and edit_distance(k.lower(), selector) <= 1]
            if not slips:
                self.found.append(_Missing(path, selector, f"the name of {registry.one}"))
                return None
            self.found.append(_Unknown(path, slips[0], (selector,), frozenset()))
            raw = {selector if key == slips[0] else key: value for key, value in raw.items()}
        try:
            found = registry.find(raw[selector])
        except SpecError as error:
            self.found.append(error.under(join(path, selector)))
            return None
        return self.model(found.Hyper, raw, path, registry)

    def validate(
        self, model: type[ModelT], values: dict[str, Any], failed: set[str], place: str, keys: Mapping[str, str]
    ) -> ModelT | None:
        """Types and bounds of the values that were not found wrong yet."""
        try:
            return model.model_validate({field: value for field, value in values.items() if field not in failed})
        except ValidationError as error:
            by_field: dict[Any, list[ErrorDetails]] = {}
            for detail in error.errors(include_url=False):
                by_field.setdefault(detail["loc"][0] if detail["loc"] else None, []).append(detail)
        for field, details in by_field.items():
            if field in failed:
                continue
            if field not in model.model_fields:  # a validator over the whole model
                for detail in details:
                    self.wrong(place, custom(detail))
            else:
                path = join(place, keys.get(field, field))
                self.found += explain(path, model.model_fields[field].annotation, details, values.get(field))
        return None

    def check_relations(self, built: BaseModel, raw: Mapping[str, Any], place: str) -> None:
        """What the values say about one another."""
        if self.relations and isinstance(built, Hyper | EnvSpec | ObjectiveSpec):
            for key, wrong in built.conflicts().items():
                self.wrong(join(place, key), wrong)
        if self.idle and isinstance(built, Hyper):
            for key, reason in built.idle().items():
                if key in raw:
                    self.wrong(join(place, key), f"does nothing when {reason}")
        if self.relations and isinstance(built, AgentSpec):
            self.check_agent(built, raw, place)
        if self.idle and isinstance(built, Spec):
            given = raw["agent"] if isinstance(raw["agent"], list) else [raw["agent"]]
            for a, agent in enumerate(built.agent):
                self.check_idle(agent, given[a], f"agent.{a}", bodies_of(built, a))

    def check_agent(self, agent: AgentSpec, raw: Mapping[str, Any], place: str) -> None:
        """Whether the parts of an agent go together."""
        name, memory = agent.algorithm.name, agent.memory
        algorithm = REGISTRIES["algorithm"].find(name)
        memories = tuple(algorithm.memories)
        if memories and memory is None:
            self.found.append(_Missing(place, "memory", f'a mapping like {{"name": "{memories[0]}"}}'))
        if memories and agent.net is None:
            self.found.append(_Missing(place, "net", 'a mapping like {"type": "MLP", ...}'))
        if memory is not None and not memories:
            self.wrong(join(place, "memory"), f"does nothing: {name} remembers nothing")
        elif memory is not None and memory.name not in memories and ":" not in memory.name:
            known = f"it learns from {' or '.join(filter(None, (', '.join(memories[:-1]), memories[-1])))}"
            self.wrong(join(place, "memory.name"), f"{name} cannot learn from {memory.name}", known)
        elif memory is not None and agent.net is not None:
            self.check_recurrence(agent, getattr(algorithm, "recurrent", ()), memory.name, place)
        if agent.net is not None and not algorithm.learns:
            self.wrong(join(place, "net"), f"does nothing: {name} learns nothing")
        if algorithm.renorms and agent.net is not None:
            net, registry = getattr(agent.net, "type", ""), REGISTRIES["net"]
            if not getattr(registry.find(net), "renorms", False):
                able = [known for known in registry.known if getattr(registry.find(known), "renorms", False)]
                known = f"those that can: {', '.join(able)}"
                self.wrong(join(place, "net.type"), f"{name} needs a network that normalises batches inside", known)
        if self.idle:
            self.check_idle(agent, raw, place, ())

    def check_recurrence(self, agent: AgentSpec, memories: Sequence[str], memory: str, place: str) -> None:
        """Whether algorithm and memory can do with a recurrent network, or without one; `memories`: those that can."""
        registry, name = REGISTRIES["algorithm"], agent.algorithm.name
        if is_recurrent(agent) and not memories:
            able = [known for known in registry.known if getattr(registry.find(known), "recurrent", ())]
            self.wrong(
                join(place, "net.type"), f"{name} cannot learn with a recurrent network", f"{', '.join(able)} can"
            )
        elif is_recurrent(agent) and memory not in memories and ":" not in memory:
            wrong = f"a recurrent network cannot learn from {memory}"
            self.wrong(join(place, "memory.name"), wrong, f"with {name} it learns from {' or '.join(memories)}")
        elif is_recurrent(agent) and (length := getattr(agent.memory, "sequence_length", None)):
            steps = getattr(agent.algorithm, "num_step_returns", None)
            if steps is not None and steps > length:
                wrong = f"{steps} are more than the {length} steps of memory.sequence_length"
                self.wrong(join(place, "algorithm.num_step_returns"), wrong)
        elif not is_recurrent(agent) and getattr(REGISTRIES["memory"].find(memory), "sequences", False):
            wrong = f"{memory} is for recurrent networks, and {getattr(agent.net, 'type', '')} is none"
            self.wrong(join(place, "memory.name"), wrong)

    def check_idle(self, agent: AgentSpec, raw: Mapping[str, Any], place: str, bodies: Sequence[int]) -> None:
        """Whether anything that is said of an agent does nothing; `bodies` as in `Algorithm.idle`."""
        for path, wrong in idle_keys(agent, bodies).items():
            part, _, key = path.partition(".")
            if key in (raw.get(part) or {}):
                self.wrong(join(place, path), wrong)

    def finish(self) -> list[SpecError]:
        """All that was found, each unknown key with what was probably meant."""
        meant = {(u.place, u.meant()) for u in self.found if isinstance(u, _Unknown)}
        errors = []
        for item in self.found:
            if isinstance(item, _Unknown):
                errors.append(SpecError(join(item.place, item.key), "unknown key", self._suggest(item)))
            elif isinstance(item, SpecError):
                errors.append(item)
            elif (item.place, item.key) not in meant:  # else the misspelt key beside it says it all
                errors.append(SpecError(join(item.place, item.key), "missing key", f"it takes {item.takes}"))
        return errors

    def _suggest(self, unknown: _Unknown) -> str:
        """A near key at the same place, or the place where exactly this key is known."""
        elsewhere = [place for place, keys in self.places.items() if unknown.key in keys and place != unknown.place]
        if elsewhere and unknown.key not in ("name", "type"):
            return f"it belongs in {elsewhere[0] or 'the spec itself'}"
        return did_you_mean(unknown.key, unknown.known, unknown.present)


def bodies_of(spec: Spec, agent: int) -> list[int]:
    """How many bodies an agent has in each of its environments; none where the bodies are not described rightly."""
    try:
        counts = resolve(spec.body, len(spec.agent), len(spec.env)).counts
    except SpecError:
        return []
    return [count for (owner, _), count in counts.items() if owner == agent]


def is_recurrent(agent: AgentSpec) -> bool:
    """Whether an agent's network is recurrent."""
    return agent.net is not None and getattr(REGISTRIES["net"].find(getattr(agent.net, "type", "")), "recurrent", False)


def idle_keys(agent: AgentSpec, bodies: Sequence[int]) -> dict[str, str]:
    """Keys that do nothing beside the agent's other parts, by their path below it, each with what is wrong."""
    registry, name = REGISTRIES["algorithm"], agent.algorithm.name
    algorithm = registry.find(name)
    special = {key for known in registry.classes() for key in known.net_keys}
    unused = sorted(special - set(algorithm.net_keys))
    memory = None if agent.memory is None else REGISTRIES["memory"].find(agent.memory.name)
    idle = algorithm.idle(agent.algorithm, memory, bodies)
    return {f"net.{key}": f"does nothing: {name} does not use it" for key in unused} | {
        path: f"does nothing when {reason}" for path, reason in idle.items()
    }


def spec_keys(model: type[BaseModel], registry: Registry | None = None) -> dict[str, str]:
    """The keys of a group as the spec writes them, each with its field: a net's name is written `type`."""
    fields = {info.serialization_alias or field: field for field, info in model.model_fields.items()}
    if registry is None or registry.selector == "name":
        return fields
    field = fields.pop(registry.selector, "name")
    return {registry.selector: field} | {key: value for key, value in fields.items() if key != "name"}
