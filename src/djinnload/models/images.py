"""Images as a model takes them, made by transformers' own image processors.

Seeded ones, a file, a folder, or the photographs in the package scikit-image.
"""

import hashlib
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from djinnload.errors import DjinnloadError, HostError, ScenarioError
from djinnload.models import checkpoint, families
from djinnload.models.weights import cache_dir
from djinnload.spi import Model

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ("PACKAGE", "photographs", "pixels", "seeded")

#: The word for the photographs below; all are in the public domain or CC0.
PACKAGE: Final = "scikit-image"
_PHOTOGRAPHS: Final = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
_SUFFIXES: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_WIDTH, _HEIGHT = 320, 240
_PATCHES = 8
#: Raised with each change to what is made of the same images.
_RECIPE = 1
#: As the checkpoints of these models have it; transformers' own default is 0.5.
_IMAGENET: Final = {
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def seeded(generator: "np.random.Generator", count: int) -> "list[Array]":
    """Return *count* pictures [240, 320, 3] of uint8: patches of colour that blend."""
    import numpy as np
    from PIL import Image

    made = []
    for _ in range(count):
        size = (_PATCHES, _PATCHES, 3)
        patches = Image.fromarray(generator.integers(256, size=size, dtype=np.uint8))
        made.append(np.asarray(patches.resize((_WIDTH, _HEIGHT))))
    return made


def photographs(source: str) -> "list[Array]":
    """Return the images of *source*, by name, each [height, width, 3] of uint8.

    Args:
        source: A file, a folder, or `PACKAGE`.

    Raises:
        ScenarioError: There is none, or one cannot be read.
        HostError: Pillow is not installed.
    """
    try:
        import numpy as np
        from PIL import Image
    except ImportError as error:
        reason = "images need Pillow: pip install 'djinnload[images]'"
        raise HostError(f"{reason} ({error})") from error
    found: list[Array] = []
    for path in _paths(source):
        try:
            with Image.open(path) as image:
                found.append(np.asarray(image.convert("RGB")))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise ScenarioError("images", f"cannot read {path}: {error}") from error
    return found


def pixels(model: Model, images: "Sequence[Array]") -> "Array":
    """Return ``pixel_values`` [images, channels, height, width] of float32.

    By a child process: transformers brings torch with it, which has no place in the
    process that makes the load.

    Raises:
        ScenarioError: The checkpoint's processor makes another size than its model has.
        HostError: transformers is not installed, or has no such processor.
    """
    import numpy as np

    # Who has torch already has nothing to keep out: the process that checks answers.
    made = _made(model, images) if "torch" in sys.modules else _asked(model, images)
    if made.wrong:
        raise HostError(made.wrong)
    values = np.frombuffer(made.data, np.float32).reshape(made.shape)
    inputs = families.family(model.architecture).inputs
    port = next(each for each in inputs if each.name == "pixel_values")
    wanted = families.shape(port, model.config, batch=len(images), length=1)
    if values.shape != wanted:
        reason = f"its image processor makes {values.shape}, the model takes {wanted}"
        raise ScenarioError("model", reason)
    return values


class _Made(Struct):
    shape: tuple[int, ...] = ()
    data: bytes = b""
    wrong: str = ""


def _asked(model: Model, images: "Sequence[Array]") -> _Made:
    plain = [(each.shape, each.tobytes()) for each in images]
    asked = msgspec.msgpack.encode((model, plain))
    kept = _kept(model, asked)
    if kept is not None and kept.exists():
        with suppress(OSError, msgspec.DecodeError):  # else it is made again
            return msgspec.msgpack.decode(kept.read_bytes(), type=_Made)
    child = subprocess.run(
        [sys.executable, "-m", "djinnload.models.images"],
        input=asked,
        capture_output=True,
        check=False,
    )
    if child.returncode:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return _Made(wrong=f"cannot make images ready: {' '.join(last)}")
    made = msgspec.msgpack.decode(child.stdout, type=_Made)
    if kept is not None and not made.wrong:
        _keep(kept, child.stdout)
    return made


def _kept(model: Model, asked: bytes) -> Path | None:
    """Return where the answer is kept; None: a checkpoint's processor may change.

    Seconds of every start go into importing transformers, for the same pixels.
    """
    if model.source != "random":
        return None
    with suppress(metadata.PackageNotFoundError):
        of = f"{_RECIPE} {metadata.version('transformers')} ".encode()
        return cache_dir() / "pixels" / hashlib.sha256(of + asked).hexdigest()
    return None


def _keep(path: Path, data: bytes) -> None:
    with suppress(OSError):  # no room: it is made again, as before
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(data)
        temporary.replace(path)


def _made(model: Model, images: "Sequence[Array]") -> _Made:
    import numpy as np

    try:
        processor = _processor(model)
        found = processor(images=list(images), return_tensors="np")["pixel_values"]
    except DjinnloadError as error:
        return _Made(wrong=str(error))
    values = np.ascontiguousarray(found, dtype=np.float32)
    return _Made(values.shape, values.tobytes())


def main() -> None:
    """Be the child: a model and images in, pixels out."""
    import numpy as np

    model, plain = msgspec.msgpack.decode(
        sys.stdin.buffer.read(), type=tuple[Model, list[tuple[tuple[int, ...], bytes]]]
    )
    images = [np.frombuffer(data, np.uint8).reshape(shape) for shape, data in plain]
    sys.stdout.buffer.write(msgspec.msgpack.encode(_made(model, images)))


def _paths(source: str) -> list[Path]:
    if source == PACKAGE:
        spec = find_spec("skimage")
        places = (spec.submodule_search_locations if spec else None) or []
        if not places:
            reason = "scikit-image is not installed: pip install 'djinnload[images]'"
            raise ScenarioError("images", reason)
        return [Path(places[0]) / "data" / name for name in _PHOTOGRAPHS]
    path = Path(source).expanduser()
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES)
    if not found:
        known = ", ".join(_SUFFIXES)
        raise ScenarioError("images", f"no image in {source!r} (looked for {known})")
    return found


def _processor(model: Model) -> Any:
    name = families.family(model.architecture).processor
    try:
        import transformers

        # Release 5 has two of each; this one needs no torchvision.
        kind = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    except (ImportError, AttributeError) as error:
        reason = "images need transformers: pip install 'djinnload[models,images]'"
        raise HostError(f"{reason} ({error})") from error
    if model.source != "random":
        folder = checkpoint.folder(model.source)
        if (folder / "preprocessor_config.json").exists():
            return kind.from_pretrained(str(folder), local_files_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(**_sizes(model, name))


def _sizes(model: Model, name: str) -> dict[str, Any]:
    part = model.config.get("vision_config", model.config)
    side = int(part["image_size"])
    square = {"height": side, "width": side}
    if name == "ConvNextImageProcessor":
        return {"size": {"shortest_edge": side}, **_IMAGENET}
    if name == "EfficientNetImageProcessor":
        # The last step of theirs would divide by the deviation once more.
        return {"size": square, "include_top": False, **_IMAGENET}
    if name == "CLIPImageProcessor":
        return {"size": {"shortest_edge": side}, "crop_size": square}
    return {"size": square}


if __name__ == "__main__":
    main()
