"""Figures → files and pages: one look, the same bytes for the same values."""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = (
    "DASHES",
    "GRID",
    "INK",
    "PALETTE",
    "inline",
    "plain",
    "render",
    "saved",
    "tint",
)

#: Okabe and Ito, the ones that differ on white and on black.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = ((0, ()), (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)), (0, (9, 2)))
INK, GRID, PAPER, WARNING = "#1f2328", "#d0d7de", "#fefefe", "#b3261e"
#: How much of a colour is in the fill of areas: they differ in grey too.
_STRENGTHS = (0.9, 0.6, 0.35, 0.75, 0.5, 0.25)
_LABEL = 44  # characters
_SETTINGS: Any = {
    "svg.hashsalt": "djinnload",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "font.family": "sans-serif",
    "font.size": 11,
}
#: Nothing that another run of the same values would say otherwise.
_METADATA: Any = {
    "svg": dict.fromkeys(("Creator", "Date", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    "png": {"Software": None},
}
_DPI = 160


def render(
    fill: Callable[["Figure"], None], size_in: tuple[float, float], *, void: bool
) -> str:
    """Return what *fill* draws as an SVG document; see `saved`."""
    return saved(fill, size_in, ("svg",), void=void)["svg"].decode()


def saved(
    fill: Callable[["Figure"], None],
    size_in: tuple[float, float],
    formats: Sequence[str],
    *,
    void: bool,
) -> dict[str, bytes]:
    """Return what *fill* draws as a file of each of *formats*, without a date.

    Args:
        fill: Is given an empty figure.
        size_in: Width and height, inches.
        formats: Of ``svg``, ``pdf`` and ``png``.
        void: Whether to draw a watermark.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        # Names may hold letters that the font lacks; a browser has its own fonts.
        warnings.simplefilter("ignore")
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        figure = Figure(figsize=size_in)
        fill(figure)
        figure.set_layout_engine("constrained")
        if void:
            _watermark(figure)
        made = {}
        for kind in formats:
            sink = io.BytesIO()
            figure.savefig(sink, format=kind, metadata=_METADATA[kind], dpi=_DPI)
            made[kind] = sink.getvalue()
    if "svg" in made:
        made["svg"] = _short(made["svg"].decode()).encode()
    return made


def inline(svg: str, prefix: str, label: str) -> str:
    """Return *svg* for the inside of an HTML page, whose style sheet colours it.

    Args:
        svg: From `cdf` or `lines`.
        prefix: Makes its ids unique in the page: letters, digits, hyphens.
        label: What it shows, for those who do not see it; plain text.
    """
    from markupsafe import escape

    body = svg[svg.index("<svg") :]
    head, _, rest = body.partition(">")
    box = re.search(r'viewBox="([\d. ]+)"', head)
    rest = re.sub(r' xmlns(:\w+)?="[^"]*"', "", rest).replace("xlink:href", "href")
    rest = re.sub(r'(?<= )id="', f'id="{prefix}-', rest)
    rest = re.sub(r'href="#', f'href="#{prefix}-', rest)
    rest = re.sub(r"url\(#", f"url(#{prefix}-", rest)
    colours = {INK: "currentColor", GRID: "var(--grid)", PAPER: "none"}
    colours |= {colour: f"var(--s{i})" for i, colour in enumerate(PALETTE)}
    colours |= {
        tint(i): f"color-mix(in srgb,var(--s{i}) {100 * strength:g}%,var(--bg))"
        for i, strength in enumerate(_STRENGTHS)
    }
    colours[WARNING] = "var(--bad)"
    for colour, name in colours.items():
        rest = rest.replace(colour, name)
    size = box.group(1) if box else "0 0 460 280"
    return f'<svg viewBox="{size}" role="img" aria-label="{escape(label)}">{rest}'


def _watermark(figure: "Figure") -> None:
    for y in (0.3, 0.72):
        figure.text(
            0.5,
            y,
            "VOID \u00b7 VOID \u00b7 VOID",
            color=WARNING,
            alpha=0.22,
            fontsize=38,
            fontweight="bold",
            rotation=12,
            ha="center",
            va="center",
            in_layout=False,
        )


def tint(number: int) -> str:
    """Return the fill of areas of series *number*: its colour with white in it."""
    at = number % len(PALETTE)
    parts = [int(PALETTE[at][i : i + 2], 16) for i in (1, 3, 5)]
    mixed = [round(255 - (255 - part) * _STRENGTHS[at]) for part in parts]
    return "#" + "".join(f"{part:02x}" for part in mixed)


def plain(text: str) -> str:
    """Return text that XML can hold, short enough for a legend."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= _LABEL else f"{shown[: _LABEL - 1]}…"


def _short(svg: str) -> str:
    """Return it with paths to a hundredth of a point, as nobody sees more."""
    return re.sub(
        r' d="[^"]+"',
        lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found.group()),
        svg,
    )
