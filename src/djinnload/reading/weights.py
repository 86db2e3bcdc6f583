"""Which weights answered, as a cell's manifest has it; pure."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ("weights",)


def weights(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each model and the sha256 of its weights, 64 hex digits, as it was told.

    Nothing of a server that tells neither.
    """
    proof = manifest.get("proof") or {}
    evidence = proof.get("evidence") or {}
    known = {name: each.get("value") for name, each in evidence.items()}
    told = [known, *(each.get("value") or {} for each in proof.get("echoes") or ())]
    found: dict[tuple[str, str], None] = {}
    for each in told:
        sha256 = each.get("weights_sha256")
        pairs = sha256 if isinstance(sha256, Mapping) else {each.get("model"): sha256}
        for model, digest in pairs.items():
            if model and digest:
                found[str(model), str(digest)] = None
    yield from found
