"""Everything that a run needs, made before any clock starts: ``djinnload prime``.

Checkpoints of a hub are fetched, weights are made or cast into the cache, inputs are
prepared once to see that they can be; and all of it has to fit.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from djinnload.clock import monotonic_ns
from djinnload.errors import HostError, ScenarioError
from djinnload.models import hub, weights
from djinnload.models.assets import BUILT_IN
from djinnload.plan import Workshop, plan
from djinnload.scenarios import rates
from djinnload.scenarios.cells import Cell, cells
from djinnload.scenarios.load import Scenario
from djinnload.spi import Model

__all__ = ("Primed", "Ready", "Room", "prime")

#: GB of free memory that a run wants; Djinn's own name.
_MIN_FREE: Final = "GENIE_EVAL_MIN_FREE_GB"
_MIN_FREE_GPU_GB: Final = 10.0
_GB: Final = 1e9


class Primed(Struct, frozen=True):
    """A model whose weights are there.

    Attributes:
        parameters: Numbers in its weights.
        nbytes: Of them, as kept.
        source: ``seeded``, ``directory``, ``package`` or ``hub``.
        made: Now; False: they were there already.
        seconds: That making, or looking, took.
        file: Safetensors.
    """

    name: str
    architecture: str
    dtype: str
    parameters: int
    nbytes: int
    source: str
    made: bool
    seconds: float
    file: str


class Room(Struct, frozen=True):
    """What there has to be, and what there is.

    Attributes:
        what: ``memory``, ``memory of cuda:0`` or ``disk``.
        needed: Bytes.
        free: Bytes, before anything was made.
    """

    what: str
    needed: int
    free: int


class Ready(Struct, frozen=True):
    """What `prime` found and made.

    Attributes:
        inputs_s: That preparing the inputs of all workloads took; a run does it again.
        workloads: How many different ones.
    """

    scenario: str
    models: tuple[Primed, ...]
    rooms: tuple[Room, ...]
    workloads: int
    inputs_s: float


class _Wanted(Struct, frozen=True):
    """A model on the way.

    Attributes:
        resident: Bytes of memory, of all processes together.
        to_write: Bytes that its file in the cache will take; 0: it is there.
    """

    model: Model
    parameters: int
    nbytes: int
    resident: int
    to_write: int


def prime(
    scenario: Scenario,
    arms: Sequence[str] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    on_progress: Callable[[str], None] = lambda _: None,
) -> Ready:
    """Make all that a run of *scenario* needs; starts no server, measures nothing.

    Args:
        scenario: Models of all its populations, at every point, are made.
        arms: As of `cells`.
        environment: ``GENIE_EVAL_MIN_FREE_GB``, ``DJINNLOAD_SERVER_DEVICE``, and
            ``CUDA_VISIBLE_DEVICES`` are read from it.
        on_progress: Told what takes a while, in words.

    Raises:
        ScenarioError: The scenario, or the variable, is wrong; a checkpoint cannot be
            fetched.
        HostError: There is not enough room, or the cache cannot be written.
        PluginError: As `plan`.
    """
    order = cells(scenario, arms)
    least = _least(environment)
    workshop = Workshop()
    begun_ns = monotonic_ns()
    with hub.fetching():
        on_progress("preparing the inputs of all workloads")
        recipes = _planned(scenario, order, workshop)
        inputs_s = (monotonic_ns() - begun_ns) / 1e9
        wanted = [
            _wanted(each) for each in workshop.models if each.name not in BUILT_IN
        ]
        rooms = tuple(_rooms(wanted, _gpus(order, environment), least, environment))
        _refuse_tight(rooms)
        made = tuple(_made(each, on_progress) for each in wanted)
    return Ready(scenario.scenario.name, made, rooms, recipes, inputs_s)


def _planned(scenario: Scenario, order: Sequence[Cell], workshop: Workshop) -> int:
    """Plan each arm at each point once; return how many different workloads there are.

    Rates are of no matter here: those "of capacity" get a nominal one.
    """
    capacity = scenario.calibrate.capacity or rates.NOMINAL
    recipes = set()
    for cell in {each.variant: each for each in order}.values():
        plain = cell.scenario.at_capacity(capacity)
        planned = plan(structs.replace(cell, scenario=plain), workshop=workshop)
        recipes |= {str(each) for each in planned.recipes.values()}
    return len(recipes)


def _wanted(model: Model) -> _Wanted:
    from djinnload.models import build, families

    shapes = build.shapes(model.architecture, model.config)
    numbers = sum(map(math.prod, shapes.values()))
    nbytes = numbers * families.DTYPES[model.dtype]
    # All processes map one file; but a checkpoint is sent to the server, which knows no
    # other way to it.
    copies = 1 if model.source == "random" else 2
    return _Wanted(
        model, numbers, nbytes, copies * nbytes, 0 if weights.ready(model) else nbytes
    )


def _made(wanted: _Wanted, on_progress: Callable[[str], None]) -> Primed:
    model = wanted.model
    if wanted.to_write:
        size = f"{wanted.nbytes / _GB:.3g} GB"
        on_progress(f"making the weights of {model.name}, {model.dtype}, {size}")
    begun_ns = monotonic_ns()
    path = weights.ensure(model)
    return Primed(
        name=model.name,
        architecture=model.architecture,
        dtype=model.dtype,
        parameters=wanted.parameters,
        nbytes=wanted.nbytes,
        source=_source(model),
        made=wanted.to_write > 0,
        seconds=(monotonic_ns() - begun_ns) / 1e9,
        file=str(path),
    )


def _source(model: Model) -> str:
    if model.source == "random":
        return "seeded"
    if model.source.startswith("package:"):
        return "package"
    return "directory" if Path(model.source).is_absolute() else "hub"


# Room


def _least(environment: Mapping[str, str]) -> float | None:
    """Return the bytes that the environment wants free; None: it does not say."""
    text = environment.get(_MIN_FREE, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ScenarioError(_MIN_FREE, f"{text!r} is not a number of gigabytes ≥ 0")
    return value * _GB


def _gpus(order: Sequence[Cell], environment: Mapping[str, str]) -> dict[str, int]:
    """Return how many copies of the weights each GPU of this host will hold."""
    servers, checkers = set(), set()
    usual = environment.get("DJINNLOAD_SERVER_DEVICE") or "cpu"
    for scenario in (cell.scenario for cell in order):
        target, checked = scenario.target, scenario.verify
        if target.address is None and target.launch is None:
            servers.add(target.server.device or usual)
        if checked.at_least or checked.share:
            checkers.add(checked.device)
    every = [_numbered(each) for each in (*servers, *checkers)]
    return {each: every.count(each) for each in sorted(every) if "cuda" in each}


def _numbered(device: str) -> str:
    return "cuda:0" if device == "cuda" else device


def _rooms(
    wanted: Sequence[_Wanted],
    gpus: Mapping[str, int],
    least: float | None,
    environment: Mapping[str, str],
) -> Iterator[Room]:
    import psutil

    resident = sum(each.resident for each in wanted)
    for device, copies in gpus.items():
        floor = _MIN_FREE_GPU_GB * _GB if least is None else least
        needed = max(copies * sum(each.nbytes for each in wanted), round(floor))
        yield Room(f"memory of {device}", needed, _gpu_free(device, environment))
    # Without a GPU, what the variable asks for is asked of the host.
    floor = 0 if gpus or least is None else least
    free = psutil.virtual_memory().available
    yield Room("memory", max(resident, round(floor)), free)
    to_write = sum(each.to_write for each in wanted)
    if to_write:
        folder = weights.path_of(wanted[0].model).parent
        while not folder.exists():
            folder = folder.parent
        yield Room(f"disk at {folder}", to_write, shutil.disk_usage(folder).free)


def _gpu_free(device: str, environment: Mapping[str, str]) -> int:
    import pynvml

    number = device.partition(":")[2]
    visible = environment.get("CUDA_VISIBLE_DEVICES", "").strip()
    try:
        # CUDA counts what is visible only.
        which = visible.split(",")[int(number)].strip() if visible else number
        pynvml.nvmlInit()
        try:
            if which.isdecimal():
                handle = pynvml.nvmlDeviceGetHandleByIndex(int(which))
            else:
                handle = pynvml.nvmlDeviceGetHandleByUUID(which)
            return int(pynvml.nvmlDeviceGetMemoryInfo(handle).free)
        finally:
            pynvml.nvmlShutdown()
    except (IndexError, pynvml.NVMLError) as error:
        hint = 'leave target.server.device out, or say "cpu"'
        raise HostError(f"no GPU {device} on this machine ({error}); {hint}") from error


def _refuse_tight(rooms: Sequence[Room]) -> None:
    """Raise HostError if anything does not fit; names all that does not."""
    tight = [each for each in rooms if each.free < each.needed]
    if not tight:
        return
    said = [
        f"{each.what}: {each.needed / _GB:.3g} GB wanted, {each.free / _GB:.3g} GB free"
        for each in tight
    ]
    hint = f"free some, name smaller models or 16 bits, set {_MIN_FREE} lower"
    if any(each.what.startswith("disk") for each in tight):
        hint += ", or have DJINNLOAD_CACHE name another disk"
    raise HostError(f"not enough room: {'; '.join(said)}; {hint}")
