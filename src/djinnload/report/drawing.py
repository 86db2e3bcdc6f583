"""Figures → files and pages: one look, the same bytes for the same values."""

import io
import json
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = (
    "DASHES",
    "GRID",
    "HEAT",
    "INK",
    "PALETTE",
    "WARNING",
    "gridded",
    "inline",
    "keyed",
    "legend",
    "named",
    "plain",
    "render",
    "saved",
    "stacked",
    "tint",
)

#: Okabe and Ito, the ones that differ on white and on black.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DASHES = ((0, ()), (0, (5, 2)), (0, (1, 1.3)), (0, (6, 2, 1, 2)), (0, (9, 2)))
INK, GRID, PAPER, WARNING = "#1f2328", "#d0d7de", "#fefefe", "#b3261e"
#: How much of a colour is in the fill of areas: they differ in grey too.
_STRENGTHS = (0.9, 0.6, 0.35, 0.75, 0.5, 0.25)
_LABEL = 44  # characters
#: Of heat maps, from few to many; a page has ramps of its own, light and dark.
HEAT = ("#e0eef6", "#bfdcec", "#99c7e0", "#73b1d5", "#4c9cc9", "#2687be", "#00527f")
#: Before the classes in an artist's gid.
_KEY = "~"
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
#: Pixels of a page to a unit of a view box, at most: small figures stay small.
_SCALE = 1.4
#: An inch, in units of an SVG's view box.
_POINTS = 72


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
        made["svg"] = _told(_short(made["svg"].decode()), figure).encode()
    return made


def keyed(artist: "Artist", key: str) -> None:
    """Have an artist carry *key* (``a0 p1``) as classes, by which pages hide it."""
    if key:
        artist.set_gid(f"{_KEY}{key}")


def legend(figure: "Figure", axes: "Axes", **style: Any) -> None:
    """Put the legend of *axes* below the figure; its entries carry their keys."""
    handles, labels = axes.get_legend_handles_labels()
    where: dict[str, Any] = {"loc": "outside lower left", "frameon": False}
    made = figure.legend(handles, labels, **where, **style)
    for handle, shown, text in zip(
        handles, made.legend_handles, made.get_texts(), strict=True
    ):
        of = handle[0] if isinstance(handle, tuple) else handle
        for each in (shown, text):
            if each is not None and of.get_gid():
                each.set_gid(of.get_gid())


def gridded(axes: "Axes") -> None:
    """Give axes a light grid, and no frame above and on the right."""
    axes.grid(visible=True, which="major", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def stacked(
    figure: "Figure",
    panels: Mapping[str, Callable[["Axes"], None]],
    *,
    title: str,
    xlabel: str,
) -> None:
    """Draw panels one below the other, over the same x, with one legend.

    Args:
        figure: Empty.
        panels: What draws each, by the label of its y.
        title: Of the figure, on the left.
        xlabel: Of all.
    """
    every = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (ylabel, draw) in zip(every, panels.items(), strict=True):
        draw(axes)
        axes.set_ylabel(ylabel)
    every[-1].set_xlabel(xlabel)
    every[0].set_title(plain(title), loc="left", fontsize=12, weight="bold")
    legend(figure, every[0], ncols=2)


def _told(svg: str, figure: "Figure") -> str:
    """Return *svg* with classes for keys, and where its axes are as ``data-axes``."""
    svg = re.sub(f'id="{_KEY}([^"]*)"', r'class="\1"', svg)
    size_in = figure.get_size_inches()
    told = [_axes(each, size_in) for each in figure.axes]
    axes = json.dumps(told, separators=(",", ":"))
    return svg.replace("<svg ", f"<svg data-axes={quoteattr(axes)} ", 1)


def _axes(axes: "Axes", size_in: Iterable[float]) -> dict[str, Any]:
    """Return where axes are in the view box (left, top, right, bottom) and mean."""
    width, height = (_POINTS * each for each in size_in)
    at = axes.get_position()
    return {
        "box": [
            round(float(each), 2)
            for each in (
                at.x0 * width,
                (1 - at.y1) * height,
                at.x1 * width,
                (1 - at.y0) * height,
            )
        ],
        "x": _axis(axes.get_xlabel(), axes.get_xlim(), axes.get_xscale()),
        "y": _axis(axes.get_ylabel(), axes.get_ylim(), axes.get_yscale()),
    }


def _axis(label: str, limits: tuple[float, float], scale: str) -> dict[str, Any]:
    ends = [float(f"{each:.6g}") for each in limits]
    return {"label": label, "ends": ends, "log": scale == "log"}


def inline(svg: str, prefix: str, label: str) -> str:
    """Return *svg* for the inside of an HTML page, whose style sheet colours it.

    Args:
        svg: From `render`.
        prefix: Makes its ids unique in the page: letters, digits, hyphens.
        label: What it shows, for those who do not see it; plain text.
    """
    from markupsafe import escape

    body = svg[svg.index("<svg") :]
    head, _, rest = body.partition(">")
    box = re.search(r'viewBox="([\d. ]+)"', head)
    axes = re.search(r"data-axes=('[^']*'|\"[^\"]*\")", head)
    rest = _slim(rest)
    rest = re.sub(r'(?<= )id="', f'id="{prefix}-', rest)
    rest = re.sub(r'href="#', f'href="#{prefix}-', rest)
    rest = re.sub(r"url\(#", f"url(#{prefix}-", rest)
    for colour, name in _themed().items():
        rest = rest.replace(colour, name)
    size = box.group(1) if box else "0 0 460 280"
    told = f" {axes.group()}" if axes else ""
    named = f'role="img" aria-label="{escape(label)}"'
    most = f'style="max-width:{_SCALE * float(size.split()[2]):.0f}px"'
    return f'<svg viewBox="{size}" {most} {named}{told}>{rest}'


def _slim(body: str) -> str:
    """Return the inside of an SVG without what an HTML page has no use for."""
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body).replace("xlink:href", "href")
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
    used = set(re.findall(r"#([^\")]+)", body))
    body = re.sub(
        r' id="([^"]*)"', lambda m: m.group() if m.group(1) in used else "", body
    )
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r' transform="rotate\(-0[^"]*"', "", body)
    body = re.sub(r'\s*\n"', '"', body)
    body = re.sub(r"\s*\n\s*", " ", body)
    body = re.sub(
        r' (?:d|x|y|transform)="[^"]+"',
        lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found.group()),
        body,
    )
    return body.replace("> <", "><").replace("<defs></defs>", "")


def _themed() -> dict[str, str]:
    """Return what a style sheet says instead of each colour."""
    mixed = {tint(i): (i, strength) for i, strength in enumerate(_STRENGTHS)}
    colours = {INK: "currentColor", GRID: "var(--grid)", PAPER: "none"}
    # Before plain colours: the strongest heat is none of them.
    colours |= {each: f"var(--h{i})" for i, each in enumerate(HEAT)}
    colours |= {colour: f"var(--s{i})" for i, colour in enumerate(PALETTE)}
    colours |= {
        colour: f"color-mix(in srgb,var(--s{i}) {100 * strength:g}%,var(--bg))"
        for colour, (i, strength) in mixed.items()
    }
    return colours | {WARNING: "var(--bad)"}


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


def plain(text: str, most: int = _LABEL) -> str:
    """Return text that XML can hold, short enough for a legend: *most* characters."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def named(text: str) -> str:
    """Return `plain` *text* for an entry of a legend."""
    # A leading underscore would keep it out of the legend.
    return plain(text).replace("_", "\u200b_", 1)


def _short(svg: str) -> str:
    """Return it with paths to a hundredth of a point, as nobody sees more."""
    return re.sub(
        r' d="[^"]+"',
        lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found.group()),
        svg,
    )
