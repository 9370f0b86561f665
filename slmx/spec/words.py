"""What a spec's values are and what is wrong with them, in words."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from slmx.errors import SpecError, nearest
from slmx.member.schedule import Schedule
from slmx.plain import join

BOUNDS = {"greater_than": ">", "greater_than_equal": ">=", "less_than": "<", "less_than_equal": "<="}


def show(value: Any) -> str:
    """A value as the spec would write it, cut to one readable piece."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 100 else f"{text[:97]}..."


@cache  # a search builds thousands of specs
def arms(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a type: `float | Schedule | None` -> (float, Schedule, NoneType)."""
    if get_origin(annotation) is Annotated:
        return arms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(arm for part in get_args(annotation) for arm in arms(part))
    return (annotation,)


def phrase(annotation: Any) -> str:
    """What a field takes, in words."""
    return " or ".join(dict.fromkeys(_phrases(annotation, plural=False)))


def _phrases(annotation: Any, plural: bool) -> Iterator[str]:
    words = {int: "an integer", float: "a number", str: "a string", list: "a list", tuple: "a list", Any: "anything"}
    several = {int: "integers", float: "numbers", str: "strings", list: "lists", tuple: "lists", Any: "anything"}
    for arm in sorted(arms(annotation), key=lambda arm: arm is type(None)):
        kind = arm if arm in words else get_origin(arm)
        inner = [part for part in get_args(arm) if part is not Ellipsis and part is not Any]
        if arm is bool:
            yield "true or false"
        elif arm is type(None):
            yield "null"
        elif kind is Literal:
            yield ("one of " if len(inner) > 1 else "") + ", ".join(show(option) for option in inner)
        elif kind in words:
            of = f" of {' or '.join(_phrases(inner[0], plural=True))}" if kind in (list, tuple) and inner else ""
            yield (several if plural else words)[kind] + of
        elif isinstance(arm, type) and issubclass(arm, Schedule):
            yield 'a schedule {"name": "linear_decay", ...}'
        else:
            yield "mappings" if plural else "a mapping"


def explain(path: str, annotation: Any, details: Collection[ErrorDetails], raw: Any) -> list[SpecError]:
    """pydantic's errors of one field in the words of the spec."""
    if len([arm for arm in arms(annotation) if arm is not type(None)]) > 1:  # it tries every alternative
        tried: dict[Any, list[ErrorDetails]] = {}
        for detail in details:
            tried.setdefault(detail["loc"][1] if len(detail["loc"]) > 1 else None, []).append(detail)
        near = [tries for tries in tried.values() if any(_place(d, raw) or not _is_type(d) for d in tries)]
        if not near:
            return [SpecError(path, *_mismatch(annotation, raw))]
        details = min(near, key=lambda tries: (len(tries), -max(len(_place(d, raw)) for d in tries)))
    by_place: dict[tuple[int | str, ...], list[ErrorDetails]] = {}
    for detail in details:
        by_place.setdefault(_place(detail, raw), []).append(detail)
    errors = []
    for place, here in by_place.items():
        judged = [d for d in here if not _is_type(d)]
        if judged:
            errors.append(SpecError(join(path, *place), *_message(judged[0])))
        elif not any(len(other) > len(place) and other[: len(place)] == place for other in by_place):
            takes = annotation if not place else Union[tuple(_taken(d) for d in here)]  # noqa: UP007
            errors.append(SpecError(join(path, *place), *_mismatch(takes, here[0]["input"])))
    return errors


def _place(detail: ErrorDetails, raw: Any) -> tuple[int | str, ...]:
    """Where below the field an error stands; pydantic's location without the names of the alternatives it tried."""
    place: list[int | str] = []
    for i, part in enumerate(detail["loc"][1:], 2):
        inside = isinstance(raw, list | tuple) if isinstance(part, int) else isinstance(raw, Mapping) and part in raw
        if inside:
            place.append(part)
            raw = raw[part]
        elif detail["type"] == "missing" and i == len(detail["loc"]):
            place.append(part)
    return tuple(place)


def _taken(detail: ErrorDetails) -> Any:
    """The type whose alternative failed."""
    kinds = {"int": int, "float": float, "bool": bool, "string": str, "list": list, "tuple": list}
    return kinds.get(detail["type"].split("_")[0], dict)


def _is_type(detail: ErrorDetails) -> bool:
    return detail["type"].endswith(("_type", "_parsing", "is_instance_of"))


def _message(detail: ErrorDetails) -> tuple[str, str]:
    """Message and hint of one of pydantic's errors that is not about the type."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in BOUNDS:
        shown = show(given.model_dump() if isinstance(given, BaseModel) else given)
        return f"must be {BOUNDS[kind]} {_whole(next(iter(context.values())))}, not {shown}", ""
    if kind == "missing":
        return "missing key", ""
    if kind == "finite_number":
        return f"must be finite, not {given}", ""
    if kind in ("too_short", "string_too_short"):
        least = context["min_length"]
        return ("must not be empty" if least == 1 else f"must hold at least {least}, not {show(given)}"), ""
    if kind == "too_long":
        return f"must hold at most {context['max_length']}, not {context['actual_length']}", ""
    if kind == "literal_error":
        options = re.findall(r"'([^']*)'", str(context["expected"]))
        hits = nearest(given, options) if isinstance(given, str) else []
        listed = ", ".join(f'"{option}"' for option in options)
        one_of = "one of " if len(options) > 1 else ""
        return f"must be {one_of}{listed}, not {show(given)}", f'did you mean "{hits[0]}"?' if hits else ""
    return custom(detail), ""


def _mismatch(annotation: Any, given: Any) -> tuple[str, str]:
    takes_number = {int, float} & {arm for arm in arms(annotation) if isinstance(arm, type)}
    quoted = isinstance(given, str) and takes_number and _is_number(given)
    return f"must be {phrase(annotation)}, not {show(given)}", "write it without quotes" if quoted else ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _whole(number: float) -> float:
    """1.0 as people write it."""
    return int(number) if float(number).is_integer() else number


def custom(detail: ErrorDetails) -> str:
    """The words of a validator beside a field."""
    text = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return text[:1].lower() + text[1:]
