"""What a user can cause. Anything else that raises is a bug and shows its traceback."""

from __future__ import annotations

import errno
from collections.abc import Container, Iterable
from difflib import SequenceMatcher
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class SlmxError(Exception):
    """A user's mistake or a missing resource: printed as it stands, without a traceback.

    `code`: the exit code of the command that meets it.
    """

    code = 2


class WriteError(SlmxError):
    """A file that cannot be written: it is a failure (code 1) where a disk is full or broken, else a user's mistake."""

    def __init__(self, path: Path | str, error: OSError, hint: str = ""):
        self.path, self.error, self.hint = path, error, hint
        self.code = 1 if error.errno in FULL else 2
        super().__init__(path, error, hint)

    def __str__(self) -> str:
        reason = self.error.strerror or str(self.error)
        return f"cannot write {self.path}: {reason}{'; ' + self.hint if self.hint else ''}"


class SpecError(SlmxError):
    """Something wrong in a spec, at `path` (`agent.0.algorithm.gamma`), with an optional hint at the mend."""

    def __init__(self, path: str, message: str, hint: str = ""):
        self.path, self.message, self.hint = path, message, hint
        super().__init__(path, message, hint)

    def __str__(self) -> str:
        where = f"{self.path}: " if self.path else ""
        return f"{where}{self.message}{'; ' + self.hint if self.hint else ''}"

    def under(self, prefix: str) -> SpecError:
        """The same error, seen from further up: its path is prefixed."""
        return SpecError(".".join(part for part in (prefix, self.path) if part), self.message, self.hint)


class SpecErrors(SlmxError):
    """All errors of one file or spec, one a line, each naming where it stands."""

    def __init__(self, source: str, errors: Iterable[SpecError]):
        self.source, self.errors = source, tuple(errors)
        super().__init__(source, self.errors)

    def __str__(self) -> str:
        return "\n".join(f"{self.source}: {error}" if self.source else str(error) for error in self.errors)


def counted(number: int, noun: str) -> str:
    """A number of things, whose plural ends in s: "1 slot", "2 slots"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def edit_distance(one: str, other: str) -> int:
    """How many insertions, deletions, substitutions and swaps of neighbours turn one word into the other.

    Source: optimal string alignment (Damerau 1964): the four slips that make most typing errors.
    """
    above = row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, above, row = above, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest(word: str, known: Iterable[str], count: int = 1, present: Container[str] = ()) -> list[str]:
    """The known words closest in spelling to `word`, best first; none where nothing is close.

    A word already `present` beside `word` is a less likely meaning: nobody writes one key twice.
    """
    small, reach, ranked = word.lower(), max(1, (len(word) + 2) // 3), []
    for name in known:
        distance, ratio = edit_distance(small, name.lower()), SequenceMatcher(None, small, name.lower()).ratio()
        if distance <= reach or ratio >= 0.6 or (len(small) > 2 and small in name.lower()):
            ranked.append((distance + 0.5 * (name in present), -ratio, name))
    return [name for *_, name in sorted(ranked)[:count]]


def did_you_mean(word: str, known: Iterable[str], present: Container[str] = ()) -> str:
    """`did you mean "gamma"?`, or what is known where nothing is near."""
    known = sorted(known)
    if hits := nearest(word, known, present=present):
        return f'did you mean "{hits[0]}"?'
    return f"known: {', '.join(known)}" if 0 < len(known) <= 20 else ""
