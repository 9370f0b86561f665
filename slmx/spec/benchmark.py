"""Benchmark files: algorithms times environments, `{benchmark_name: {"benchmark": {...}}}`, made into a spec a cell.

Each algorithm names specs of spec files. In the environment that a spec is made for it is trained as it stands; in any
other environment of the lists the algorithm's first spec is trained, its environment replaced and all else kept. An
algorithm takes part in the lists whose actions it can take.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from slmx.env import describe
from slmx.errors import SlmxError, SpecError, SpecErrors, did_you_mean
from slmx.member.hyper import Int, Model
from slmx.plain import put
from slmx.spec.build import attempt, attempt_group
from slmx.spec.check import problems
from slmx.spec.dump import changed
from slmx.spec.load import UnknownName, attempt_file, in_spec, parsed, pick, read, substitute, variables_of
from slmx.spec.model import Spec, file_name
from slmx.spec.registry import REGISTRIES
from slmx.spec.search_space import checked_space

KEY = "benchmark"
Names = Annotated[list[str], Field(min_length=1)]


class BenchmarkEnvSpec(Model):
    """An environment of a benchmark: its name alone, or with these keys."""

    name: str = Field(min_length=1, description='a registered id, or "module:Class"')
    max_frame: Int | None = Field(None, gt=0, description="frames here; by default the benchmark's, else the spec's")


class EnvListsSpec(Model):
    """Environments by the kind of their actions."""

    discrete: list[BenchmarkEnvSpec] = Field([], description="environments with discrete actions: names, or mappings")
    continuous: list[BenchmarkEnvSpec] = Field(
        [], description="environments with continuous actions: names, or mappings"
    )
    multidiscrete: list[BenchmarkEnvSpec] = Field(
        [], description="environments with several choices at once (MultiDiscrete, MultiBinary): names, or mappings"
    )


class BenchmarkSpec(Model):
    """Algorithms times environments."""

    algorithm: dict[str, Annotated[dict[str, Names], Field(min_length=1)]] = Field(
        min_length=1, description="what tables call it: {spec_file: [spec_name, ...]}; the first stands in elsewhere"
    )
    env: EnvListsSpec = Field(description="the environments, by the kind of their actions")
    max_frame: Int | None = Field(None, gt=0, description="frames of every session; by default each spec's own")
    max_session: Int | None = Field(None, ge=1, description="seeds of every cell; by default each spec's own")
    search: bool = Field(False, description="search first where a spec has a search block, then train the best")


@dataclass(frozen=True)
class Cell:
    """One algorithm in one environment: the spec to run, and where it comes from."""

    algorithm: str
    env: str
    actions: str
    mode: str
    source: str
    made_for: str
    spec: Spec


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, ready to run."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class _Named:
    """A spec that an algorithm names."""

    name: str
    source: str
    spec: Spec

    @property
    def env(self) -> str:
        return self.spec.env[0].name


@dataclass(frozen=True)
class _Slot:
    """An environment of the lists, and where it stands."""

    env: BenchmarkEnvSpec
    kind: str
    place: str


def is_benchmark(raw: Any) -> bool:
    """Whether a file's content is of benchmarks, not of specs."""
    return isinstance(raw, Mapping) and any(isinstance(each, Mapping) and KEY in each for each in raw.values())


def check_benchmark(
    path: Path | str,
    name: str | None = None,
    variables: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Benchmark:
    """The benchmark of that name, or the only one of the file, ready to run; errors as `check_benchmarks`."""
    names = [str(key) for key in substitute(read(path), variables or {})]
    if name is None and len(names) > 1:
        raise SlmxError(f"{path}: which benchmark? There are {', '.join(names)}")
    if name is not None and name not in names:
        raise UnknownName(f'{path}: there is no benchmark "{name}"; {did_you_mean(name, names)}'.rstrip("; "))
    chosen = name or names[0]
    return check_benchmarks(path, chosen, variables, overrides)[chosen]


def check_benchmarks(
    path: Path | str,
    name: str | None = None,
    variables: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, Benchmark]:
    """All benchmarks of a file, or the one of that name; SpecErrors holds everything that is wrong in any of them.

    `overrides` are set in the spec of every cell, after what the benchmark itself sets. Variables may stand in the
    file and in the spec files that it names.
    """
    variables, raw = variables or {}, read(path)
    reader = _Reader(Path(path), variables, overrides or {})
    reader.used |= variables_of(raw)
    found = {}
    for key, each in substitute(raw, variables).items():
        if name in (None, key):
            found[key] = Benchmark(key, reader.read(key, each))
    reader.errors += [
        SpecError("", f'the variable "{given}" does not occur', did_you_mean(given, reader.used))
        for given in variables
        if given not in reader.used
    ]
    if reader.errors:
        raise SpecErrors(str(path), reader.errors)
    return found


class _Reader:
    """Reads benchmarks of one file, noting every error."""

    def __init__(self, path: Path, variables: Mapping[str, Any], overrides: Mapping[str, Any]):
        self.path, self.variables, self.overrides = path, variables, overrides
        self.errors: list[SpecError] = []
        self.used: set[str] = set()

    def read(self, name: str, raw: Any) -> tuple[Cell, ...]:
        """The cells of one benchmark."""
        errors: list[SpecError] = []
        try:
            file_name(name)
        except ValueError as error:
            errors.append(SpecError("", str(error)))
        typed = self._typed(raw, errors)
        cells = self._cells(typed, errors) if typed else ()
        self.errors += [in_spec(name, error) for error in errors]
        return tuple(cells)

    def _typed(self, raw: Any, errors: list[SpecError]) -> BenchmarkSpec | None:
        if isinstance(raw, Mapping) and "agent" in raw:
            errors.append(SpecError("", "is a spec, which stands in a file of specs alone"))
            return None
        if not isinstance(raw, Mapping) or KEY not in raw:
            errors.append(SpecError(KEY, "missing key", f'it takes {{"{KEY}": {{"algorithm": ..., "env": ...}}}}'))
            return None
        errors += [
            SpecError(str(key), "unknown key", f'a benchmark has the one key "{KEY}"') for key in raw if key != KEY
        ]
        typed, wrong = attempt_group(BenchmarkSpec, _spelled_out(raw[KEY]), KEY)
        open_places = [
            SpecError(KEY, f'"${{{v}}}" has no value', f"give it with -s {v}=...") for v in variables_of(raw)
        ]
        errors += open_places or wrong
        return None if errors else typed

    def _cells(self, typed: BenchmarkSpec, errors: list[SpecError]) -> list[Cell]:
        slots = [
            _Slot(env, kind, f"{KEY}.env.{kind}.{i}")
            for kind in EnvListsSpec.model_fields
            for i, env in enumerate(getattr(typed.env, kind))
        ]
        if not slots:
            hint = f"list some under {' or '.join(EnvListsSpec.model_fields)}"
            errors.append(SpecError(f"{KEY}.env", "lists no environment", hint))
        errors += [
            SpecError(slot.place, f"{slot.env.name} is listed twice")
            for i, slot in enumerate(slots)
            if slot.env.name in (other.env.name for other in slots[:i])
        ]
        algorithms = {algorithm: self._named(algorithm, files, errors) for algorithm, files in typed.algorithm.items()}
        if errors:
            return []
        cells: list[Cell] = []
        wrong: dict[str, list[tuple[str, SpecError]]] = {}  # by what is said, for it may be said of every cell
        for algorithm, named in algorithms.items():
            taken = [slot for slot in slots if _acts(_for_env(named, slot.env.name), slot.kind)]
            errors += _idle(algorithm, named, taken, slots)
            for slot in taken:
                cell, own = self._cell(typed, algorithm, named, slot)
                cells += [cell] if cell else []
                for error in own:
                    where = f"{algorithm} in {slot.env.name}"
                    if error.path == "env.0.name":
                        where, error = slot.place, SpecError("", error.message, error.hint)
                    wrong.setdefault(str(error), []).append((where, error))
        for same in wrong.values():
            where, error = same[0]
            more = f" and {len(same) - 1} more" if len({where for where, _ in same}) > 1 else ""
            errors.append(in_spec(where + more, error))
        if typed.search and not errors and all(cell.mode == "train" for cell in cells):
            errors.append(SpecError(f"{KEY}.search", "does nothing: no spec here has a search block"))
        names = [cell.spec.name for cell in cells]
        errors += [
            SpecError(f"{KEY}.algorithm", f"two algorithms would both write {name}", "give them names further apart")
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ]
        envs = [slot.env.name for slot in slots]
        return sorted(cells, key=lambda cell: envs.index(cell.env))  # what is to be compared comes together

    def _named(self, algorithm: str, files: Mapping[str, list[str]], errors: list[SpecError]) -> list[_Named]:
        """The sound specs that an algorithm names."""
        found: list[_Named] = []
        place = f"{KEY}.algorithm.{algorithm}"
        for file, name in ((file, name) for file, names in files.items() for name in names):
            spec = self._spec(self._locate(file), name, place, errors)
            if spec is None:
                continue
            each = _Named(name, f"{file}: {name}", spec)
            many = "agents" if len(spec.agent) > 1 else "environments" if len(spec.env) > 1 else ""
            if many:
                errors.append(SpecError(place, f"{name} has several {many}", "a benchmark is of one agent in one"))
            elif same := next((other for other in found if other.env == each.env), None):
                errors.append(SpecError(place, f"{name} and {same.name} are both made for {same.env}"))
            else:
                found.append(each)
        return found

    def _locate(self, file: str) -> Path:
        """A named file: beside the benchmark's, or from the working directory."""
        beside = self.path.parent / file
        return beside if beside.exists() else Path(file)

    def _spec(self, path: Path, name: str, place: str, errors: list[SpecError]) -> Spec | None:
        """A spec of a file, without overrides: they are for what becomes of it."""
        try:
            inside = variables_of(read(path))
            self.used |= inside
            given = {key: value for key, value in self.variables.items() if key in inside}
            specs, wrong = attempt_file(path, pick(path, name, given), given)
        except SlmxError as error:
            errors.append(SpecError(place, str(error)))
            return None
        errors += [SpecError(place, f"{path}: {error}") for error in wrong]
        return specs.get(name)

    def _cell(
        self, typed: BenchmarkSpec, algorithm: str, named: list[_Named], slot: _Slot
    ) -> tuple[Cell | None, list[SpecError]]:
        """One cell, or None and all that is wrong with it."""
        env, base, errors = slot.env, _for_env(named, slot.env.name), []
        raw = changed(base.spec)
        name = raw["name"] = _file_name(f"{algorithm}_{env.name}")
        raw["env"][0]["name"] = env.name
        if frames := env.max_frame or typed.max_frame:
            raw["env"][0]["max_frame"] = frames
        if typed.max_session:
            raw.setdefault("meta", {})["max_session"] = typed.max_session
        for path, value in self.overrides.items():
            try:
                put(raw, path.split("."), parsed(value))
            except KeyError as error:
                errors.append(SpecError(str(error.args[0]), "there is nothing here to set", f"asked for by {path}"))
        spec, wrong = attempt(name, raw)
        if spec is not None:
            wrong = _misplaced(spec, slot) or problems(spec)
        if spec is None or wrong or errors:
            return None, errors + wrong
        mode = "search" if typed.search and checked_space(spec).domains else "train"
        return Cell(algorithm, env.name, slot.kind, mode, base.source, base.env, spec), []


def _spelled_out(raw: Any) -> Any:
    """The same with short forms written out: an environment's name for its keys, one thing for a list of one."""
    if not isinstance(raw, Mapping):
        return raw
    result = dict(raw)
    if isinstance(raw.get("algorithm"), Mapping):
        result["algorithm"] = {
            algorithm: {file: [names] if isinstance(names, str) else names for file, names in files.items()}
            if isinstance(files, Mapping)
            else files
            for algorithm, files in raw["algorithm"].items()
        }
    if isinstance(raw.get("env"), Mapping):
        result["env"] = {
            kind: [{"name": each} if isinstance(each, str) else each for each in envs]
            if isinstance(envs, list)
            else [{"name": envs}]
            if isinstance(envs, str)
            else envs
            for kind, envs in raw["env"].items()
        }
    return result


def _for_env(named: list[_Named], env: str) -> _Named:
    """The spec that is made for an environment, else the first."""
    return next((each for each in named if each.env == env), named[0])


def _acts(named: _Named, kind: str) -> bool:
    """Whether a spec's algorithm takes such actions."""
    return kind in REGISTRIES["algorithm"].find(named.spec.agent[0].algorithm.name).actions


def _idle(algorithm: str, named: list[_Named], taken: list[_Slot], slots: list[_Slot]) -> list[SpecError]:
    """What an algorithm names without use."""
    place = f"{KEY}.algorithm.{algorithm}"
    if not taken:
        kinds = " or ".join(dict.fromkeys(slot.kind for slot in slots))
        return [SpecError(place, f"takes part in nothing: it takes no {kinds} actions")]
    used = [_for_env(named, slot.env.name) for slot in taken]
    return [
        SpecError(place, f"{each.name} does nothing: {each.env}, for which it is made, is not listed")
        for each in named
        if each not in used
    ]


def _misplaced(spec: Spec, slot: _Slot) -> list[SpecError]:
    """What is wrong where an environment stands in the list of the other actions."""
    try:
        kind = describe(spec.env[0]).kind
    except SpecError:
        return []  # it is told with all else
    if kind == slot.kind:
        return []
    return [SpecError("env.0.name", f"the actions of {slot.env.name} are {kind}", f"list it under {kind}")]


def _file_name(text: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.+-]+", "-", text)
