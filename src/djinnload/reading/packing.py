"""Columns of numbers in as few bytes as they take, exactly.

Ten million samples have to fit into a gigabyte, and 19 columns of 8 bytes do not. Most
of them are constant, or small differences: they are kept as codes and made whole
where they are used, which takes less time than sorting them once.
"""

import contextlib
import ctypes
import gc
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

__all__ = (
    "Columns",
    "Labels",
    "Packed",
    "Steps",
    "gather",
    "give_back",
    "pack",
    "reused",
)

Array = np.ndarray[Any, np.dtype[Any]]

#: Of glibc's mallopt, and what they are set to: large arrays from the heap, or not.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_FROM_HEAP, _GIVEN_BACK = 2**30, 2**20
_CODES = (np.uint8, np.uint16, np.uint32)


class Packed:
    """A column that is called for its values.

    Attributes:
        codes: Value − ``low``; the largest code of its type is unknown (NaN). Where
            ``low`` is None, these are the values themselves.
        low, high: The smallest and largest value.
        floats: Whether values are float64, else int64.
    """

    __slots__ = ("codes", "floats", "high", "low")

    def __init__(
        self, codes: Array, low: int | None = None, high: int = 0, *, floats: bool
    ) -> None:
        self.codes, self.low, self.high, self.floats = codes, low, high, floats

    def __len__(self) -> int:
        return len(self.codes)

    def __call__(self) -> Array:
        """Return float64 (NaN: unknown) or int64, shape ``(n,)``; do not write to it.

        Where the values were not packed it is what is kept; a constant takes no memory.
        """
        if self.low is None:
            return self.codes
        if len(self) and not self.codes.strides[0]:
            return np.broadcast_to(self._whole(self.codes[:1]), len(self))
        return self._whole(self.codes)

    def _whole(self, codes: Array) -> Array:
        if self.low is None:
            return codes
        if not self.floats:
            return codes + np.int64(self.low)
        values: Array = codes + np.float64(self.low)
        unknown = codes == np.iinfo(codes.dtype).max
        if unknown.any():
            values[unknown] = np.nan
        return values

    def take(self, rows: Array) -> "Packed":
        """Return the column at *rows*."""
        constant = not self.codes.strides[0]
        codes = (
            np.broadcast_to(self.codes[:1], len(rows))
            if constant and len(self.codes)
            else self.codes[rows]
        )
        return Packed(codes, self.low, self.high, floats=self.floats)


class Steps:
    """Numbers that grow by small steps, as due times in due order do."""

    __slots__ = ("_first", "_steps")

    def __init__(self, values: Array) -> None:
        self._first, self._steps = values[:1].copy(), pack(np.diff(values))

    def __call__(self) -> Array:
        """Return int64, shape ``(n,)``; a fresh array."""
        values = np.empty(len(self._first) + len(self._steps), np.int64)
        values[:1] = self._first
        # Codes first: the steps, made whole, would be as large again.
        values[1:] = self._steps.codes
        values[1:] += self._steps.low or 0
        return np.cumsum(values, out=values)


class Labels:
    """A column of few different words, compared and taken as an array of them is."""

    __slots__ = ("codes", "words")
    __hash__ = None  # type: ignore[assignment]  # as arrays

    def __init__(self, codes: Packed, words: Sequence[Any]) -> None:
        self.codes, self.words = codes, tuple(words)

    @classmethod
    def of(cls, values: Array) -> "Labels":
        """Return the labels of an array of words."""
        known = {word: code for code, word in enumerate(dict.fromkeys(values.tolist()))}
        codes = np.array([known[word] for word in values.tolist()], np.int64)
        return cls(pack(codes), tuple(known))

    def __len__(self) -> int:
        return len(self.codes)

    def __eq__(self, word: object) -> Array:  # type: ignore[override]
        """Return bool a row: whether it is *word*, or the word of other labels."""
        if isinstance(word, Labels):
            shared = {each: code for code, each in enumerate(self.words)}
            theirs = np.array([shared.get(each, -1) for each in word.words])
            alike: Array = self.codes() == theirs[word.codes()]
            return alike
        code = self.words.index(word) if word in self.words else -1
        low = self.codes.low or 0
        if code < low or code > self.codes.high:
            return np.zeros(len(self), bool)
        return np.asarray(self.codes.codes == code - low)

    def __ne__(self, word: object) -> Array:  # type: ignore[override]
        return ~(self == word)

    def __getitem__(self, rows: Any) -> Any:
        """Return one word, or the labels at *rows* (indices, mask or slice)."""
        if np.ndim(rows) or isinstance(rows, slice):
            at = np.arange(len(self))[rows]
            return Labels(self.codes.take(at), self.words)
        return self.words[int(self.codes.codes[rows]) + (self.codes.low or 0)]

    def counts(self) -> dict[Any, int]:
        """Return how often each word that occurs does."""
        seen = np.bincount(self.codes(), minlength=len(self.words))
        return {word: int(n) for word, n in zip(self.words, seen, strict=True) if n}

    def tolist(self) -> list[Any]:
        """Return the words."""
        return [self.words[code] for code in self.codes().tolist()]


class Columns:
    """Columns of equal length by name: arrays, `Labels`, or what makes an array.

    The latter are called at each access: keep what is used twice.
    """

    #: As msgspec names the fields of a Struct.
    __struct_fields__: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **columns: Array | Labels | Callable[[], Array]) -> None:
        if set(columns) != set(self.__struct_fields__):
            wrong = sorted(set(columns) ^ set(self.__struct_fields__))
            raise TypeError(f"{type(self).__name__} lacks or does not know {wrong}")
        self._columns = columns

    def __getattr__(self, name: str) -> Any:
        try:
            column = self.__dict__["_columns"][name]
        except KeyError:
            raise AttributeError(name) from None
        return column() if callable(column) else column


def pack(values: Array) -> Packed:
    """Return *values* (int64, or float64 with NaN, shape ``(n,)``) packed, exactly."""
    floats = values.dtype.kind == "f"
    raw = Packed(values, floats=floats)
    if not len(values):
        return raw
    low, high = float(np.fmin.reduce(values)), float(np.fmax.reduce(values))
    if np.isnan(low):
        unknown = np.broadcast_to(np.uint8(255), len(values))
        return Packed(unknown, 0, 0, floats=True)
    if not floats:
        low, high = int(values.min()), int(values.max())
    # Beyond 2^53, and of infinities, floats have no whole differences.
    if not -(2.0**53) < low <= high < 2.0**53 and floats:
        return raw
    if (dtype := _dtype(int(high - low))) is None:
        return raw
    return _coded(values, math.floor(low), int(high), dtype, floats=floats) or raw


def _dtype(span: int) -> Any:
    return next((each for each in _CODES if span < np.iinfo(each).max), None)


def _coded(
    values: Array, low: int, high: int, dtype: Any, *, floats: bool
) -> Packed | None:
    """Return *values* in codes of *dtype*; None: some have a fraction."""
    if not floats:
        if low == high:
            constant = np.broadcast_to(np.uint8(0), len(values))
            return Packed(constant, low, high, floats=False)
        return Packed((values - low).astype(dtype), low, high, floats=False)
    unknown = np.isnan(values)
    # Not by the codes: of a tiny fraction, value − low is rounded to a whole number.
    if not (unknown | (np.floor(values) == values)).all():
        return None
    codes = np.where(unknown, np.iinfo(dtype).max, values - low).astype(dtype)
    if low == high and not unknown.any():
        codes = np.broadcast_to(codes[:1].copy(), len(values))
    return Packed(codes, low, high, floats=True)


def gather(parts: Sequence[Packed]) -> Packed:
    """Return *parts* end to end; at least one."""
    floats = any(part.floats for part in parts)
    spans = [part for part in parts if part.low is not None and not _unknown(part)]
    if any(part.low is None for part in parts):
        return Packed(np.concatenate([part() for part in parts]), floats=floats)
    low = min((part.low or 0 for part in spans), default=0)
    high = max((part.high for part in spans), default=0)
    if (dtype := _dtype(high - low)) is None:
        return Packed(np.concatenate([part() for part in parts]), floats=floats)
    n = sum(map(len, parts))
    if all(_same(part, parts[0]) for part in parts):
        one = np.broadcast_to(parts[0].codes[:1], n)
        return Packed(one, parts[0].low, parts[0].high, floats=floats)
    codes = np.empty(n, dtype)
    at = 0
    for part in parts:
        _shift(part, low, codes[at : at + len(part)])
        at += len(part)
    return Packed(codes, low, high, floats=floats)


def _unknown(part: Packed) -> bool:
    """Return whether it holds nothing but NaN."""
    constant = not part.codes.strides[0] and len(part)
    return bool(constant and part.floats and part.codes[0] == np.uint8(255))


def _same(part: Packed, other: Packed) -> bool:
    """Return whether both are the same constant."""
    if part.codes.strides[0] or other.codes.strides[0]:
        return False
    return (part.low, part.codes[0]) == (other.low, other.codes[0])


def _shift(part: Packed, low: int, codes: Array) -> None:
    """Write the codes of *part* above *low* to *codes*."""
    codes[:] = part.codes
    codes += codes.dtype.type((part.low or 0) - low) if not _unknown(part) else 0
    if part.floats:
        unknown = part.codes == np.iinfo(part.codes.dtype).max
        codes[unknown] = np.iinfo(codes.dtype).max


@contextlib.contextmanager
def reused() -> Iterator[None]:
    """Have large arrays made of the memory of those before, where that is glibc's.

    It saves a quarter of the time of folding 10 million samples: else each array goes
    back as soon as it is freed, and the kernel makes the pages of the next one anew.
    Nor is garbage looked for meanwhile: arrays are in no cycles.
    """
    collecting = gc.isenabled()
    gc.disable()
    _set(_FROM_HEAP)
    try:
        yield
    finally:
        _set(_GIVEN_BACK)
        if collecting:
            gc.enable()
        give_back()


def _set(threshold: int) -> None:
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, threshold)
        libc.mallopt(_TRIM_THRESHOLD, threshold)


def give_back() -> None:
    """Return what was freed to the system, where it is glibc that would keep it.

    Many small arrays become one large one: without this, both count as used.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
