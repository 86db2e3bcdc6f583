"""A run's directory → ``RUNBOOK.md``: what another person needs to repeat it.

Made from the directory alone, whatever it is called and wherever it lies: the same
files give the same bytes.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment

from djinnload.manifest import requirements
from djinnload.reading.files import read_document
from djinnload.reading.weights import weights
from djinnload.report.amounts import number
from djinnload.scenarios.text import literal

__all__ = ("FILE", "write")

Document = Mapping[str, Any]

FILE = "RUNBOOK.md"
TEMPLATE = "runbook.md.j2"
_WORDS = {
    "pass": "PASS: every judged objective is met, or none was judged.",
    "fail": "FAIL: a judged objective is missed.",
    "void": "VOID: this run is no evidence, neither for nor against.",
}
_HOST = ("system", "cpu", "cores", "memory_bytes", "clock_source", "governor", "name")
#: Variables that only say where something lies here.
_PLACES = ("DJINNLOAD_CACHE",)
_SECONDS_OF_A_MINUTE = 60
#: So many cells are listed, in the order of the run; all are in index.json.
_LISTED = 24


def write(run_dir: Path) -> Path:
    """Write RUNBOOK.md of a run, finished or not; return its path.

    Raises:
        OSError: It cannot be written.
    """
    environment = Environment(  # noqa: S701 - Markdown, shown as text
        undefined=ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"command": _command, "quoted": shlex.quote, "num": number}
    source = Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    path = Path(run_dir) / FILE
    text = environment.from_string(source).render(_context(Path(run_dir)))
    path.write_text(text, encoding="utf-8")
    return path


def _context(run_dir: Path) -> dict[str, Any]:
    manifest = read_document(run_dir / "manifest.json")
    summary = read_document(run_dir / "summary.json")
    entries = read_document(run_dir / "index.json").get("cells") or ()
    cells = {
        str(each["id"]): (
            each,
            read_document(run_dir / str(each["path"]) / "manifest.json"),
        )
        for each in entries
    }
    scenario = manifest.get("scenario") or {}
    calibration = read_document(run_dir / "calibration.json")
    versions = manifest.get("versions") or {}
    argv = [str(word) for word in manifest.get("argv") or ()]
    return {
        "manifest": manifest,
        "scenario": scenario,
        "verdict": _verdict(summary),
        "begun": _begun(manifest),
        "took": _took(manifest.get("seconds")),
        "done": _done(entries),
        "needs": _needs(manifest),
        "minor": ".".join(str(versions.get("python") or "3").split(".")[:2]),
        "versions": versions.items(),
        "environment": (variables := manifest.get("environment") or {}).items(),
        "exported": [(k, v) for k, v in variables.items() if k not in _PLACES],
        "steps": _steps(manifest, searched=(run_dir / "search.json").is_file()),
        "by_command": any(map(_is_command, argv[:1])),
        "calibration": calibration,
        "changes": [
            (k, literal(v)) for k, v in (scenario.get("changes") or {}).items()
        ],
        "said": list(_said(manifest, calibration)),
        "order": _few(cells),
        "inputs": list(_inputs(cells)),
        "files": list(_files(cells)),
        "arms": list(_arms(manifest, cells)),
        "models": list(_models(manifest, cells)),
        "servers": list(_servers(cells)),
        "host": [(k, v) for k, v in _host(manifest) if v is not None],
        "devices": manifest.get("devices") or (),
        "requirements": requirements(manifest).rstrip(),
    }


def _command(words: Sequence[object] | None) -> str:
    """Return a command line for a shell; of an installed script, its name alone."""
    if not isinstance(words, Sequence) or not words:
        return "djinnload"
    first, *rest = map(str, words)
    named = ["djinnload"] if _is_command(first) else [first]
    return shlex.join((*named, *rest))


def _is_command(word: str) -> bool:
    path = Path(word)
    module = path.name == "__main__.py" and path.parent.name == "djinnload"
    return module or path.name == "djinnload"


def _verdict(summary: Document) -> str:
    found = summary.get("verdict") or {}
    words = _WORDS.get(str(found.get("status")), "There is no verdict.")
    if summary.get("interrupted"):
        words = f"Interrupted. {words}"
    codes = dict.fromkeys(str(each.get("code")) for each in found.get("reasons") or ())
    if codes:
        words += f" Reasons, which summary.json explains: {', '.join(codes)}."
    code = summary.get("exit_code")
    return words if code is None else f"{words} Exit code {code}."


def _begun(manifest: Document) -> str:
    with suppress(OverflowError, ValueError, OSError, KeyError, TypeError):
        seconds = manifest["anchor"]["wall_ns"] // 10**9
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "at a time that is not known"


def _took(seconds: object) -> str:
    if not isinstance(seconds, int | float):
        return ""
    minutes, rest = divmod(round(seconds), _SECONDS_OF_A_MINUTE)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _done(entries: Sequence[Document]) -> str:
    counts: dict[str, int] = {}
    for each in entries:
        status = str(each.get("status"))
        counts[status] = counts.get(status, 0) + 1
    listed = ", ".join(f"{n} {status}" for status, n in counts.items())
    return f"Cells: {listed or 'none'}."


def _needs(manifest: Document) -> str:
    versions, source = manifest.get("versions") or {}, manifest.get("source") or {}
    made = (
        f"Needs Python {versions.get('python')}, djinnload {versions.get('djinnload')}"
    )
    if source.get("commit"):
        made += f" (commit `{source['commit']}`"
        made += ", with changes not committed)" if source.get("modified") else ")"
    devices = manifest.get("devices") or ()
    made += "".join(f", {each.get('name')}" for each in devices[:1])
    return f"{made}. In this directory:"


def _steps(manifest: Document, *, searched: bool) -> dict[str, list[str]]:
    """Return the commands that do it again, everything that was asked for said."""
    scenario = manifest.get("scenario") or {}
    changes = scenario.get("changes") or {}
    chosen, all_ = manifest.get("arms") or {}, _arms_of_plan(manifest)
    options = [w for k, v in changes.items() for w in ("--set", f"{k}={literal(v)}")]
    if set(chosen) != set(all_):
        options += [word for arm in chosen for word in ("--arm", arm)]
    target = manifest.get("target")
    at = ["--target", str(target)] if target else []
    last = [w for code in manifest.get("accepted") or () for w in ("--accept", code)]
    declared = manifest.get("declared") or {}
    last += [w for k, v in declared.items() for w in ("--declare", f"{k}={v}")]
    file = "scenario.toml"
    return {
        "prime": ["djinnload", "prime", file, *options],
        "doctor": ["djinnload", "doctor", file, *at, *options],
        "run": [
            "djinnload",
            "search" if searched else "run",
            file,
            *at,
            *options,
            *last,
        ],
    }


def _arms_of_plan(manifest: Document) -> list[str]:
    arms = (manifest.get("plan") or {}).get("arm") or ({"name": "default"},)
    return [str(each.get("name")) for each in arms]


def _said(manifest: Document, calibration: Document) -> Iterator[str]:
    if accepted := manifest.get("accepted"):
        yield f"Accepted, so that it voids nothing: {', '.join(accepted)}."
    for name, value in (manifest.get("declared") or {}).items():
        yield f"Declared, on the word of whoever ran it: `{name}={value}`."
    if target := manifest.get("target") or manifest.get("target_object"):
        yield f"Driven: `{target}`, named by whoever ran it."
    if calibration:
        found = f"{number(calibration.get('capacity_per_s'))} sessions/s"
        end = calibration.get("end") or {}
        after = f", {number(end.get('capacity_per_s'))} after the last cell" * bool(end)
        pinned = ", pinned by the scenario" * bool(calibration.get("pinned"))
        yield f"Capacity of arm {calibration.get('arm')}: {found}{after}{pinned}."


def _few(names: Iterable[str]) -> list[str]:
    every = list(names)
    more = len(every) - _LISTED
    return every[:_LISTED] + [f"and {more} more, in index.json"] * (more > 0)


def _inputs(cells: Mapping[str, tuple[Document, Document]]) -> Iterator[Document]:
    for cell, (_, manifest) in list(cells.items())[:_LISTED]:
        for name, found in (manifest.get("inputs") or {}).items():
            yield {"cell": cell, "population": name, **found}


def _files(cells: Mapping[str, tuple[Document, Document]]) -> Iterator[Document]:
    seen = set()
    for _, manifest in cells.values():
        for population in (manifest.get("populations") or {}).values():
            for each in population.get("files") or ():
                if (key := (each.get("path"), each.get("sha256"))) not in seen:
                    seen.add(key)
                    yield each


def _arms(
    manifest: Document, cells: Mapping[str, tuple[Document, Document]]
) -> Iterator[Document]:
    for name, arm in (manifest.get("arms") or {}).items():
        first = next(
            (m for entry, m in cells.values() if entry.get("arm") == name and m), {}
        )
        proof = first.get("proof") or {}
        boot = f", boot {proof['boot']}" if proof.get("boot") else ""
        at = f" at `{proof['address']}`" if proof.get("address") else ""
        yield {
            "name": name,
            "judged": arm.get("judged"),
            "answered": f"Answered by {proof.get('kind') or 'nobody'}{at}{boot}.",
            "rows": list(_settings(proof)),
        }


def _settings(proof: Document) -> Iterator[Document]:
    """Yield what an arm was told, or its server says, and how that is known."""
    evidence, settings = proof.get("evidence") or {}, proof.get("settings") or {}
    echoes = [each.get("value") or {} for each in proof.get("echoes") or ()]
    echoed = {name for each in echoes for name in each.get("behaviours") or ()}
    for name in dict.fromkeys((*settings, *evidence)):
        known = evidence.get(name) or {}
        how = known.get("how") or ("echoed" if name in echoed else "nothing proves it")
        yield {"name": name, "value": _value(settings, known, name), "how": how}


def _value(settings: Document, known: Document, name: str) -> str:
    value = settings.get(name, known.get("value"))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _models(
    manifest: Document, cells: Mapping[str, tuple[Document, Document]]
) -> Iterator[Document]:
    told: dict[str, dict[str, None]] = {}
    for _, each in cells.values():
        for model, sha256 in weights(each):
            told.setdefault(model, {})[sha256] = None
    for model in manifest.get("models") or ():
        names = (model.get("id"), model.get("name"), model.get("architecture"))
        found = [sha for name in names for sha in told.pop(str(name), ())]
        listed = ", ".join(f"`{sha}`" for sha in dict.fromkeys(found))
        yield {**model, "sha256": listed or "not told by what answered"}
    for name, digests in told.items():
        yield {"name": name, "sha256": ", ".join(f"`{sha}`" for sha in digests)}


def _servers(cells: Mapping[str, tuple[Document, Document]]) -> Iterator[Document]:
    """Yield each server of ours, by the first cell that it answered."""
    boots = {
        str(entry.get("boot")): manifest
        for entry, manifest in reversed(list(cells.values()))
        if manifest.get("server")
    }
    for boot, manifest in sorted(boots.items()):
        server = manifest["server"]
        yield {
            "boot": boot,
            "command": server.get("command") or ["djinnload", "serve"],
            "environment": (server.get("environment") or {}).items(),
            "log": server.get("log") or f"server-{boot}.log",
        }


def _host(manifest: Document) -> Iterator[tuple[str, Any]]:
    host = manifest.get("host") or {}
    return ((name.replace("_", " "), host.get(name)) for name in _HOST)
