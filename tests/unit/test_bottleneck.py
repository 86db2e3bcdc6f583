"""What a run was held up by: told from the data, with its evidence, or not at all."""

import numpy as np
import pyarrow as pa
import pytest
from msgspec import structs

import health_kit as kit  # tests/, by conftest.py
from djinnload.findings import Finding
from djinnload.stats.populations import Turns
from djinnload.summary import bottleneck
from djinnload.units import MS

LATE = Finding("LATE", "seen", void=True)


def spent(queue_ms, exec_ms, service_ms):
    """A population all of whose turns spent their time like that."""
    found = kit.population(0, rate=20)
    columns = {f: getattr(found.turns, f) for f in Turns.__struct_fields__}
    n = len(found.turns.ok)
    times = {"queue_ns": queue_ms, "exec_ns": exec_ms, "service_ns": service_ms}
    columns |= {name: np.full(n, ms * MS) for name, ms in times.items()}
    return structs.replace(found, turns=Turns(**columns))


def probed(**means):
    """Readings of the GPU (``util``) and of the host (``cpu_share``), half on top."""
    rows = [
        (int(t), source, device, name, means[name])
        for name, source, device in (
            ("util", "nvml", "gpu0"),
            ("cpu_share", "host", ""),
        )
        if name in means
        for t in np.linspace(kit.BEGIN, kit.END, 50)
    ]
    names = ("t_ns", "source", "device", "name", "value")
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def found(samples, *findings, **means):
    probe = probed(**means) if means else None
    cell = kit.cell(samples, probe=probe)
    return bottleneck.found([cell], [samples], findings)


@pytest.mark.parametrize(
    ("times", "means", "what", "words"),
    [
        ((80, 10, 95), {}, "server_queue", "the server's queue (a turn's time is 84%"),
        ((10, 80, 95), {}, "server_compute", "the server's compute ("),
        ((5, 10, 95), {}, "network", "84% transfer"),
        ((80, 10, 95), {"util": 0.97}, "gpu", "GPU 97% busy"),
        ((80, 10, 95), {"util": 0.34}, "server_queue", "GPU 34% busy"),
        ((1, 80, 95), {"cpu_share": 0.98}, "server_compute", "host's CPU 98% busy"),
    ],
)
def test_what_took_the_time_with_its_evidence(times, means, what, words):
    seen = found(spent(*times), **means)
    assert seen["what"] == what
    assert words in bottleneck.said(seen)
    assert sum(seen["time_share"].values()) == pytest.approx(1)
    assert (seen["gpu_util"], seen["host_cpu"]) == tuple(
        pytest.approx(means[name]) if name in means else None
        for name in ("util", "cpu_share")
    )


def test_a_generator_that_did_not_keep_up_comes_first():
    seen = found(spent(80, 10, 95), LATE, util=0.99)
    assert (seen["what"], seen["codes"]) == ("generator", ["LATE"])
    assert bottleneck.said(seen) == "the generator or its host: LATE"
    accepted = structs.replace(LATE, void=False, accepted=True)
    assert found(spent(80, 10, 95), accepted)["what"] == "server_queue"


def test_the_cpu_of_the_generator_is_told():
    assert found(spent(80, 10, 95))["generator_cpu"] == pytest.approx(0.3, rel=0.1)


def test_what_nobody_told_is_unknown():
    assert found(kit.population(0)) is None
    assert bottleneck.said(None) is None
