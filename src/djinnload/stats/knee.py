"""Where throughput stops to follow load: the knee of a curve; pure."""

from collections.abc import Iterable

__all__ = ("knee",)

_FEWEST = 4
#: Sensitivity: how many mean steps of load the curve must bend away by.
_SENSITIVITY = 1.0


def knee(points: Iterable[tuple[float, float]]) -> tuple[float, float] | None:
    """Return the (load, throughput) at the knee, one of *points*; None: there is none.

    Kneedle (Satopaa, Albrecht, Irwin and Raghavan: Finding a "Kneedle" in a Haystack,
    ICDCS Workshops 2011) for a concave, rising curve, without its smoothing, as each
    point is the mean of many turns: both axes are scaled to 0 … 1, and the knee is
    where the curve is highest above the diagonal, if it comes down again by more than
    the mean step of load.

    Args:
        points: In any order; of equal loads the mean counts.
    """
    curve = _curve(points)
    if len(curve) < _FEWEST:
        return None
    (left, _), (right, _) = curve[0], curve[-1]
    bottom, top = min(y for _, y in curve), max(y for _, y in curve)
    if top <= bottom:
        return None
    above = [(y - bottom) / (top - bottom) - (x - left) / (right - left)
             for x, y in curve]  # fmt: skip
    highest = max(range(len(curve)), key=above.__getitem__)
    threshold = above[highest] - _SENSITIVITY / (len(curve) - 1)
    bends = any(each < threshold for each in above[highest + 1 :])
    return curve[highest] if bends else None


def _curve(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    found: dict[float, list[float]] = {}
    for load, throughput in points:
        found.setdefault(load, []).append(throughput)
    return sorted((load, sum(each) / len(each)) for load, each in found.items())
