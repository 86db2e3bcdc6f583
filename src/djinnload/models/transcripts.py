"""How far one transcript is from another: words, or tokens, that are not the same."""

from collections.abc import Hashable, Sequence

__all__ = ("error_rate", "word_error_rate")


def word_error_rate(wanted: str, got: str) -> float:
    """Return `error_rate` of words; case and punctuation at their ends do not count."""
    return error_rate(_words(wanted), _words(got))


def error_rate(wanted: Sequence[Hashable], got: Sequence[Hashable]) -> float:
    """Return the fewest insertions, deletions, substitutions ÷ the length of *wanted*.

    0 for equal ones; above 1 where *got* has more than twice as much.

    Raises:
        ValueError: *wanted* is empty, so there is nothing to divide by.
    """
    if not wanted:
        raise ValueError("an empty transcript has no error rate")
    # Of the beginning of `wanted` so far, against every beginning of `got`.
    row = list(range(len(got) + 1))
    for i, each in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            best = min(diagonal + (each != other), row[j] + 1, row[j - 1] + 1)
            diagonal, row[j] = row[j], best
    return row[-1] / len(wanted)


def _words(text: str) -> list[str]:
    bare = (word.strip(".,;:!?…\"'()[]«»").casefold() for word in text.split())
    return [word for word in bare if word]
