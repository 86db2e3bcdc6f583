"""`djinnload prime`: what it makes, what it refuses, and that runs fetch nothing."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from command_kit import DJINNLOAD, environment, run_command  # tests/
from djinnload.errors import HostError, ScenarioError
from djinnload.models import build, catalog
from djinnload.prime import prime
from djinnload.scenarios.load import load

pytestmark = pytest.mark.models

SCENARIO = """
[scenario]
name = "primed"
warmup = "100ms"
duration = "500ms"
grace = "5s"

[[population]]
name = "chat"
users = 1
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 4, new_tokens = 2 }

[[population]]
name = "echo"
users = 1
workload = { use = "echo" }

[[arm]]
name = "fp32"

[[arm]]
name = "fp16"
set = { "population.chat.workload.model" = "llama-tiny", "population.chat.workload.dtype" = "float16" }
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DJINNLOAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("GENIE_EVAL_MIN_FREE_GB", raising=False)
    return tmp_path / "cache"


def scenario(tmp_path, text=SCENARIO):
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    return load(path)


def test_every_arm_s_models_are_made_once(tmp_path, cache):
    said = []
    found = prime(scenario(tmp_path), on_progress=said.append)
    models = [(m.name, m.dtype, m.parameters, m.nbytes, m.made) for m in found.models]
    assert models == [
        ("gpt2-tiny", "float32", 182_016, 728_064, True),
        ("llama-tiny", "float16", 164_672, 329_344, True),
    ]
    assert {each.source for each in found.models} == {"seeded"}
    assert any("making the weights of llama-tiny" in each for each in said)
    for each in found.models:
        assert Path(each.file).stat().st_size >= each.nbytes
    memory, disk = found.rooms
    assert (memory.what, memory.needed) == ("memory", 728_064 + 329_344)
    assert (disk.what, disk.needed) == (f"disk at {tmp_path}", 728_064 + 329_344)
    assert found.workloads == 3
    again = prime(scenario(tmp_path))
    assert [each.made for each in again.models] == [False, False]
    assert [each.what for each in again.rooms] == ["memory"]
    assert len(list(cache.glob("*.safetensors"))) == 2


def test_only_the_arms_that_are_asked_for(tmp_path, cache):
    found = prime(scenario(tmp_path), ["fp16"])
    assert [each.name for each in found.models] == ["llama-tiny"]


def test_every_point_of_a_sweep(tmp_path, cache):
    swept = (
        SCENARIO.partition("[[arm]]")[0]
        + """
[[sweep]]
name = "model"
path = "population.chat.workload.model"
values = ["gpt2-tiny", "gpt-j-tiny", "llama-tiny"]
"""
    )
    found = prime(scenario(tmp_path, swept))
    assert [m.name for m in found.models] == ["gpt2-tiny", "gpt-j-tiny", "llama-tiny"]


def test_damaged_weights_are_made_again(tmp_path, cache):
    (first, _) = prime(scenario(tmp_path)).models
    with Path(first.file).open("r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"other")
    os.utime(first.file, ns=(1, 1))  # an equal size and time are taken for equal bytes
    assert [m.made for m in prime(scenario(tmp_path)).models] == [True, False]


# Room


def test_a_variable_that_is_no_number(tmp_path, cache):
    for text in ("ten", "-1", "nan", "inf"):
        with pytest.raises(ScenarioError, match="is not a number of gigabytes"):
            prime(scenario(tmp_path), environment={"GENIE_EVAL_MIN_FREE_GB": text})


def test_too_little_memory_is_refused_before_anything_is_made(tmp_path, cache):
    wanted = {"GENIE_EVAL_MIN_FREE_GB": "1000000"}
    with pytest.raises(HostError, match=r"memory: 1e\+06 GB wanted, .* GB free; free"):
        prime(scenario(tmp_path), environment=wanted)
    assert not list(cache.glob("*"))
    enough = prime(scenario(tmp_path), environment={"GENIE_EVAL_MIN_FREE_GB": "0.001"})
    assert enough.rooms[0].needed == 1_057_408  # what the models take is more


def test_too_little_disk(tmp_path, cache, monkeypatch):
    full = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(HostError, match=r"disk at .* DJINNLOAD_CACHE name another"):
        prime(scenario(tmp_path))


class NoGpuError(Exception):
    """As NVML says that there is none."""


def by_index(number):
    if number > 1:
        raise NoGpuError("Invalid Argument")
    return number


@pytest.fixture
def two_gpus(monkeypatch):
    """The second has 8 GB free."""
    free = (80_000_000_000, 8_000_000_000)
    fake = SimpleNamespace(
        NVMLError=NoGpuError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=by_index,
        nvmlDeviceGetHandleByUUID=["GPU-one", "GPU-two"].index,
        nvmlDeviceGetMemoryInfo=lambda number: SimpleNamespace(free=free[number]),
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)


@pytest.mark.parametrize(
    ("device", "visible", "free"),
    [
        ("cuda", "", 80e9),
        ("cuda:0", "", 80e9),
        ("cuda:1", "", 8e9),
        ("cuda", "1", 8e9),
        ("cuda:1", "1, 0", 80e9),
        ("cuda", "GPU-two,GPU-one", 8e9),
    ],
)
@pytest.mark.usefixtures("cache", "two_gpus")
def test_memory_of_the_gpu_that_the_server_will_use(tmp_path, device, visible, free):
    said = {"DJINNLOAD_SERVER_DEVICE": device, "CUDA_VISIBLE_DEVICES": visible}
    if free < 10e9:  # the 10 GB that Djinn's guide wants
        with pytest.raises(HostError, match=r"memory of cuda:\d: 10 GB wanted, 8 GB"):
            prime(scenario(tmp_path), environment=said)
        said["GENIE_EVAL_MIN_FREE_GB"] = "5"
    room = prime(scenario(tmp_path), environment=said).rooms[0]
    numbered = "cuda:0" if device == "cuda" else device
    assert (room.what, room.free) == (f"memory of {numbered}", free)


@pytest.mark.usefixtures("cache", "two_gpus")
def test_copies_of_the_weights_on_a_gpu(tmp_path):
    """The server's, and those that answers are checked with."""
    checked = SCENARIO + '\n[verify]\ndevice = "cuda:0"\n'
    nothing = SCENARIO + '\n[verify]\ndevice = "cuda:0"\nshare = 0\nat_least = 0\n'
    said = {"GENIE_EVAL_MIN_FREE_GB": "0", "DJINNLOAD_SERVER_DEVICE": "cuda"}
    for text, copies in ((SCENARIO, 1), (nothing, 1), (checked, 2)):
        room = prime(scenario(tmp_path, text), environment=said).rooms[0]
        assert (room.what, room.needed) == ("memory of cuda:0", copies * 1_057_408)


@pytest.mark.parametrize(("device", "visible"), [("cuda:2", ""), ("cuda:1", "0")])
@pytest.mark.usefixtures("cache", "two_gpus")
def test_a_gpu_that_is_not_there(tmp_path, device, visible):
    said = {"DJINNLOAD_SERVER_DEVICE": device, "CUDA_VISIBLE_DEVICES": visible}
    with pytest.raises(HostError, match=f"no GPU {device} on this machine"):
        prime(scenario(tmp_path), environment=said)


def test_the_gpu_of_a_server_elsewhere_is_not_ours(tmp_path, cache):
    remote = SCENARIO + '\n[target]\naddress = "10.0.0.1:5556"\n'
    said = {"DJINNLOAD_SERVER_DEVICE": "cuda"}
    found = prime(scenario(tmp_path, remote), environment=said)
    assert [each.what for each in found.rooms if "cuda" in each.what] == []


# The command, checkpoints, and a hub


def checkpoint(path):
    path.mkdir(parents=True)
    build.build(catalog.find("gpt2-tiny", seed=9)).save_pretrained(path)
    return path


def small(tmp_path, model):
    text = f"""
[scenario]
name = "small"
warmup = "100ms"
duration = "500ms"
grace = "5s"
[[population]]
name = "chat"
users = 1
workload = {{ use = "llm", model = "{model}", prompt_tokens = 4, new_tokens = 2 }}
"""
    (tmp_path / "small.toml").write_text(text)
    return "small.toml"


def test_the_command(tmp_path, cache):
    done = run_command("prime", small(tmp_path, "gpt2-tiny"), cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("gpt2-tiny")]
    assert row.split()[:8] == [
        "gpt2-tiny", "float32", "0.18", "M", "0.7", "MB", "seeded", "made",
    ]  # fmt: skip
    assert "inputs of 1 workloads prepared" in done.stdout
    again = run_command("prime", "small.toml", "--json", cwd=tmp_path, cache=cache)
    assert json.loads(again.stdout)["models"][0]["made"] is False


def test_bad_input_and_no_room_of_the_command(tmp_path, cache, monkeypatch):
    done = run_command("prime", small(tmp_path, "gpt-2"), cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'gpt2'" in done.stderr
    small(tmp_path, "gpt2-tiny")
    given = environment(cache) | {"GENIE_EVAL_MIN_FREE_GB": "1000000"}
    done = subprocess.run(
        [*DJINNLOAD, "prime", "small.toml"],
        cwd=tmp_path, env=given, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "not enough room: memory: 1e+06 GB wanted" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_checkpoint_saved_here(tmp_path, cache):
    path = checkpoint(tmp_path / "own")
    found = prime(load(tmp_path / small(tmp_path, path)))
    (model,) = found.models
    assert (model.source, model.made, model.parameters) == ("directory", True, 182_016)
    assert found.rooms[0].needed == 2 * 728_064  # here, and sent to the server


def test_a_hub_id_is_primed_and_run_without_the_hub(tmp_path, cache, monkeypatch):
    """A folder as the hub's client keeps it, and no network: nothing is fetched."""
    hub = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = small(tmp_path, "some-one/a-model")
    for verb in ("run", "prime"):
        done = run_command(verb, name, cwd=tmp_path, cache=cache)
        assert done.returncode == 2, done.stderr
        reason = "cannot fetch" if verb == "prime" else "`djinnload prime SCENARIO`"
        assert "$.population[0] (chat).workload.model: " in done.stderr
        assert reason in done.stderr
    repository = hub / "models--some-one--a-model"
    checkpoint(repository / "snapshots" / "abc123")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc123")
    primed = run_command("prime", name, "--json", cwd=tmp_path, cache=cache)
    assert primed.returncode == 0, primed.stderr
    (model,) = json.loads(primed.stdout)["models"]
    assert (model["source"], model["made"]) == ("hub", True)
    done = run_command("run", name, "--quiet", cwd=tmp_path, cache=cache)
    assert done.returncode in {0, 4}, done.stderr  # 4: a busy machine
    (summary,) = (tmp_path / "results").glob("*/*/cells/*/*/*/summary.json")
    cell = json.loads(summary.read_text())
    verified = cell["populations"]["chat"]["verified"]
    assert verified["checked"] > 0
    assert verified["wrong"] == 0
