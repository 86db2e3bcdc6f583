"""What a report says of proof and environment, from a run's manifests."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from djinnload.reading.files import read_document

__all__ = ("environment", "proof")

Document = dict[str, Any]


def proof(run_dir: Path, cells: Iterable[Document]) -> Iterator[Document]:
    """Yield what shows that each arm was what it says, equal cells together."""
    rows: dict[str, Document] = {}
    for cell in cells:
        manifest = read_document(run_dir / str(cell.get("path")) / "manifest.json")
        told = manifest.get("proof") or {}
        evidence, settings = told.get("evidence") or {}, told.get("settings") or {}
        echoes = [each for each in told.get("echoes") or () if isinstance(each, dict)]
        for name in dict.fromkeys((*settings, *evidence)):
            shown = evidence.get(name)
            shown = shown if isinstance(shown, dict) else {"value": shown}
            row = {
                "arm": cell.get("arm"),
                "setting": name,
                "asked": _text(settings.get(name)),
                "shown": _text(shown.get("value")),
                "how": _text(shown.get("how")),
                "target": f"{_text(told.get('kind'))} at {_text(told.get('address'))}",
            }
            row = rows.setdefault(json.dumps(row, default=str), row)
            row["cells"] = row.get("cells", 0) + 1
            echoed = row.setdefault("echoed", {})
            for each in echoes:
                value = each.get("value")
                if isinstance(value, dict) and name in value:
                    said = _text(value[name])
                    echoed[said] = echoed.get(said, 0) + int(each.get("n") or 0)
    yield from rows.values()


def environment(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the run was measured on, name by name."""
    for part in ("host", "versions", "environment"):
        for name, value in (manifest.get(part) or {}).items():
            yield f"{part}: {name}", _text(value)
    devices = manifest.get("devices")
    for index, device in enumerate(devices if isinstance(devices, list) else ()):
        yield f"device {index}", _text(device)
    if not devices:
        yield "devices", "no GPU was found"


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
