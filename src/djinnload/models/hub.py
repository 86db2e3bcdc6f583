"""Checkpoints of a hub: fetched where that is asked for, else only read from its cache.

A run never downloads: not before its clocks, where nobody would see what takes so long,
and not on them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

from djinnload.errors import ScenarioError

__all__ = ("fetching", "folder")

#: Weights, and what makes inputs for them; never a pickle.
_WANTED: Final = [
    "config.json",
    "*.safetensors",
    "tokenizer.json",
    "preprocessor_config.json",
]
_fetch = False


@contextmanager
def fetching() -> Iterator[None]:
    """Let `folder` fetch what is not there, or has changed, meanwhile."""
    global _fetch  # noqa: PLW0603 - of the whole process, as the hub's cache is
    before, _fetch = _fetch, True
    try:
        yield
    finally:
        _fetch = before


def folder(name: str) -> Path:
    """Return where the files of the hub id *name* are.

    Raises:
        ScenarioError: They are not on this machine, or cannot be fetched.
    """
    return _folder(name, fetch=_fetch)


@lru_cache  # one look a process: what there is must not change midway
def _folder(name: str, *, fetch: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download

        found = snapshot_download(
            name, allow_patterns=_WANTED, local_files_only=not fetch
        )
        return Path(found)
    except (ImportError, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        if fetch:
            text = f"cannot fetch {name!r}: {reason}"
        else:
            text = f"{name!r} is not on this machine: `djinnload prime SCENARIO`"
            text += f" fetches it, a run never does ({reason})"
        raise ScenarioError("model", text) from None
