"""Answers of real models, right and wrong in many ways, judged in the child."""

import hashlib
import os
import sys
from functools import cache
from pathlib import Path
from random import Random

import anyio
import msgspec
import numpy as np
import pytest

from djinnload.errors import HostError, PluginError
from djinnload.models import build, catalog
from djinnload.models.assets import ModelAssets
from djinnload.models.reference import LocalReference
from djinnload.spi import Outcome, Reply, Session, Tensor
from djinnload.units import Size
from djinnload.verify import Checker, Reservoir, WorkloadRecipe, check
from djinnload.workloads.echo import Echo
from djinnload.workloads.llm import Llm

pytestmark = pytest.mark.models

SEED = 11
DEFAULTS = {"model": "gpt2-tiny", "prompt_tokens": 6, "new_tokens": 4}


@cache
def module(seed=SEED, dtype="float32"):
    return build.build(catalog.find("gpt2-tiny", seed=seed, dtype=dtype))


class Server:
    """Keeps a KV cache, unless told to do otherwise."""

    def __init__(self, *, seed=SEED, dtype="float32", fault="", every=False):
        self.module, self.fault, self.every = module(seed, dtype), fault, every
        self.kept = {}

    def __call__(self, request):
        import torch

        name = build.cache_name(self.module)
        if self.fault == "forgets" and request.step == "decode":
            self.kept = {}
        ids = torch.from_numpy(request.inputs["input_ids"].numpy().copy())
        with torch.inference_mode():
            out = self.module(input_ids=ids, use_cache=True, **self.kept)
        self.kept = {} if request.last else {name: out[name]}
        logits = out.logits if self.every else out.logits[:, -1:]
        return Reply(Outcome.OK, {"logits": self.spoilt(served(logits), request.step)})

    def spoilt(self, logits, step):
        if not self.fault or self.fault == "forgets" or step == "prefill":
            return logits
        values = logits.numpy().copy()
        if self.fault == "zeros":
            values[:] = 0
        elif self.fault == "nan":
            values[..., 3] = np.nan
        elif self.fault == "shape":
            values = values[..., :-1]
        elif self.fault == "noise":
            values[..., 3] += 0.01 * values.std()
        return Tensor.of("logits", values)


def served(logits):
    import torch

    dtype = str(logits.dtype).removeprefix("torch.")
    data = logits.contiguous().view(torch.uint8).numpy().tobytes()
    return Tensor("logits", tuple(logits.shape), dtype, data)


def session(workload, server, index=0):
    generator = workload.session(Session(Random(index)))
    reply = None
    while True:
        try:
            request = generator.send(reply)
        except StopIteration:
            return
        reply = server(request)
        yield request, reply


def kept_of(population, workload, server, sessions=1):
    reservoir = Reservoir(1, 1.0, 0)
    seq = 0
    for index in range(sessions):
        for request, reply in session(workload, server, index):
            reservoir.add(population, -1, index, seq, request, reply)
            seq += 1
    return reservoir.kept


def llm(**changes):
    options = Llm.Options(**{**DEFAULTS, **changes})
    recipe = WorkloadRecipe.of("djinnload.workloads.llm:Llm", options, SEED)
    return Llm(options, ModelAssets(SEED)), recipe


def checked(*cases):
    """Check all cases, each a population, in one child; return the rows of each."""
    kept, recipes = [], {}
    for number, (options, server) in enumerate(cases):
        workload, recipes[f"p{number}"] = llm(**options)
        found = kept_of(f"p{number}", workload, server, sessions=2)
        kept += [msgspec.structs.replace(k, seq=k.seq + 100 * number) for k in found]

    async def work():
        async with Checker() as checker:
            await checker.warm(recipes)
            return await checker.check(kept, recipes)

    rows = anyio.run(work)
    return [[r for r in rows if r.seq // 100 == number] for number in range(len(cases))]


def test_right_and_wrong_answers():
    right = [
        ({}, Server()),
        ({}, Server(every=True)),
        ({"decode": "greedy"}, Server()),
        ({"batch": 3}, Server()),
        ({"new_tokens": 1}, Server()),
        ({"dtype": "float16"}, Server(dtype="float16")),
        ({"dtype": "bfloat16"}, Server(dtype="bfloat16")),
    ]
    wrong = {
        "logits differ": ({}, Server(fault="zeros")),
        "logits differ by": ({}, Server(fault="forgets")),
        "logits differ by ": ({}, Server(fault="noise")),
        "logits hold NaN": ({}, Server(fault="nan")),
        "logits have shape (1, 1, 511)": ({}, Server(fault="shape")),
        "logits differ by  ": ({"dtype": "bfloat16"}, forgetful_bfloat16()),
    }
    strangers = [
        ({}, Server(seed=SEED + 1)),
        ({"dtype": "bfloat16"}, Server(seed=SEED + 1, dtype="bfloat16")),
        ({"dtype": "float16"}, Server(seed=SEED + 1, dtype="float16")),
    ]
    found = checked(*right, *wrong.values(), *strangers)
    for rows in found[: len(right)]:
        assert rows
        assert all(row.verified and not row.reason for row in rows), rows
    assert len({row.output_hash for row in found[0]}) == len(found[0])
    faulty = found[len(right) : len(right) + len(wrong)]
    for reason, rows in zip(wrong, faulty, strict=True):
        # Each session is a right prefill and then three wrong decodes.
        assert [row.verified for row in rows] == [True, False, False, False] * 2, reason
        assert all(r.reason.startswith(reason.strip()) for r in rows if not r.verified)
    for rows in found[-len(strangers) :]:
        assert not any(row.verified for row in rows)


def forgetful_bfloat16():
    return Server(dtype="bfloat16", fault="forgets")


def echo_kept(sessions=1):
    workload = Echo(Echo.Options(requests=3), ModelAssets(SEED))
    answer = lambda request: Reply(Outcome.OK, request.inputs)  # noqa: E731
    return kept_of("p", workload, answer, sessions)


def echo_recipe(entry="djinnload.workloads.echo:Echo", **options):
    return WorkloadRecipe(entry, options, SEED)


@pytest.fixture
def broken(monkeypatch):
    """A child's path is ours as it was at its start: each of these has its own."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def recipe(name):
        return {"p": echo_recipe(f"broken_workloads:{name}")}

    yield recipe
    sys.modules.pop("broken_workloads", None)


def test_echo():
    rows = anyio.run(check, echo_kept(), {"p": echo_recipe(payload="64B")})
    assert [row.verified for row in rows] == [True] * 3
    kept = echo_kept()
    hashes = [hashlib.sha256(each.outputs[0].data).hexdigest() for each in kept]
    assert [row.output_hash for row in rows] == hashes
    spoilt = [msgspec.structs.replace(p, data=bytes(64)) for p in kept[1].outputs]
    kept[1] = msgspec.structs.replace(kept[1], outputs=tuple(spoilt))
    rows = anyio.run(check, kept, {"p": echo_recipe(payload=64)})
    assert [row.verified for row in rows] == [True, False, True]


def test_without_verify_hashed_only(broken):
    rows = anyio.run(check, echo_kept(), broken("NoVerify"))
    assert {(row.verified, row.max_abs_diff) for row in rows} == {(None, None)}
    assert all(len(row.output_hash) == 64 for row in rows)


def test_requests_that_ask_for_no_check():
    kept = [msgspec.structs.replace(each, verify=False) for each in echo_kept()]
    rows = anyio.run(check, kept, {"p": echo_recipe()})
    assert [row.verified for row in rows] == [None] * 3


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("Raises", PluginError, r"broken_workloads:Raises: verify raised RuntimeError"),
        ("ReturnsTrue", PluginError, "verify returned True, not a Check"),
        ("Missing", PluginError, "cannot be built to check answers"),
        ("Dies", HostError, "the process that checks answers died"),
    ],
)
def test_broken_plugins(broken, name, error, message):
    with pytest.raises(error, match=message):
        anyio.run(check, echo_kept(), broken(name))


def test_one_child_at_nice_19(broken):
    async def work():
        async with Checker() as checker:
            await checker.warm(broken("SaysWhere"))
            first = await checker.check(echo_kept(), broken("SaysWhere"))
            return first + await checker.check(echo_kept(), broken("SaysWhere"))

    said = {int(row.max_abs_diff) for row in anyio.run(work)}
    (only,) = said
    assert only % 100 == 19
    assert only // 100 != os.getpid()


def test_nothing_kept():
    assert anyio.run(check, [], {}) == []


def test_chunks_never_divide_a_session(monkeypatch, broken):
    monkeypatch.setattr("djinnload.verify._CHUNK_BYTES", 1)
    rows = anyio.run(check, echo_kept(sessions=3), broken("Counts"))
    assert [row.max_abs_diff for row in rows] == [1, 2, 3] * 3
    assert [row.seq for row in rows] == list(range(9))


def test_a_local_fault_does_not_widen_the_tolerance(monkeypatch):
    from djinnload.models import reference

    reference._ready.cache_clear()
    monkeypatch.setattr("djinnload.models.tolerance.calibrate", lambda *_: 5.0)
    used = {"m": catalog.find("gpt2-tiny", seed=3)}
    assert reference.LocalReference(used).tolerance("m") == 2e-3
    reference._ready.cache_clear()


def test_recipe_of_options():
    options = Echo.Options(payload=Size(5), shape=(5,))
    assert WorkloadRecipe.of("m:C", options, 1).options["payload"] == 5


def test_a_device_that_is_not_there_is_named():
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("it is there")
    assets = ModelAssets(1)
    assets.model("gpt2-tiny")
    with pytest.raises(HostError, match=r"verify = \{ device"):
        LocalReference(assets.used, "cuda").tolerance("gpt2-tiny")
