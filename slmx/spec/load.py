"""Spec files: JSON or YAML, `{spec_name: spec}`, with variables, overrides and variants.

`${name}` stands for a variable given beside the file. It is replaced inside strings and keys; a string that is nothing
but `${name}` becomes the variable's value, a number where it reads as one.

`variants: [...]` in a spec stands for several specs. Each entry is laid over the spec around it: groups merge key by
key, and anything else, lists too, is replaced; a group over a list of one group (`agent`, `env`) merges into that one.
Entries may have variants of their own: expansion goes depth first and in order, and what stands deeper wins. `{}` is
the base itself, which else is not among the specs. A variant is called `{spec_name}_{i}` by its place in the list, or
`{spec_name}_{name}` where it has a key `name`; names of nested variants follow one another.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from slmx.errors import SlmxError, SpecError, SpecErrors, did_you_mean
from slmx.plain import join, put
from slmx.spec.build import attempt
from slmx.spec.model import Spec
from slmx.spec.words import show

SUFFIXES = (".json", ".yaml", ".yml")
VARIABLE = re.compile(r"\$\{([^${}]*)\}")


class UnknownName(SlmxError):
    """A file has no spec of the wanted name."""


def load(
    path: Path | str, variables: Mapping[str, Any] | None = None, overrides: Mapping[str, Any] | None = None
) -> dict[str, Spec]:
    """All specs of a file, by name; SpecErrors with everything that is wrong in any of them, SlmxError for the file."""
    specs, errors = attempt_file(path, None, variables, overrides)
    if errors:
        raise SpecErrors(str(path), errors)
    return specs


def load_one(
    path: Path | str,
    name: str | None = None,
    variables: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Spec:
    """One spec of a file: that of the name, or the only one there is."""
    specs, errors = attempt_file(path, pick(path, name, variables), variables, overrides)
    if errors:
        raise SpecErrors(str(path), errors)
    return next(iter(specs.values()))


def pick(path: Path | str, name: str | None, variables: Mapping[str, Any] | None = None) -> str:
    """The name of the wanted spec, or of the only spec of a file; SlmxError where there is no such spec, or several."""
    names = list(_expand(substitute(read(path), variables or {}), str(path)))
    if name is None and len(names) > 1:
        raise SlmxError(f"{path}: which spec? There are {', '.join(names)}")
    if name is not None and name not in names:
        raise UnknownName(f'{path}: there is no spec "{name}"; {did_you_mean(name, names)}'.rstrip("; "))
    return name or names[0]


def attempt_file(
    path: Path | str,
    name: str | None = None,
    variables: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Spec], list[SpecError]]:
    """The sound specs of a file (only the one of that name, where given) and all errors of the others.

    Paths of errors begin with the spec's name: `ppo_cartpole: agent.0.algorithm.gama`.
    SlmxError where the file as a whole cannot be read.
    """
    raw = read(path)
    used = variables_of(raw)
    for given in variables or {}:
        if given not in used:
            hint = did_you_mean(given, used) or "it has no variables"
            raise SlmxError(f'{path}: the variable "{given}" does not occur; {hint}')
    expanded = _expand(substitute(raw, variables or {}), str(path))
    specs: dict[str, Spec] = {}
    errors: list[SpecError] = []
    for key in [name] if name is not None else expanded:
        spec, wrong = _attempt(key, expanded[key], overrides or {})
        if spec is not None:
            specs[key] = spec
        errors += [in_spec(key, error) for error in wrong]
    return specs, errors


def in_spec(name: str, error: SpecError) -> SpecError:
    """The same error, seen from the file: its path begins with the spec's name."""
    return SpecError(f"{name}: {error.path}" if error.path else name, error.message, error.hint)


def find(paths: Iterable[Path | str]) -> list[Path]:
    """Spec files among the given files and in the given folders, and below them; names that begin with `_` are none."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and not p.name.startswith("_"))
            if not inside:
                raise SlmxError(f"{path}: there are no spec files in this folder")
            found += inside
        else:
            found.append(path)
    return found


def read(path: Path | str) -> dict[str, Any]:
    """What a spec file says, `{spec_name: spec}`, as it stands; SlmxError with line and column where it is broken."""
    path = Path(path)
    text = _text(path)
    if not text.strip():
        raise SlmxError(f"{path}: the file is empty")
    raw = _json(text, path) if path.suffix == ".json" else _yaml(text, path)
    if not isinstance(raw, dict):
        raise SlmxError(f"{path}: must be a mapping of spec names to specs, not {show(raw)}")
    if not raw:
        raise SlmxError(f"{path}: there are no specs in this file")
    return raw


def parsed(value: Any) -> Any:
    """A value from the command line: what it is as JSON (`0.9`, `true`, `[64, 64]`), else the text itself."""
    if not isinstance(value, str):
        return copy.deepcopy(value)
    try:
        return json.loads(value, parse_constant=str)
    except ValueError:
        return value


def variables_of(raw: Any) -> set[str]:
    """The variables that occur in what a file says."""
    return {found for _, text in _strings(raw) for found in VARIABLE.findall(text)}


def substitute(raw: Any, variables: Mapping[str, Any]) -> Any:
    """The same with variables put in; those that are not given stay as they stand."""
    if isinstance(raw, Mapping):
        return {substitute_text(key, variables): substitute(value, variables) for key, value in raw.items()}
    if isinstance(raw, list):
        return [substitute(value, variables) for value in raw]
    if not isinstance(raw, str):
        return raw
    if (whole := VARIABLE.fullmatch(raw)) and whole[1] in variables:
        return parsed(variables[whole[1]])
    return substitute_text(raw, variables)


def substitute_text(text: Any, variables: Mapping[str, Any]) -> Any:
    """A string with variables put in as text."""
    if not isinstance(text, str):
        return text
    return VARIABLE.sub(lambda found: str(variables.get(found[1], found[0])), text)


def _attempt(name: str, raw: Any, overrides: Mapping[str, Any]) -> tuple[Spec | None, list[SpecError]]:
    raw = copy.deepcopy(raw)
    errors = []
    if isinstance(raw, Mapping) and "benchmark" in raw:
        return None, [SpecError("", "is a benchmark, which stands in a file of benchmarks alone")]
    if isinstance(raw, dict) and "name" in raw:
        errors.append(SpecError("name", "unknown key", "a spec is named by its key in the file"))
        del raw["name"]
    for path, value in overrides.items():
        try:
            put(raw, path.split("."), parsed(value))
        except KeyError as error:
            errors.append(SpecError(str(error.args[0]), "there is nothing here to set", f"asked for by {path}"))
    open_places = [(path, found) for path, text in [("", name), *_strings(raw)] for found in VARIABLE.findall(text)]
    if open_places:  # what else is wrong shows when the values are there
        hint = "give it with -s {}=..."
        return None, errors + [SpecError(p, f'"${{{v}}}" has no value', hint.format(v)) for p, v in open_places]
    spec, wrong = attempt(name, raw)
    return (None if errors else spec), errors + wrong


def _strings(raw: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string and key below, with the dotted path where it stands."""
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            yield path, str(key)
            yield from _strings(value, join(path, str(key)))
    elif isinstance(raw, list):
        for i, value in enumerate(raw):
            yield from _strings(value, join(path, i))
    elif isinstance(raw, str):
        yield path, raw


def _text(path: Path) -> str:
    if path.name.startswith("_"):
        raise SlmxError(f'{path}: files whose names begin with "_" are not spec files')
    if path.is_dir():
        raise SlmxError(f"{path}: is a folder, not a spec file")
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise SlmxError(f"{path}: no such file; there is no folder {folder}")
        near = [str(folder / p.name) for p in folder.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("_")]
        raise SlmxError(f"{path}: no such file; {did_you_mean(str(path), near)}".rstrip("; "))
    if path.suffix not in SUFFIXES:
        raise SlmxError(f"{path}: a spec file ends in {', '.join(SUFFIXES)}")
    try:
        return path.read_text("utf-8-sig")  # with or without a byte order mark
    except UnicodeDecodeError as error:
        raise SlmxError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise SlmxError(f"{path}: cannot be read: {error.strerror}") from error


class _Repeated(dict[str, Any]):
    """An object of a JSON file in which a key stands twice."""

    key = ""


def _json(text: str, path: Path) -> Any:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) == len(items):
            return found
        keys = [key for key, _ in items]
        repeated = _Repeated(found)
        repeated.key = next(key for key in keys if keys.count(key) > 1)
        return repeated

    def constant(word: str) -> Any:
        raise SlmxError(f"{path}: {word} is not a number of JSON, and no value of any key")

    try:
        raw = json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise SlmxError(f"{path}: line {error.lineno}, column {error.colno}: {_lower(error.msg)}") from error
    except RecursionError as error:
        raise SlmxError(f"{path}: is nested too deeply") from error
    for place, repeated in _repeated(raw, ""):
        raise SlmxError(f"{path}: {join(place, repeated)}: the key stands twice")
    return raw


def _repeated(raw: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(raw, _Repeated):
        yield path, raw.key
    if isinstance(raw, dict | list):
        for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from _repeated(value, join(path, key))


class _Loader(yaml.SafeLoader):
    """Safe YAML in which no key stands twice, keys are strings and 1e-4 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str) or key in seen:
                wrong = f'the key "{key}" stands twice' if isinstance(key, str) else f"the key {key!r} is no text"
                raise yaml.constructor.ConstructorError(None, None, wrong, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1, which the library follows, reads 1e-4 as text and 2001-01-01 as a date; 1.2 and JSON do not.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(("timestamp", "float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


def _yaml(text: str, path: Path) -> Any:
    try:
        raw = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise SlmxError(f"{path}: {where}{_lower(error.problem or error.context or 'is no YAML')}") from error
    except yaml.YAMLError as error:
        raise SlmxError(f"{path}: is no YAML: {error}") from error
    except RecursionError as error:
        raise SlmxError(f"{path}: is nested too deeply") from error
    if raw is None:
        raise SlmxError(f"{path}: the file is empty")
    return raw


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _expand(raw: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The specs of a file with their variants made into specs of their own."""
    result: dict[str, Any] = {}
    for name, spec in raw.items():
        try:
            for key, variant in _variants(str(name), spec, ""):
                if key in result:
                    raise SpecError("", f'there are two specs called "{key}"', "give the variants names of their own")
                result[key] = variant
        except SpecError as error:
            raise SpecErrors(source, [in_spec(str(name), error)]) from error
    return result


def _variants(name: str, spec: Any, place: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(spec, Mapping) or "variants" not in spec:
        yield name, spec
        return
    here = join(place, "variants")
    if not isinstance(spec["variants"], list) or not spec["variants"]:
        raise SpecError(here, f"must be a list of at least one variant, not {show(spec['variants'])}")
    base = {key: value for key, value in spec.items() if key != "variants"}
    for i, variant in enumerate(spec["variants"]):
        if not isinstance(variant, Mapping):
            raise SpecError(join(here, i), f"must be a mapping, not {show(variant)}")
        label = variant.get("name", i)
        changes = {key: value for key, value in variant.items() if key != "name"}
        yield from _variants(f"{name}_{label}", merged(base, changes), join(here, i))


def merged(base: Any, changes: Any) -> Any:
    """`changes` laid over `base`, which stays as it is: groups merge, anything else is replaced."""
    if isinstance(changes, Mapping) and isinstance(base, list) and len(base) == 1 and isinstance(base[0], Mapping):
        return [merged(base[0], changes)]
    if isinstance(changes, Mapping) and isinstance(base, Mapping):
        both = {key: merged(base[key], value) if key in base else value for key, value in changes.items()}
        return {**base, **both}
    return changes
