"""200 slips of one character in the keys of the shipped specs: all refused, nearly all with what was meant."""

from __future__ import annotations

import copy
import random
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slmx.spec.build import attempt
from slmx.spec.load import find, read
from slmx.spec.search_space import search_space

SPECS = [(name, raw) for path in find([Path("spec")]) for name, raw in read(path).items()]
OPEN = ("kwargs", "variants")  # groups whose keys are not the lab's


def keys(raw: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every key with the path to its group."""
    if isinstance(raw, dict):
        for key, value in raw.items():
            yield path, key
            if key not in OPEN:
                yield from keys(value, (*path, key))
    elif isinstance(raw, list):
        for i, value in enumerate(raw):
            yield from keys(value, (*path, i))


def slip(word: str, draw: random.Random) -> str:
    """One insertion, deletion, substitution or swap of neighbours."""
    while True:
        i, letter = draw.randrange(len(word)), draw.choice(string.ascii_lowercase + "_")
        wrong = draw.choice(
            [
                word[:i] + letter + word[i:],
                word[:i] + word[i + 1 :],
                word[:i] + letter + word[i + 1 :],
                word[:i] + word[i + 1 : i + 2] + word[i : i + 1] + word[i + 2 :],
            ]
        )
        if wrong not in ("", word):
            return wrong


def test_one_character_slips() -> None:
    draw = random.Random(1)
    accepted, misled = [], []
    for _ in range(200):
        name, raw = draw.choice(SPECS)
        raw = copy.deepcopy(raw)
        path, key = draw.choice([(p, k) for p, k in keys(raw) if "variants" not in p])
        group = raw
        for part in path:
            group = group[part]
        wrong = slip(key, draw)
        if wrong in group:
            continue
        items = [(wrong if k == key else k, v) for k, v in group.items()]
        group.clear()
        group.update(items)
        spec, errors = attempt(name, raw)
        if spec is not None:
            errors = search_space(spec)[1]
        said = "\n".join(str(error) for error in errors)
        if not errors:
            accepted.append((path, key, wrong))
        elif f'did you mean "{key}"?' not in said:
            misled.append((path, key, wrong, said))
    assert not accepted
    assert len(misled) <= 20, misled
