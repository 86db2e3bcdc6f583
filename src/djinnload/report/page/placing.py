"""Figures → their place on a page: the drawing, its caption, its data to download."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup
from msgspec import Struct

from djinnload.report import drawing
from djinnload.report.drawn import Drawn

__all__ = ("MOST_BYTES", "Placed", "Shelf", "data_uri", "replace")

#: Of all drawings and data on one page: with its tables it stays under 2 MB.
MOST_BYTES = 1_500_000
_SAFE = "!$&'()*+,-./:;=?@_~"


class Placed(Struct, frozen=True):
    """A figure as the page shows it.

    Attributes:
        drawn: What it is.
        path: Of its own file, beside the page; empty: it has none.
        svg: For the inside of the page; empty: there was no room left.
        data: Its CSV as a URI to download.
        name: Of that file.
    """

    drawn: Drawn
    path: str
    svg: str
    data: str
    name: str


class Shelf:
    """Places figures while there is room; the files of all are saved."""

    def __init__(self, directory: Path | None, used: int = 0) -> None:
        """Save to *directory*; None: nowhere. *used*: bytes on the page already."""
        self._directory, self._left = directory, MOST_BYTES - used

    def place(self, kind: str, every: Iterable[Drawn]) -> list[Placed]:
        """Return figures as the page has them; their ids begin with *kind*."""
        return list(self._placed(kind, every))

    def _placed(self, kind: str, every: Iterable[Drawn]) -> Iterator[Placed]:
        for index, each in enumerate(every):
            slug = re.sub(r"[^A-Za-z0-9.]+", "-", each.slug).strip("-.")[:48]
            slug = slug.removeprefix(f"{kind}-")
            stem = f"{kind}-{index:02d}-{slug}"
            path = ""
            if self._directory is not None:
                path = f"figures/{stem}.svg"
                replace(self._directory / path, each.svg)
            svg = drawing.inline(each.svg, f"{kind}-{index}", each.label)
            data = data_uri(each.csv)
            size = len(svg.encode("utf-8", "replace")) + len(data)
            fits = size <= self._left
            self._left -= size * fits
            # Made by matplotlib, which escapes what it is given.
            shown = Markup(svg) if fits else Markup()  # noqa: S704
            yield Placed(each, path, shown, data * fits, f"{stem}.csv")


def data_uri(text: str, kind: str = "text/csv") -> str:
    """Return a URI that holds *text*, of the media type *kind*."""
    # Spaces and other signs that a browser takes as they are keep it short.
    return f"data:{kind};charset=utf-8,{quote(text, safe=_SAFE, errors='replace')}"


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    # Names may hold halves of surrogate pairs, which UTF-8 cannot.
    temporary.write_bytes(text.encode("utf-8", "replace"))
    temporary.replace(path)
