"""From a typed spec back to plain data, and what of it fixes the program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from slmx.member.hyper import Hyper, varies
from slmx.member.schedule import Schedule
from slmx.plain import join, put
from slmx.spec.build import bodies_of, build, idle_keys, spec_keys
from slmx.spec.model import AgentSpec, Spec
from slmx.spec.registry import Registry, registry_of
from slmx.spec.words import show

LABELS = frozenset({"name", "search", "agent.*.name"}) | {
    f"meta.{key}"
    for key in (
        *("max_session", "max_trial", "seed", "common_seeds", "max_member", "resources"),
        *("search_spec", "scheduler_spec", "objective", "validate", "ray_address", "storage"),
    )
}
"""Keys that name and repeat a run: sessions that differ in nothing but these and what varies share a program."""


def dump(spec: Spec) -> dict[str, Any]:
    """The spec as plain data with every key that does something, defaults too: `restore(dump(spec)) == spec`."""
    return _group(spec, None, changed_only=False)


def restore(raw: Mapping[str, Any]) -> Spec:
    """The typed spec of such data; SpecErrors where this version of slmx does not accept it."""
    return build(str(raw.get("name", "")), raw)


def changed(spec: Spec) -> dict[str, Any]:
    """The spec as plain data with those keys only that differ from their defaults."""
    return _group(spec, None, changed_only=True)


def with_settings(spec: Spec, settings: Mapping[str, Any]) -> Spec:
    """The spec with other values at dotted paths (`agent.0.algorithm.gamma`), checked like any spec.

    A setting that does nothing beside another one is dropped (a search over both draws them independently), so that
    specs which do the same are the same. SpecErrors for anything else that is wrong.
    """
    return restore(dump(build(spec.name, replaced(spec, settings), idle=False)))


def in_force(spec: Spec, frame: int) -> Spec:
    """The spec as it stands at a frame: with the values of all stages that have begun, and without stages.

    SpecErrors where those values do not fit.
    """
    begun = [stage.settings for stage in spec.meta.stages if stage.frame <= frame]
    bare = spec.model_copy(update={"meta": spec.meta.model_copy(update={"stages": []})}) if spec.meta.stages else spec
    values = {path: value for settings in begun for path, value in settings.items()}
    return with_settings(bare, values) if values else bare


def replaced(spec: Spec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The spec as plain data with other values at dotted paths, not checked."""
    raw = changed(spec) | {"search": {}}
    for path, value in settings.items():
        put(raw, path.split("."), value)
    return raw


def static(spec: Spec) -> str:
    """The part of a spec that fixes the program, as a canonical string: sessions may share one where it is equal.

    Numbers that may vary between members are masked; of a schedule its kind remains.
    """
    return json.dumps(_masked(spec, dump(spec), ""), sort_keys=True)


def difference(one: Any, other: Any, place: str = "") -> str:
    """Where two pieces of plain data first differ, as `path: this, not that`; empty where they are equal."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        keys = dict.fromkeys([*one, *other])
        return next(filter(None, (difference(one.get(k), other.get(k), join(place, k)) for k in keys)), "")
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next(filter(None, (difference(*pair, join(place, i)) for i, pair in pairs)), "")
    return "" if one == other else f"{place}: {show(one)}, not {show(other)}"


def _group(model: BaseModel, registry: Registry | None, changed_only: bool) -> dict[str, Any]:
    """One group of keys; what does nothing is left out."""
    idle = model.idle() if isinstance(model, Hyper) else {}
    result: dict[str, Any] = {}
    for key, field in spec_keys(type(model), registry).items():
        value, info = getattr(model, field), type(model).model_fields[field]
        named = registry is not None and key == registry.selector
        if key in idle or (changed_only and not named and not info.is_required() and value == _default(info)):
            continue
        result[key] = _plain(value, key, changed_only)
    if isinstance(model, Spec):
        for a, agent in enumerate(model.agent):
            for path in idle_keys(agent, bodies_of(model, a)):
                part, _, key = path.partition(".")
                if result["agent"][a].get(part):
                    result["agent"][a][part].pop(key, None)
    return result | (model.model_extra or {})


def _default(info: FieldInfo) -> Any:
    """What a field holds that nothing was said of."""
    return info.default if info.default_factory is None else info.get_default(call_default_factory=True)


def _plain(value: Any, key: str, changed_only: bool) -> Any:
    if isinstance(value, BaseModel):
        return _group(value, registry_of(key) if isinstance(value, Hyper) else None, changed_only)
    if isinstance(value, list | tuple):
        return [_plain(item, key, changed_only) for item in value]
    if isinstance(value, Mapping):
        return {inner: _plain(item, inner, changed_only) for inner, item in value.items()}
    return value


def _masked(model: BaseModel, plain: dict[str, Any], place: str) -> dict[str, Any]:
    """A group as `_group` made it, without labels and with what varies masked."""
    result: dict[str, Any] = {}
    for key, shown in plain.items():
        path, value = join(place, key), getattr(model, key, None)
        if path in LABELS:
            continue
        if key in type(model).model_fields and varies(type(model), key) and value is not None:
            result[key] = {"name": value.name} if isinstance(value, Schedule) else "varies"
        elif isinstance(value, BaseModel):
            result[key] = _masked(value, shown, path)
        elif isinstance(value, list) and value and isinstance(value[0], AgentSpec):
            result[key] = [_masked(item, each, join(path, "*")) for item, each in zip(value, shown, strict=True)]
        else:
            result[key] = shown
    return result
