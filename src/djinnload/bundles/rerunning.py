"""A bundle → its run once more, and what the two have in common.

Schedule, inputs and weights must be identical; the verdict should be; times may differ,
and are compared as `djinnload.regressions` compares runs.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio

from djinnload import calibrate, manifest, regressions, runner
from djinnload.bundles.identity import first_difference, identity, unknown
from djinnload.bundles.opening import Opened, unpack
from djinnload.bundles.packing import SCENARIO
from djinnload.comparability import KEYS
from djinnload.errors import DjinnloadError, ScenarioError
from djinnload.reading.files import read_json, write_json
from djinnload.result import Result
from djinnload.scenarios.load import Scenario, loads
from djinnload.summary.fold import read_run

__all__ = ("FILE", "rerun", "versions")

Document = dict[str, Any]

FILE = "rerun.json"
_SCHEMA = 1
_VOID, _DIFFERS, _OTHER = 4, 2, 1
_CANNOT_RUN = 3


async def rerun(bundle: Path, **options: Any) -> tuple[Result, Document]:
    """Repeat the run of *bundle*, at the capacity that it was measured at.

    Args:
        bundle: As `djinnload.bundles.packing.pack` makes it.
        options: Of `djinnload.runner.run`: ``out``, ``target``, ``accept``,
            ``on_progress``, ``stop``; what is not given is as it was.

    Returns:
        The new run, and ``rerun.json``, which lies in its directory.

    Raises:
        ScenarioError: It is no bundle, or of what cannot be repeated; nothing was run.
    """
    with tempfile.TemporaryDirectory(prefix="djinnload-") as folder:
        opened = await anyio.to_thread.run_sync(unpack, Path(bundle), Path(folder))
        result = await _again(opened, options)
        found = await anyio.to_thread.run_sync(_compared, opened, result)
    write_json(result.path / FILE, found)
    return result, found


def versions(root: Mapping[str, Any]) -> list[Document]:
    """Return what is of another version here than in the run of a manifest."""
    then = {**(root.get("installed") or {}), **root["versions"]}
    now = {**manifest.installed(), **manifest.versions()}
    names = {*then, *now} if root.get("installed") else set(then)
    return [
        {"name": name, "then": then.get(name), "now": now.get(name)}
        for name in sorted(names)
        if then.get(name) != now.get(name)
    ]


async def _again(opened: Opened, options: dict[str, Any]) -> Result:
    root = read_json(opened.directory / "manifest.json")
    if (opened.directory / "search.json").exists():
        reason = "is of a search, which decides its cells by what it measures"
        raise ScenarioError(opened.name, f"{reason}; RUNBOOK.md in it has the commands")
    options["target"] = options.get("target") or _target(opened, root)
    options["accept"] = options.get("accept") or root.get("accepted") or ()
    path = opened.directory / "calibration.json"
    capacity = calibrate.restored(read_json(path)) if path.exists() else None
    return await runner.run(
        _scenario(opened, root),
        arms=list(root["arms"]),
        declare=root.get("declared") or {},
        capacity=None if capacity is None or capacity.pinned else capacity,
        **options,
    )


def _scenario(opened: Opened, root: Mapping[str, Any]) -> Scenario:
    about = root["scenario"]
    # From where it lies now: files that it reads lie beside it.
    scenario = loads(about["text"], path=str(opened.directory / SCENARIO))
    return scenario.replace(about["changes"]) if about["changes"] else scenario


def _target(opened: Opened, root: Mapping[str, Any]) -> str | None:
    if kind := root.get("target_object"):
        reason = f"its run drove an object of the program that called it, {kind}"
        raise ScenarioError(opened.name, f"{reason}; give --target HOST:PORT")
    return root.get("target")


def _compared(opened: Opened, result: Result) -> Document:
    then = opened.about["cells"]
    now = identity(result.path)
    whole = not result.error and bool(result.summary.get("complete"))
    directories = (opened.directory, result.path)
    differs = first_difference(then, now, directories) if whole else ""
    verdicts = (opened.about["verdict"], str(result.verdict["status"]))
    made: Document = {
        "schema": _SCHEMA,
        "bundle": opened.name,
        "run": str(result.path),
        "versions": versions(read_json(opened.directory / "manifest.json")),
        "identical": whole and not differs,
        "first_difference": differs or None,
        "not_known": sorted({*unknown(then), *unknown(now)}),
        "verdict": {
            "then": verdicts[0],
            "now": verdicts[1],
            "same": verdicts[0] == verdicts[1],
        },
        "comparison": None,
        "not_compared": None,
    }
    try:
        made["comparison"] = _numbers(opened, result)
    except DjinnloadError as error:
        made["not_compared"] = str(error)
    return made | {"exit_code": _exit_code(result, differs, verdicts)}


def _numbers(opened: Opened, result: Result) -> Document:
    """Return what ``djinnload compare`` says, whatever the two runs differ in.

    Raises:
        ScenarioError: The bundle has no samples.
    """
    if "samples" in opened.about["without"]:
        raise ScenarioError(opened.name, "was made --without samples")
    question = regressions.ask(2, allow=tuple(KEYS))
    sides = [
        regressions.Run(name, *read_run(path))
        for name, path in (
            (str(result.path), result.path),
            (opened.name, opened.directory),
        )
    ]
    return regressions.answer(question, sides)


def _exit_code(result: Result, differs: str, verdicts: tuple[str, str]) -> int:
    """Return the first that applies: interrupted, not the same, broken off, void."""
    own = result.exit_code
    others: Iterator[tuple[bool, int]] = iter(
        (
            (bool(result.summary.get("interrupted")), own),
            (bool(result.error), _CANNOT_RUN),
            (bool(differs), _DIFFERS),
            ("void" in verdicts, _VOID),
            (verdicts[0] != verdicts[1], _OTHER),
        )
    )
    return next((code for applies, code in others if applies), 0)
