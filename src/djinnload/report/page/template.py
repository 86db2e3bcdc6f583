"""Templates, style sheet and script → one HTML document."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader
from markupsafe import Markup

from djinnload.report import amounts

__all__ = ("rendered",)

_HERE = Path(__file__).parent
_FOLDERS = (_HERE, _HERE.with_name("experiments"))


def rendered(name: str, context: Mapping[str, Any]) -> str:
    """Return the page that template *name* makes of *context*.

    What is not there renders as nothing, so that a killed run has a page too.
    """
    environment = Environment(
        loader=FileSystemLoader(_FOLDERS),
        autoescape=True,
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(amounts.FILTERS)
    # Our own files, without anything of a run's in them.
    own = {
        key: Markup(_HERE.joinpath(file).read_text(encoding="utf-8"))  # noqa: S704
        for key, file in (("look", "look.css"), ("script", "script.js"))
    }
    return environment.get_template(name).render(own | dict(context))
