"""Slips of one character in the keys of the shipped specs: all refused, nearly all with what was meant."""

from __future__ import annotations

import copy
import json
import random
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slmx.errors import SpecErrors
from slmx.spec.benchmark import is_benchmark
from slmx.spec.check import check_file
from slmx.spec.load import find, read

FILES = [read(path) for path in find([Path("spec")])]
SPECS = [(name, raw) for file in FILES if not is_benchmark(file) for name, raw in file.items()]
LETTERS = string.ascii_lowercase + "_"
SLIPS: dict[str, Callable[[str, int, str], str]] = {
    "deletion": lambda word, i, _: word[:i] + word[i + 1 :],
    "insertion": lambda word, i, letter: word[:i] + letter + word[i:],
    "substitution": lambda word, i, letter: word[:i] + letter + word[i + 1 :],
    "transposition": lambda word, i, _: word[:i] + word[i + 1 : i + 2] + word[i : i + 1] + word[i + 2 :],
}


def keys(raw: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every key of the lab's with the path to its group; what stands in `kwargs` is not the lab's."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield path, key
            if key != "kwargs":
                yield from keys(value, (*path, key))
    elif isinstance(raw, list):
        for i, value in enumerate(raw):
            yield from keys(value, (*path, i))


def misspell(raw: dict[str, Any], path: tuple[Any, ...], key: str, wrong: str) -> dict[str, Any]:
    """The spec with one key misspelt, in its place."""
    result = copy.deepcopy(raw)
    group: Any = result
    for part in path:
        group = group[part]
    items = [(wrong if k == key else k, v) for k, v in group.items()]
    group.clear()
    group.update(items)
    return result


def draw(kind: str, count: int) -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """Misspelt specs: the name of the spec, the spec, the key's path and what was meant."""
    dice, places = random.Random(kind), [(spec, *place) for spec in SPECS for place in keys(spec[1])]
    while count:
        (name, raw), path, key = dice.choice(places)
        wrong = SLIPS[kind](key, dice.randrange(len(key)), dice.choice(LETTERS))
        if wrong not in ("", key):
            count -= 1
            yield name, misspell(raw, path, key, wrong), ".".join(map(str, (*path, wrong))), key


@pytest.mark.parametrize("kind", SLIPS)
def test_one_character_slips(kind: str, tmp_path: Path) -> None:
    file, accepted, misled = tmp_path / "spec.json", [], []
    for name, raw, path, key in draw(kind, 50):
        file.write_text(json.dumps({name: raw}))
        try:
            check_file(file)
        except SpecErrors as errors:
            said = str(errors).splitlines()
            if not any(line.startswith(f"{file}: {name}: ") and f'; did you mean "{key}"?' in line for line in said):
                misled.append((path, said))
        else:
            accepted.append((name, path))
    assert not accepted
    assert len(misled) <= 5, misled
