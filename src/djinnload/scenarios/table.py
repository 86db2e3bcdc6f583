"""What all tables of a scenario file have in common."""

from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import fields, force_setattr

from djinnload.units import Duration, Hz, Share, Size

__all__ = (
    "NAME_PATTERN",
    "Config",
    "Core",
    "Count",
    "Index",
    "Name",
    "Positive",
    "QosClass",
    "Text",
)

#: Names become file names and session ids, so they are kept plain.
NAME_PATTERN = r"^[a-z][a-z0-9_-]*\Z"

Name = Annotated[str, Meta(pattern=NAME_PATTERN, max_length=64)]
Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1, le=2**50)]
Index = Annotated[int, Meta(ge=0, le=2**50)]
Core = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[float, Meta(gt=0, le=1e6)]
QosClass = Literal["realtime", "interactive", "batch"]


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a scenario file."""

    def __post_init__(self) -> None:
        # Plain numbers, so that any encoder takes a table as it is.
        for info in fields(self):
            value = getattr(self, info.name)
            if type(value) in {Duration, Size}:
                force_setattr(self, info.name, int(value))
            elif isinstance(value, Hz | Share):
                force_setattr(self, info.name, float(value))
