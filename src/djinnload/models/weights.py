"""Weights as files: seeded ones, or a checkpoint's, made once and memory-mapped.

One safetensors file a model, its tensors in the order of their names, with the content
hash in its metadata: the file is remade if its content and that hash disagree. The
format is written and read here, for numpy has no bfloat16 and one tensor at a time is
all that need be in memory. numpy only, but for the shapes (``build.shapes``).
"""

import hashlib
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from djinnload.errors import HostError
from djinnload.models import checkpoint, families, initial
from djinnload.models.checkpoint import SAFETENSORS_CODES, read
from djinnload.spi import Model, Tensor

__all__ = (
    "cache_dir",
    "cached",
    "content_sha256",
    "ensure",
    "mapped",
    "nbytes",
    "path_of",
    "ready",
    "sha256",
    "tensors",
)

_FORMAT: Final = 1  #: Part of the cache key; raise it when the numbers change.
_HASH: Final = "djinnload.content_sha256"
_ALIGN: Final = 64


def ensure(model: Model) -> Path:
    """Return the safetensors file of *model*, made now if it is not there or damaged.

    The file is in ``$DJINNLOAD_CACHE``, else in ``~/.cache/djinnload``; two processes
    at once make it once.

    Raises:
        HostError: The cache cannot be written.
        ScenarioError: The model's checkpoint cannot be read, or does not fit.
    """
    path = path_of(model)
    try:
        if _intact(path):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            if not _intact(path):  # else: another process made it meanwhile
                _make(model, path)
    except OSError as error:
        raise HostError(f"cannot keep weights in {path.parent}: {error}") from error
    return path


def path_of(model: Model) -> Path:
    """Return where the weights of *model* are kept, or would be.

    Raises:
        ScenarioError: The model's checkpoint is not there.
    """
    return cache_dir() / f"{_safe(model.name)}-{model.dtype}-{_key(model)}.safetensors"


def ready(model: Model) -> bool:
    """Return whether `ensure` has nothing to make.

    Raises:
        ScenarioError: The model's checkpoint is not there.
    """
    return _intact(path_of(model))


def cached(model: Model) -> bool:
    """Return whether *model* has a file, whole or not.

    Raises:
        ScenarioError: The model's checkpoint cannot be read.
    """
    return path_of(model).exists()


def mapped(model: Model) -> tuple[str, list[Tensor]]:
    """Return the hash that the file gives itself, and the tensors, memory-mapped.

    A file that is there is not read: whoever gets the tensors can hash them.

    Raises:
        HostError: The cache cannot be written, or its file is not what it should be.
        ScenarioError: The model's checkpoint cannot be read, or does not fit.
    """
    path = path_of(model) if cached(model) else ensure(model)
    try:
        metadata, found = read(path)
        return metadata[_HASH], found
    except (OSError, ValueError, LookupError) as error:
        raise HostError(f"cannot read weights, remove {path}: {error}") from error


def nbytes(model: Model) -> int:
    """Return the bytes of all tensors of *model*, made or not.

    Raises:
        HostError: torch or transformers is not installed, and it is not made.
        ScenarioError: The model's checkpoint cannot be read.
    """
    if cached(model):
        return sum(tensor.nbytes for tensor in mapped(model)[1])
    from djinnload.models import build

    shapes = build.shapes(model.architecture, model.config).values()
    return sum(map(math.prod, shapes)) * families.DTYPES[model.dtype]


def tensors(model: Model) -> Iterator[Tensor]:
    """Yield the tensors of *model* in the order of their names, memory-mapped.

    Their memory is private to this process (copy on write); the file never changes.

    Raises:
        HostError: The cache cannot be written.
        ScenarioError: The model's checkpoint cannot be read, or does not fit.
    """
    _, found = read(ensure(model))
    yield from found


def sha256(model: Model) -> str:
    """Return the hex hash of names, dtypes, shapes and bytes, in the order of names.

    Raises:
        HostError: The cache cannot be written.
        ScenarioError: The model's checkpoint cannot be read, or does not fit.
    """
    metadata, _ = read(ensure(model))
    return metadata[_HASH]


def content_sha256(found: Iterable[Tensor]) -> str:
    """Return the hex hash that ``sha256`` would, of tensors in any order."""
    digest = hashlib.sha256()
    for tensor in sorted(found, key=lambda tensor: tensor.name):
        _digest(digest, tensor)
    return digest.hexdigest()


def _digest(digest: "hashlib._Hash", tensor: Tensor) -> None:
    # The server hashes weights that were sent to it in the same way.
    digest.update(f"{tensor.name} {tensor.dtype} {tensor.shape}\n".encode())
    digest.update(tensor.data)


def cache_dir() -> Path:
    """Return where weights are kept; it need not exist."""
    given = os.environ.get("DJINNLOAD_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "djinnload"


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name)[-40:]


def _key(model: Model) -> str:
    random = model.source == "random"
    what = (
        _FORMAT,
        model.architecture,
        model.config,
        model.dtype,
        model.seed if random else checkpoint.stamp(model.source),
    )
    encoded = msgspec.json.encode(what, order="deterministic")
    return hashlib.sha256(encoded).hexdigest()[:16]


def _intact(path: Path) -> bool:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return _matches_hash(path, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=64)
def _matches_hash(path: Path, _stamp: tuple[int, int]) -> bool:
    """Hash the file; for its size and time an untouched one is hashed only once."""
    try:
        metadata, found = read(path)
        return content_sha256(found) == metadata.get(_HASH)
    except ValueError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # let go of when the file is closed
        yield


def _make(model: Model, path: Path) -> None:
    from djinnload.models import build

    shapes = build.shapes(model.architecture, model.config)
    made: Iterator[Tensor]
    if model.source == "random":
        made = _drawn(model, shapes)
    else:
        made = checkpoint.tensors(model, shapes)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        _write(file, made, shapes, model.dtype)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _drawn(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[Tensor]:
    """Yield the seeded tensors in order; numpy draws without the GIL, so on all cores.

    A core's next tensor waits for its turn: memory is a few tensors', not the model's.
    """
    cores = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        drawn: deque[Future[Tensor]] = deque()
        for name in sorted(shapes):
            drawn.append(pool.submit(initial.seeded, model, name, shapes[name]))
            if len(drawn) > cores:
                yield drawn.popleft().result()
        while drawn:
            yield drawn.popleft().result()


def _write(
    file: BinaryIO,
    made: Iterable[Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: str,
) -> None:
    digest = hashlib.sha256()
    file.write(_header(shapes, dtype, "0" * 64))
    for tensor in made:
        file.write(tensor.data)
        _digest(digest, tensor)
    # The hash is known last and stands first; it is as long as what it replaces.
    file.seek(0)
    file.write(_header(shapes, dtype, digest.hexdigest()))


def _header(shapes: Mapping[str, tuple[int, ...]], dtype: str, digest: str) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt", _HASH: digest}}
    offset = 0
    for name in sorted(shapes):
        end = offset + math.prod(shapes[name]) * families.DTYPES[dtype]
        header[name] = {
            "dtype": SAFETENSORS_CODES[dtype],
            "shape": shapes[name],
            "data_offsets": (offset, end),
        }
        offset = end
    encoded = msgspec.json.encode(header)
    encoded += b" " * (-(len(encoded) + 8) % _ALIGN)
    return len(encoded).to_bytes(8, "little") + encoded
