"""The `search` block: which keys of a spec are searched, each over a domain of values. Knows no searcher.

The block mirrors the spec's tree, uses dotted paths, or both; the last part of a path carries the domain's kind as a
suffix: `gamma__uniform: [0.9, 0.999]`. Kinds are the sampling functions of Ray Tune by name, with the same arguments; a
list without suffix is a grid. Every combination of the grids is tried `meta.max_trial` times with all else drawn anew.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from slmx.errors import SpecError, did_you_mean, nearest
from slmx.member.hyper import Hyper
from slmx.plain import join
from slmx.spec.build import attempt, spec_keys
from slmx.spec.dump import replaced
from slmx.spec.model import Spec
from slmx.spec.registry import registry_of
from slmx.spec.words import show

LISTS = ("choice", "grid_search")
ARGUMENTS = {
    "uniform": ("low", "high"),
    "quniform": ("low", "high", "q"),
    "loguniform": ("low", "high"),
    "qloguniform": ("low", "high", "q"),
    "randint": ("low", "high"),
    "qrandint": ("low", "high", "q"),
    "lograndint": ("low", "high"),
    "qlograndint": ("low", "high", "q"),
    "randn": ("mean", "sd"),
    "qrandn": ("mean", "sd", "q"),
}
"""Arguments of each kind. `high` belongs to the domain only where values are rounded to `q`."""

ALIASES = {"normal": "randn", "qnormal": "qrandn"}
SUFFIXES = (*LISTS, *ARGUMENTS, *ALIASES)
COMBINATIONS = 512  # of settings that are tried when a search is checked; beyond, a fixed sample of them


@dataclass(frozen=True)
class Domain:
    """The values that one key may take: `kind` is the name of the function in ray.tune, `args` its arguments.

    For choice and grid_search `args` are the values. `written` is the key's path in the search block.
    """

    path: str
    kind: str
    args: tuple[Any, ...]
    written: str

    @property
    def is_list(self) -> bool:
        """Whether the values are listed, not drawn from a range."""
        return self.kind in LISTS

    @property
    def low(self) -> float:
        """The least value, or for a normal distribution one that is rarely passed: three deviations from the mean."""
        return self.args[0] - 3 * self.args[1] if "randn" in self.kind else self.args[0]

    @property
    def high(self) -> float:
        """The greatest value, as `low`; of whole numbers without rounding the bound itself is not drawn."""
        if "randn" in self.kind:
            return self.args[0] + 3 * self.args[1]
        return self.args[1] - 1 if self.kind in ("randint", "lograndint") else self.args[1]

    def samples(self) -> tuple[Any, ...]:
        """Values that must fit the key: all that are listed, else the ends of the range and a value inside it."""
        if self.is_list:
            return self.args
        if "randint" in self.kind:
            return tuple(dict.fromkeys((self.low, self.high)))
        inside = float(self.low + (self.high - self.low) * 0.381966)
        if self.kind.startswith("q"):
            q = self.args[2]
            return tuple(dict.fromkeys(round(x / q) * q for x in (self.low, inside, self.high)))
        return (float(self.low), inside, float(self.high))


@dataclass(frozen=True)
class SearchSpace:
    """All domains of a spec's search."""

    domains: tuple[Domain, ...]

    @cached_property
    def grid(self) -> int:
        """Combinations of all grids."""
        return math.prod(len(domain.args) for domain in self.domains if domain.kind == "grid_search")

    def trials(self, max_trial: int) -> int:
        """How many settings are tried."""
        return max_trial * self.grid


def search_space(spec: Spec) -> tuple[SearchSpace, list[SpecError]]:
    """The search block of a spec, and all that is wrong with it; paths begin with `search`."""
    reader = _Reader(spec)
    reader.read(spec.search, [], "search")
    domains, errors = reader.domains, reader.errors
    for domain in domains:
        errors += _misfits(spec, domain, domains)
    if not errors:
        errors += _clashes(spec, domains)
    return SearchSpace(tuple(domains)), errors


def checked_space(spec: Spec) -> SearchSpace:
    """The search block of a spec that was found sound."""
    reader = _Reader(spec)
    reader.read(spec.search, [], "search")
    return SearchSpace(tuple(reader.domains))


class _Reader:
    """Flattens a search block along the typed spec."""

    def __init__(self, spec: Spec):
        self.spec = spec
        self.domains: list[Domain] = []
        self.errors: list[SpecError] = []

    def read(self, raw: Any, path: list[str], written: str) -> None:
        """One level of the block; `path` is the place in the spec, `written` the place in the block."""
        for key, value in raw.items() if isinstance(raw, Mapping) else enumerate(raw):
            here = join(written, key)
            try:
                self.entry([*path, *str(key).split(".")], value, here)
            except SpecError as error:
                self.errors.append(SpecError(here, error.message, error.hint))

    def entry(self, path: list[str], value: Any, written: str) -> None:
        """One key of the block."""
        name, mark, suffix = path[-1].rpartition("__")
        if not mark:
            is_group = isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)
            if isinstance(value, Mapping) or (is_group and isinstance(_at(self.spec, path), list) and len(path) == 1):
                locate(self.spec, path)
                self.read(value, path, written)
                return
            self.refuse_half_suffix(path)
            where = locate(self.spec, path)
            if not isinstance(value, list):
                raise SpecError("", f"must be a list of values, not {show(value)}", f"or a range: {path[-1]}__uniform")
            self.add(where, "grid_search", value, written)
            return
        where = locate(self.spec, [*path[:-1], name], suffix)
        kind = ALIASES.get(suffix, suffix)
        if kind not in (*LISTS, *ARGUMENTS):
            near = nearest(suffix, SUFFIXES)
            hint = f'did you mean "{name}__{near[0]}"?' if near else f"known: {', '.join(SUFFIXES)}"
            raise SpecError("", f'unknown kind of search "{suffix}"', hint)
        if not isinstance(value, list):
            raise SpecError("", f"must be a list, not {show(value)}")
        self.add(where, kind, value, written)

    def refuse_half_suffix(self, path: list[str]) -> None:
        """`max_size_choice` is a slip for `max_size__choice`."""
        keys = _keys(_at(self.spec, path[:-1]))
        if keys and path[-1] not in keys:
            marked = [f"{key}__{suffix}" for key in keys for suffix in SUFFIXES]
            near = nearest(path[-1], [*keys, *marked])
            if near and near[0] in marked:
                raise SpecError("", "unknown key", f'did you mean "{near[0]}"?')

    def add(self, path: str, kind: str, args: list[Any], written: str) -> None:
        """Note a domain, if its arguments make sense."""
        if path.split(".")[0] in ("meta", "name", "search"):
            raise SpecError("", "cannot be searched", "only agent, env and body can")
        if any(domain.path == path for domain in self.domains):
            raise SpecError("", f"{path} is searched twice")
        check_arguments(kind, args)
        self.domains.append(Domain(path, kind, tuple(args), written))


def locate(spec: Spec, path: Sequence[str], suffix: str = "") -> str:
    """The full dotted path of a key of the spec, with the numbers of agent and env; SpecError where there is none.

    `suffix` is what the last part carries in the search block, so that a hint can be copied as it stands.
    """
    found: list[str] = []
    node: Any = spec
    for i, part in enumerate(path):
        if isinstance(node, list) and not part.isdigit() and len(node) == 1:
            found.append("0")
            node = node[0]
        if isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                here = join(*found) or "the spec"
                raise SpecError("", f"{here} has {len(node)} entries, none is {show(part)}", "count from 0")
            node = node[int(part)]
        elif isinstance(node, BaseModel):
            keys = _keys(node)
            if part not in keys:
                marked = {f"{key}__{suffix}" if suffix and i == len(path) - 1 else key for key in keys}
                word = f"{part}__{suffix}" if suffix and i == len(path) - 1 else part
                place = f"unknown key of {join(*found)}" if found else "unknown key"
                raise SpecError("", place, did_you_mean(word, marked))
            node = getattr(node, keys[part])
        elif not isinstance(node, Mapping):
            raise SpecError("", f"{join(*found)} has no keys: it is {show(node)}")
        else:
            node = node.get(part)
        found.append(part)
    return join(*found)


def _keys(node: Any) -> dict[str, str]:
    """Keys below a group of the typed spec, as they are written, with their fields."""
    if not isinstance(node, BaseModel):
        return {}
    selected_by_type = isinstance(node, Hyper) and "type" in type(node).model_fields
    return spec_keys(type(node), registry_of("net") if selected_by_type else None)


def _at(spec: Spec, path: Sequence[str]) -> Any:
    """What stands at a path; None where there is nothing."""
    node: Any = spec
    for part in path:
        if isinstance(node, list) and not part.isdigit() and len(node) == 1:
            node = node[0]
        if isinstance(node, list):
            node = node[int(part)] if part.isdigit() and int(part) < len(node) else None
        else:
            node = getattr(node, part, None)
    return node


def check_arguments(kind: str, args: list[Any]) -> None:
    """Whether a domain can be drawn from; SpecError says why not."""
    if kind in LISTS:
        if not args:
            raise SpecError("", "needs at least one value")
        if len({show(value) for value in args}) < len(args):
            raise SpecError("", f"a value stands twice: {show(args)}")
        return
    names = ARGUMENTS[kind]
    if len(args) != len(names):
        raise SpecError("", f"{kind} takes [{', '.join(names)}], not {show(args)}")
    for name, value in zip(names, args, strict=True):
        whole = "randint" in kind
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise SpecError("", f"{name} must be a number, not {show(value)}")
        if whole and not float(value).is_integer():
            raise SpecError("", f"{name} of {kind} must be a whole number, not {show(value)}")
    low, high, q = args[0], args[1], args[2] if len(args) > 2 else None
    if "randn" in kind:
        if high <= 0:
            raise SpecError("", f"sd must be > 0, not {show(high)}")
    elif low >= high:
        raise SpecError("", f"low must be below high, not {show(low)} and {show(high)}")
    if "log" in kind and low <= 0:
        raise SpecError("", f"low of {kind} must be > 0, not {show(low)}")
    if q is None:
        return
    if q <= 0:
        raise SpecError("", f"q must be > 0, not {show(q)}")
    for name, value in zip(names[:2], (low, high), strict=True):
        if "randn" not in kind and not math.isclose(value / q, round(value / q), abs_tol=1e-9):
            raise SpecError("", f"{name} {show(value)} is no multiple of q {show(q)}")


def _misfits(spec: Spec, domain: Domain, domains: Sequence[Domain]) -> Iterator[SpecError]:
    """Values of one domain that do not fit its key, each tried alone."""
    reported = set()
    others = [d for d in domains if d is not domain and d.is_list and _part(d) == _part(domain)]
    for value in domain.samples():
        whole = not domain.is_list and "randint" not in domain.kind
        _, wrong = attempt(spec.name, replaced(spec, {domain.path: value}), relations=False)
        if not wrong and not others:  # with others the combinations decide
            _, wrong = attempt(spec.name, replaced(spec, {domain.path: value}), relations=True)
            wrong = [error for error in wrong if "does nothing" in error.message]
        for error in wrong:
            message = error.message if error.path == domain.path else f"{error.path} {error.message}"
            if whole and message.startswith("must be an integer"):
                message = f"{domain.kind} draws fractions, but the key takes integers"
                error.hint = f"use {domain.path.rpartition('.')[2]}__{_whole(domain.kind)}"
            if message not in reported:
                reported.add(message)
                yield SpecError(domain.written, message, error.hint)


def _clashes(spec: Spec, domains: Sequence[Domain]) -> Iterator[SpecError]:
    """Values of several domains that do not fit one another."""
    if not domains:
        return
    samples = [domain.samples() for domain in domains]
    drawn = random.Random(0)  # a check says the same each time
    combinations = math.prod(map(len, samples))
    settings = (
        itertools.product(*samples)
        if combinations <= COMBINATIONS
        else (tuple(drawn.choice(values) for values in samples) for _ in range(COMBINATIONS))
    )
    reported = set()
    for setting in settings:
        values = {domain.path: value for domain, value in zip(domains, setting, strict=True)}
        _, wrong = attempt(spec.name, replaced(spec, values), idle=False)
        for error in wrong:
            if error.path in reported:
                continue
            reported.add(error.path)
            group = error.path.split(".")[:2]
            near = {path: value for path, value in values.items() if path.split(".")[:2] == group}
            at = ", ".join(f"{path} = {show(value)}" for path, value in near.items())
            written = next((d.written for d in domains if d.path in near), domains[0].written)
            yield SpecError(written, f"with {at}: {error.path}: {error.message}", error.hint)


def _part(domain: Domain) -> str:
    """The component that a key belongs to."""
    return domain.path.rpartition(".")[0]


def _whole(kind: str) -> str:
    """The kind that draws whole numbers in its place."""
    return "lograndint" if "log" in kind else "randint"
