# ruff: noqa: N802 - the names are NVML's
"""GPUs and the server's memory, beside a cell; a driver and a server that are told."""

import http.server
import itertools
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import msgspec
import pytest

from djinnload.clock import monotonic_ns
from djinnload.errors import ScenarioError
from djinnload.probes import devices, nvml, vmu
from djinnload.probes.machine import MachineProbe
from djinnload.probes.nvml import NvmlProbe
from djinnload.probes.periodic import Periodic
from djinnload.probes.vmu import VmuProbe
from djinnload.reading.files import read_probes
from djinnload.scenarios.load import load
from djinnload.scenarios.schema import Probes
from djinnload.units import MS, SECOND


class NVMLError(Exception):
    def __init__(self, text, value=3):
        super().__init__(text)
        self.value = value


class FakeNvml:
    """Two GPUs as NVML shows them; the second tells neither power nor processes."""

    NVMLError = NVMLError
    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    def __init__(self, present=True):
        self.present = present
        self.asked = []
        self.open = 0
        self.reasons = 0

    def nvmlInit(self):
        if not self.present:
            raise NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA H100"

    def nvmlDeviceGetUtilizationRates(self, handle):
        return SimpleNamespace(gpu=40 + 40 * handle, memory=25)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=2**30, total=80 * 2**30)

    def nvmlDeviceGetPowerUsage(self, handle):
        self.asked.append(("power", handle))
        if handle:
            raise NVMLError("Not Supported")
        if self.asked.count(("power", 0)) == 2:
            raise NVMLError("Timeout", 10)
        return 345_600

    def nvmlDeviceGetClockInfo(self, handle, kind):
        return 1980

    def nvmlDeviceGetTemperature(self, handle, kind):
        return 61

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        self.asked.append(("processes", handle))
        return [
            SimpleNamespace(pid=42, usedGpuMemory=2**20),
            SimpleNamespace(pid=43, usedGpuMemory=None),
        ]


def readings(found, device):
    return {name: value for _, _, on, name, value in found if on == device}


def test_a_reading_has_what_the_device_tells_and_nothing_else():
    fake, found = FakeNvml(), []
    probe = NvmlProbe(fake, found.append)
    assert probe.names == ["gpu0 (NVIDIA H100)", "gpu1 (NVIDIA H100)"]
    before = monotonic_ns()
    probe.read(before)
    assert readings(found, "gpu0") == {
        "util": 0.4,
        "memory_util": 0.25,
        "memory_bytes": 2**30,
        "power_w": 345.6,
        "sm_clock_mhz": 1980,
        "temperature_c": 61,
        "slowed": 0,
        "slowed_by_power": 0,
        "slowed_by_heat": 0,
        "memory_bytes_of_42": 2**20,
    }
    assert "power_w" not in readings(found, "gpu1")
    assert readings(found, "gpu1")["util"] == 0.8
    assert {source for _, source, *_ in found} == {"nvml"}
    assert all(before <= t <= monotonic_ns() for t, *_ in found)


def test_what_a_device_cannot_tell_is_asked_once():
    fake = FakeNvml()
    found = []
    probe = NvmlProbe(fake, found.append)
    for k in range(3):
        probe.read(k)
    watts = [each for each in found if each[2:4] == ("gpu0", "power_w")]
    assert len(watts) == 2  # one question failed, and was asked again
    assert fake.asked.count(("power", 1)) == 1
    assert fake.asked.count(("power", 0)) == 3


def test_processes_are_asked_for_once_a_second():
    fake = FakeNvml()
    probe = NvmlProbe(fake, [].append, gpus=[0])
    for k in range(21):
        probe.read(k * 100 * MS)
    assert fake.asked.count(("processes", 0)) == 3


@pytest.mark.parametrize(
    ("bits", "by_power", "by_heat", "slowed"),
    [(0x1, 0, 0, 0), (0x4, 1, 0, 1), (0x20, 0, 1, 1), (0x8, 0, 0, 1), (0xC4, 1, 1, 1)],
)
def test_what_slows_a_gpu_is_told_by_cause(bits, by_power, by_heat, slowed):
    fake, found = FakeNvml(), []
    fake.reasons = bits
    NvmlProbe(fake, found.append, gpus=[0]).read(0)
    said = readings(found, "gpu0")
    assert (said["slowed_by_power"], said["slowed_by_heat"]) == (by_power, by_heat)
    assert said["slowed"] == slowed


def test_gpus_are_chosen_and_one_that_is_not_there_is_told():
    probe = NvmlProbe(FakeNvml(), [].append, gpus=[1, 7])
    assert probe.names == ["gpu1 (NVIDIA H100)"]
    assert probe.missing == [7]


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml(present=False))
    assert nvml.driver() is None


def test_the_real_library_has_all_that_is_asked():
    import pynvml

    real = [name for name in dir(FakeNvml) if name.startswith(("nvml", "NVML"))]
    assert [name for name in real if not hasattr(pynvml, name)] == []


@contextmanager
def answering(status, body):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path == "/metrics/vmu"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


SAID = {
    "node_id": "n",
    "status": "ok",
    "vmu": {"text_used_bytes": 7, "active_sessions": 3, "models": ["x"], "on": True},
    "summary": {"data_utilization_pct": 12.5, "active_sessions": 3},
}


def scraped(status, body, log=None):
    found = []
    with answering(status, body) as address:
        VmuProbe(address, found.append, log=log).read(5)
    assert len({name for _, _, _, name, _ in found}) == len(found)
    return {name: value for _, _, _, name, value in found}


def test_a_scrape_is_every_number_and_a_line_of_the_log(tmp_path):
    log = tmp_path / "metrics.jsonl"
    assert scraped(200, msgspec.json.encode(SAID), log) == {
        "answered": 1,
        "text_used_bytes": 7,
        "active_sessions": 3,
        "data_utilization_pct": 12.5,
    }
    assert msgspec.json.decode(log.read_bytes()) == {"t_ns": 5, **SAID}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, msgspec.json.encode(SAID | {"status": "error"})),
        (200, b"not JSON"),
        (200, b"[1]"),
        (404, msgspec.json.encode(SAID)),
    ],
)
def test_a_server_that_has_no_numbers_leaves_none(status, body):
    assert scraped(status, body) == {"answered": 0}


def test_a_server_that_is_gone_leaves_none():
    found = []
    VmuProbe("127.0.0.1:1", found.append).read(5)
    assert found == [(5, "vmu", "", "answered", 0.0)]


def test_readings_come_at_even_times_and_lost_ones_stay_lost():
    times = []

    def read(now_ns):
        times.append(now_ns)
        if len(times) == 2:
            time.sleep(0.11)

    periodic = Periodic(read, period_ns=20 * MS, name="test")
    periodic.start()
    while len(times) < 8:
        time.sleep(0.005)
    periodic.stop()
    n = len(times)
    time.sleep(0.05)
    assert len(times) == n
    # Never two at once to make up for those that were lost.
    late = [b - a for a, b in itertools.pairwise(times)]
    assert late[1] >= 110 * MS
    assert min(late[2:]) > 0


def test_the_host_s_memory_and_network_are_read():
    found = []
    probe = MachineProbe(found.append)
    probe.read(5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as client:
            peer, _ = server.accept()
            with peer:
                client.sendall(bytes(100_000))
                client.shutdown(socket.SHUT_WR)
                while peer.recv(65536):
                    pass
        before = readings(found, "lo")
        found.clear()
        probe.read(6)
    assert readings(found, "lo")["sent_bytes"] - before["sent_bytes"] >= 100_000
    assert readings(found, "")["memory_available_bytes"] > 0
    assert {source for _, source, *_ in found} == {"host"}


def test_what_is_asked_for_is_recorded_beside_the_cell(tmp_path, monkeypatch):
    fake = FakeNvml()
    monkeypatch.setitem(__import__("sys").modules, "pynvml", fake)
    log = tmp_path / "metrics.jsonl"
    monkeypatch.setenv("GENIE_EVAL_METRICS_PATH", str(log))
    wanted = Probes(nvml=10 * MS, vmu=SECOND, host=SECOND)
    with (
        answering(200, msgspec.json.encode(SAID)) as address,
        devices.watched(wanted, tmp_path, address) as told,
    ):
        time.sleep(0.1)
    assert told == {
        "nvml": ["gpu0 (NVIDIA H100)", "gpu1 (NVIDIA H100)"],
        "vmu": address,
    }
    rows = read_probes(tmp_path).to_pylist()
    util = [r["value"] for r in rows if (r["device"], r["name"]) == ("gpu1", "util")]
    assert set(util) == {0.8}
    assert len(util) >= 2
    assert [r["value"] for r in rows if r["name"] == "active_sessions"] == [3]
    assert len([r for r in rows if r["name"] == "swap_used_bytes"]) == 1
    assert log.read_bytes().count(b"\n") == 1
    assert fake.open == 0


def test_hardware_that_is_not_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pynvml", FakeNvml(present=False))
    with devices.watched(Probes(nvml=MS, vmu=MS), tmp_path, None) as told:
        assert told == {"nvml": None, "vmu": None}
    assert read_probes(tmp_path).num_rows == 0


def test_nothing_asked_for_leaves_no_file(tmp_path):
    with devices.watched(Probes(), tmp_path, "127.0.0.1:1") as told:
        assert told == {"nvml": None, "vmu": None}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"probes.nvml": "1ms"}, r"\$\.probes\.nvml: must be at least 10ms"),
        ({"probes.vmu": "0s"}, r"\$\.probes\.vmu: must be at least 10ms"),
        ({"probes.gpus": [0]}, r"\$\.probes\.gpus: nothing looks at them"),
        ({"probes.nvlm": "50ms"}, "nvml"),
    ],
)
def test_probes_that_make_no_sense_are_refused(changes, says):
    with pytest.raises(ScenarioError, match=says):
        load("quick").replace(changes)


def test_the_default_port_is_djinns():
    assert vmu.DEFAULT_PORT == 9095
