"""Objectives of whole cells: GPUs as the probe saw them, from readings to exit code."""

import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import djinnload
from djinnload import cell_objectives
from djinnload.health.cell import CellEvidence
from djinnload.report import text
from djinnload.scenarios.load import loads
from djinnload.units import MS
from health_kit import BEGIN, END  # tests/, by conftest.py

TEXT = "gpu_util >= 70%"


def a_cell(series, *, texts=(TEXT,), outside=()):
    """Readings of each device 20 ms apart; *outside* before measure, of the first."""
    rows = [
        (BEGIN + k * 20 * MS, "nvml", f"gpu{i}", "util", value)
        for i, values in enumerate(series)
        for k, value in enumerate(values)
    ]
    rows += [(BEGIN - MS, "nvml", "gpu0", "util", value) for value in outside]
    rows += [(BEGIN, "generator", "", "loop_lag_ns", 1.0)]
    names = ("t_ns", "source", "device", "name", "value")
    table = pa.table(dict(zip(names, zip(*rows, strict=True), strict=True)))
    window = {"begin_ns": BEGIN, "end_ns": END}
    return CellEvidence(
        populations={},
        probes=table,
        manifest={"objectives": list(texts), "window": window},
        calibration=None,
    )


def noise(mean, seed, n=400):
    return np.random.default_rng(seed).normal(mean, 0.05, n).clip(0, 1)


def test_a_busy_gpu_meets_it_and_one_at_rest_does_not():
    busy, idle = ([a_cell([noise(m, k)]) for k in range(5)] for m in (0.9, 0.3))
    (met,), (missed,) = map(cell_objectives.decisions, (busy, idle))
    assert (met.met, missed.met) == (True, False)
    assert met.value == pytest.approx(0.9, abs=0.01)
    assert met.n == 5 * 400


def test_of_several_gpus_it_is_the_mean():
    cell = a_cell([[1.0] * 100, [0.5] * 99])
    assert cell_objectives.utilisation(cell).tolist() == [0.75] * 99


def test_what_was_before_measure_does_not_count():
    assert set(cell_objectives.utilisation(a_cell([[1.0] * 3], outside=[0.0]))) == {1.0}


def test_no_gpu_is_undecided_never_zero():
    (decided,) = cell_objectives.decisions([a_cell([])])
    assert (decided.met, decided.value) == (None, None)
    (decided,) = cell_objectives.decisions([a_cell([noise(0.9, 1)]), a_cell([])])
    assert decided.met is None


def test_without_objectives_nothing_is_decided():
    assert cell_objectives.decisions([a_cell([noise(0.9, 1)], texts=())]) == []


class BusyNvml:
    """One GPU, busy as told; it has nothing but that to tell."""

    class NVMLError(Exception):
        value = 3

    def __init__(self, percent):
        self.percent = percent

    def __getattr__(self, name):
        found = {
            "nvmlInit": None,
            "nvmlShutdown": None,
            "nvmlDeviceGetCount": 1,
            "nvmlDeviceGetHandleByIndex": 0,
            "nvmlDeviceGetName": "NVIDIA H100",
            "nvmlSystemGetDriverVersion": "550",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=1, free=1, total=2),
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(
                gpu=self.percent, memory=0
            ),
        }
        if name.startswith("NVML_"):
            return 0

        def answer(*_):
            if name not in found:
                raise self.NVMLError("Not Supported")
            return found[name]

        answer.__name__ = name
        return answer


SCENARIO = f"""
probes = {{ nvml = "10ms" }}
[scenario]
name = "busy"
warmup = "0s"
duration = "400ms"
repeats = 5
objectives = ["{TEXT}"]
[target]
use = "null"
[[population]]
name = "chat"
arrival = {{ process = "constant", rate = "50/s" }}
workload = {{ use = "echo" }}
"""
NOISE = ("LATE", "LOOP_STALL", "UNDELIVERED", "CPU", "NOT_STEADY", "NO_ANSWERS")


@pytest.mark.parametrize("come", [(95, 0, "met"), (20, 1, "missed")])
def test_a_run_is_judged_by_it(come, tmp_path, monkeypatch, capsys):
    percent, exit_code, word = come
    monkeypatch.setitem(sys.modules, "pynvml", BusyNvml(percent))
    result = djinnload.run_sync(loads(SCENARIO), out=tmp_path, accept=NOISE)
    assert result.exit_code == exit_code, result.verdict
    (told,) = result.summary["objectives"]
    assert (told["arm"], told["point"], told["text"]) == ("default", "all", TEXT)
    assert told["value"] == pytest.approx(percent / 100)
    text.show(result.summary, result.path)
    assert f"all/default: {TEXT} {word}" in capsys.readouterr().out


def test_a_run_without_a_gpu_is_void(tmp_path, monkeypatch):
    nvml = BusyNvml(0)

    def absent():
        raise nvml.NVMLError("Driver Not Loaded")

    nvml.nvmlInit = absent
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    scenario = loads(SCENARIO.replace("repeats = 5", "repeats = 1"))
    result = djinnload.run_sync(scenario, out=tmp_path, accept=NOISE)
    assert result.exit_code == 4
    assert [each["code"] for each in result.verdict["reasons"]] == ["UNDECIDED"]
    assert "nothing was measured" in result.verdict["reasons"][0]["message"]
