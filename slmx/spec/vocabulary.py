"""Every key that a spec may hold, from the typed fields themselves: for `slmx list` and the JSON Schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from slmx.env.spec import AtariSpec, EnvSpec, WrapperSpec
from slmx.member.hyper import varies
from slmx.member.schedule import Schedule
from slmx.spec.benchmark import KEY, BenchmarkEnvSpec, BenchmarkSpec, EnvListsSpec
from slmx.spec.build import spec_keys
from slmx.spec.model import (
    AgentSpec,
    BodySpec,
    MetaSpec,
    ObjectiveSpec,
    ResourceSpec,
    Spec,
    StageSpec,
    ValidateSpec,
    VideoSpec,
)  # fmt: skip
from slmx.spec.registry import REGISTRIES, Registry, registry_of
from slmx.spec.search_space import ARGUMENTS, LISTS, SUFFIXES
from slmx.spec.words import arms, phrase, show

COMPOSED = (AgentSpec, MetaSpec)
"""Groups whose components are chosen by name."""


@dataclass(frozen=True)
class Key:
    """One key: what it takes, what it is where it is not given (None: it must be), and what it means.

    `varies`: whether it may differ between the members of one program.
    """

    name: str
    takes: str
    default: str | None
    doc: str
    varies: bool


@dataclass(frozen=True)
class Entry:
    """One group of keys: an algorithm, a net, ...; `doc` is one line."""

    name: str
    doc: str
    keys: tuple[Key, ...]


def vocabulary() -> dict[str, list[Entry]]:
    """All groups by section: the components of an agent, then agent, env, wrapper, body, meta, schedules and search."""
    sections = {
        registry.plural: [
            _entry(name, registry.find(name).Hyper, registry, registry.find(name).__doc__) for name in registry.known
        ]
        for registry in REGISTRIES.values()
    }
    models = {"agent": AgentSpec, "env": EnvSpec, "atari": AtariSpec, "wrapper": WrapperSpec, "body": BodySpec}
    models |= {"meta": MetaSpec, "stage": StageSpec, "schedule": Schedule}
    models |= {"objective": ObjectiveSpec, "validate": ValidateSpec, "resources": ResourceSpec}
    models |= {"video": VideoSpec}
    sections |= {name: [_entry(name, model, None, model.__doc__)] for name, model in models.items()}
    parts = {KEY: BenchmarkSpec, f"{KEY}.env": EnvListsSpec, f"{KEY}.env.discrete": BenchmarkEnvSpec}
    sections[KEY] = [_entry(name, model, None, model.__doc__) for name, model in parts.items()]
    kinds = [Key(f"__{kind}", "a list of values", None, "one of the values", False) for kind in LISTS]
    kinds += [Key(f"__{k}", f"[{', '.join(args)}]", None, f"as ray.tune.{k}", False) for k, args in ARGUMENTS.items()]
    return sections | {"search": [Entry("search", "Suffixes of searched keys; a bare list is a grid.", tuple(kinds))]}


def _entry(name: str, model: type[BaseModel], registry: Registry | None, doc: str | None) -> Entry:
    keys = []
    for key, field in spec_keys(model, registry).items():
        if registry is not None and key == registry.selector:
            continue
        info = model.model_fields[field]
        nested = registry_of(key) if model in COMPOSED or registry is not None else None
        takes = f'{{"{nested.selector}": one of {", ".join(nested.known)}}}' if nested else phrase(info.annotation)
        default = info.get_default(call_default_factory=True)
        plain = default.model_dump() if isinstance(default, BaseModel) else default
        shown = None if info.is_required() else show(plain)
        keys.append(Key(key, takes, shown, info.description or "", varies(model, field)))
    return Entry(name, (doc or "").strip().partition("\n")[0], tuple(keys))


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of spec files, with every registered class."""
    definitions: dict[str, Any] = {}
    search = {
        "type": "object",
        "description": f"searched keys, nested or dotted, with a suffix: {', '.join(f'__{s}' for s in SUFFIXES)}",
    }
    for key, registry in REGISTRIES.items():
        names = [f"{key}.{name}" for name in registry.known]
        for name, place in zip(registry.known, names, strict=True):
            found = registry.find(name)
            schema = _schema(found.Hyper, registry, definitions)
            schema["properties"][registry.selector] = {"const": name, "description": f"which {registry.noun}"}
            schema["required"] = [registry.selector, *schema.get("required", [])]
            definitions[place] = schema | {"description": (found.__doc__ or "").strip().partition("\n")[0]}
        own = {
            "type": "object",
            "description": f"{registry.one} of one's own, by its import path",
            "properties": {registry.selector: {"type": "string", "pattern": "^[^:]+:[^:]+$"}},
            "required": [registry.selector],
        }
        definitions[key] = {"oneOf": [{"$ref": f"#/$defs/{place}"} for place in names] + [own]}
    for name, model in {"agent": AgentSpec, "env": EnvSpec, "body": BodySpec, "meta": MetaSpec}.items():
        definitions[name] = _schema(model, None, definitions)
    either = {
        name: {"oneOf": [ref, {"type": "array", "items": ref, "minItems": 1}]}
        for name in ("agent", "env")
        for ref in [{"$ref": f"#/$defs/{name}"}]
    }
    inner = {"body": {"$ref": "#/$defs/body"}, "meta": {"$ref": "#/$defs/meta"}, "search": search}
    docs = {key: Spec.model_fields[key].description for key in ("agent", "env", "body", "meta")}
    definitions["spec"] = {
        "type": "object",
        "properties": {
            key: {**value, "description": docs.get(key, value.get("description"))}
            for key, value in {**either, **inner}.items()
        }
        | {"variants": {"type": "array", "items": {"type": "object"}, "minItems": 1}},
        "if": {"required": ["variants"]},
        "then": {},
        "else": {"required": ["agent", "env"]},
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slmx spec file",
        "type": "object",
        "additionalProperties": {
            "if": {"required": [KEY]},
            "then": _benchmark_schema(definitions),
            "else": {"$ref": "#/$defs/spec"},
        },
        "$defs": definitions,
    }


def _benchmark_schema(definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a benchmark with the short forms in which it may be written."""
    definitions[KEY] = _schema(BenchmarkSpec, None, definitions)
    names = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
    definitions[KEY]["properties"]["algorithm"]["additionalProperties"]["additionalProperties"] = names
    one = {"oneOf": [{"type": "string"}, {"$ref": "#/$defs/BenchmarkEnvSpec"}]}
    for listed in definitions["EnvListsSpec"]["properties"].values():
        listed |= {"oneOf": [*one["oneOf"], {"type": "array", "items": one}]}
        for key in ("type", "items"):
            listed.pop(key)
    keys = {KEY: {"$ref": f"#/$defs/{KEY}"}}
    return {"type": "object", "properties": keys, "required": [KEY], "additionalProperties": False}


def _schema(model: type[BaseModel], registry: Registry | None, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of one group; what it refers to goes to `definitions`."""
    schema = _standard(model.model_json_schema())
    definitions |= {name: each for name, each in schema.pop("$defs", {}).items() if name not in ("Hyper", "NamedHyper")}
    keys = spec_keys(model, registry)
    schema["properties"] = {key: schema["properties"][field] for key, field in keys.items()}
    for key in schema["properties"]:
        nested = registry_of(key) if model in COMPOSED or registry is not None else None
        if nested is not None:
            table = next(name for name, known in REGISTRIES.items() if known is nested)
            description = schema["properties"][key].get("description", "")
            refers: dict[str, Any] = {"$ref": f"#/$defs/{table}"}
            if type(None) in arms(model.model_fields[keys[key]].annotation):
                refers = {"anyOf": [refers, {"type": "null"}]}
            schema["properties"][key] = refers | {"description": description}
    schema.pop("title", None)
    return schema


def _standard(schema: Any) -> Any:
    """pydantic leaves bounds that stand beside a validator in its own words."""
    words = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
    if isinstance(schema, dict):
        return {words.get(key, key) if _is_number(value) else key: _standard(value) for key, value in schema.items()}
    return [_standard(item) for item in schema] if isinstance(schema, list) else schema


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
