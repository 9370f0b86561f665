"""What a user can cause. Anything else that raises is a bug and shows its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SlmxError(Exception):
    """A user's mistake or a missing resource: printed as it stands, without a traceback; exit code 2."""


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


def nearest(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """The known words closest in spelling to `word`, best first; none where nothing is close."""
    candidates = {name.lower(): name for name in known}
    return [candidates[hit] for hit in difflib.get_close_matches(word.lower(), candidates, n=count, cutoff=0.5)]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean "gamma"?`, or what is known where nothing is near."""
    known = sorted(known)
    if hits := nearest(word, known):
        return f'did you mean "{hits[0]}"?'
    return f"known: {', '.join(known)}" if len(known) <= 20 else ""
