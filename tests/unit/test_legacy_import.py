"""Configurations of the original evaluation's shapes, as scenarios; nothing lost unsaid."""

from pathlib import Path

import pytest

from djinnload.describe import describe
from djinnload.errors import ScenarioError
from djinnload.legacy.importing import grouped, imported, read
from djinnload.legacy.source import Source, plain
from djinnload.scenarios import behaviours
from djinnload.scenarios.behaviours import Behaviours
from djinnload.scenarios.load import loads

FILES = Path(__file__).parent.parent / "fixtures" / "legacy"
KINDS = (
    "qos_mix", "production_load_test", "load_sweep", "baselines", "streaming",
    "conversation", "ablation", "session_stress", "overhead", "generality",
)  # fmt: skip


def made(kind, change=None):
    document = read(FILES / f"{kind}.yaml")
    if change:
        change(document)
    found = imported(document, f"{kind}.yaml")
    return loads(found.text).document, found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_known_and_passes_check(kind):
    document, found = made(kind)
    assert found.kind == kind
    assert found.text.startswith(f"# Made of {kind}.yaml ({kind} of the original")
    assert describe(loads(found.text)).cells
    assert max(map(len, found.text.splitlines()[:5])) <= 88
    assert document["scenario"]["name"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_nobody_knows_is_said_to_be_lost(kind):
    def change(document):
        document["novelty"] = {"level": 7}
        next(v for v in document.values() if isinstance(v, dict))["surprise"] = 8

    if kind == "qos_mix":  # its first table is all classes
        return
    _, found = made(kind, change)
    lost = dict(found.lost)
    assert lost["novelty.level = 7"] == "nothing in a scenario stands for it"
    assert any(each.endswith("surprise = 8") for each in lost)


def test_qos_mix():
    document, found = made("qos_mix")
    realtime, batch = document["population"]
    assert realtime == {
        "name": "realtime", "qos_class": "realtime", "deadline": "15ms",
        "objectives": ["p99(latency) <= 15ms"],
        "arrival": {"process": "poisson", "rate": "4/s"},
        "workload": {"use": "llm", "model": "gpt2", "prompt_tokens": 8, "new_tokens": 1},
    }  # fmt: skip
    assert "objectives" not in batch
    server = {"policy": "qos", "slots": 4, "shares": {"realtime": 0.5, "batch": 0.5}}
    assert document["target"]["server"] == server
    assert document["scenario"]["duration"] == "20s"
    assert [each["name"] for each in document["arm"]] == ["qos", "fcfs"]
    lost = dict(found.lost)
    assert "nothing read it" in lost["workload_mix.realtime.percentage = 0.25"]
    assert "analytic model" in lost["system.base_latency_ms = 9"]


def test_production_load_test():
    document, found = made("production_load_test")
    run = document["scenario"]
    assert (run["name"], run["duration"]) == ("small-production", "30s")
    assert run["objectives"] == ["gpu_util >= 50%"]
    assert document["probes"] == {"nvml": "40ms"}
    chat, images = document["population"]
    assert chat["arrival"] == {
        "process": "bursts", "rate": "12/min", "probability": 0.2, "size": [3, 5], "per": "user",
    }  # fmt: skip
    assert (chat["users"], chat["qos_class"]) == (3, "realtime")
    assert chat["objectives"] == ["p99(latency) <= 250500us", "error_rate <= 2%"]
    assert chat["workload"]["model"] == "gpt2-tiny"
    assert images["workload"] == {"use": "vision", "model": "resnet-50", "batch": 2}
    assert dict(found.lost)['experiment.djinn_server_address = "localhost:5556"']


def test_load_sweep():
    document, _ = made("load_sweep")
    (sweep,), (chat,) = document["sweep"], document["population"]
    assert (sweep["path"], sweep["values"]) == ("population.chat.users", [1, 3])
    assert chat["arrival"] == {"process": "poisson", "rate": "0.5/s", "per": "user"}
    assert (chat["qos_class"], chat["deadline"]) == ("realtime", "40ms")
    assert "probes" not in document


def arms(document):
    return {each["name"]: each for each in document["arm"]}


def test_baselines():
    document, found = made("baselines")
    every = arms(document)
    assert every["native_pytorch"]["target"] == {
        "use": "local", "options": {"device": "cuda:1"},
    }  # fmt: skip
    presets = {name: each["behaviours"]["preset"] for name, each in every.items() if "behaviours" in each}  # fmt: skip
    assert presets == {
        "semantic_blind": "semantic_blind",
        "partially_aware": "partially_aware",
        "full_djinn": "full",
    }
    assert every["full_djinn"]["set"] == {
        "population.decode.qos_class": "realtime", "population.decode.deadline": "10ms",
    }  # fmt: skip
    assert document["target"]["server"]["device"] == "cuda:1"
    assert document["scenario"]["repeats"] == 4
    assert document["population"][0]["workload"] == {
        "use": "llm", "model": "gpt2-tiny", "prompt_tokens": 12, "new_tokens": 3, "dtype": "float16",
    }  # fmt: skip
    assert "network = " in dict(found.lost)["defaults.transport_bandwidth_gbps = 10"]


def test_streaming_is_a_stream_a_repeat():
    document, _ = made("streaming")
    asked = document["population"][0]["workload"]
    assert (asked["length"], asked["window"], asked["stride"]) == ("6s", "2s", "500ms")
    run = document["scenario"]
    assert run["duration"] == {"sessions": 1}
    assert (run["repeats"], run["warmup"]) == (3, {"sessions": 1, "at": "boot"})
    assert document["probes"] == {"nvml": "50ms"}


def test_conversation():
    document, _ = made("conversation")
    assert document["scenario"]["seed"] == 77
    assert document["population"][0]["workload"]["new_tokens"] == 4


def test_ablation_says_which_arm_it_left_out():
    document, found = made("ablation")
    left = [why for what, why in found.lost if what == "configurations.no_vmu"]
    # Where nothing can execute it, it is said; never is another in its place.
    refused = bool(list(behaviours.problems(Behaviours(preset="full_without_vmu"))))
    assert bool(left) == refused
    wanted = {"full_djinn", "no_plan_cache"} | ({"no_vmu"} if not refused else set())
    assert set(arms(document)) == wanted
    lost = [what for what, _ in found.lost]
    assert "configurations.no_skeletonization.enable_skeletonization = false" in lost
    points = document["sweep"][0]["points"]
    assert [each["name"] for each in points] == ["small_decode", "resnet50_batch"]
    assert document["population"][0]["qos_class"] == "batch"
    assert document["comparison"]["baseline"] == "full_djinn"


def test_ablation_reads_its_workloads_beside_it(tmp_path):
    text = (FILES / "ablation.yaml").read_text("utf-8")
    matrix, _, workloads = text.partition("workloads:\n  small_decode")
    (tmp_path / "matrix.yaml").write_text(matrix, "utf-8")
    (tmp_path / "workloads.yaml").write_text(
        f"workloads:\n  small_decode{workloads}", "utf-8"
    )
    assert "small_decode" in read(tmp_path / "matrix.yaml")["workloads"]


def test_session_stress_drives_the_allocators():
    document, found = made("session_stress")
    (sessions,) = document["population"]
    assert sessions["users"] == 3
    assert sessions["workload"] == {
        "use": "allocations", "allocations": 7, "smallest": "256KiB",
        "largest": "2048KiB", "reuse": 0.3, "hold": "5ms",
    }  # fmt: skip
    memory = {
        name: each["behaviours"]["memory"] for name, each in arms(document).items()
    }
    assert memory == {"vmu": "arena", "torch_cache": "torch"}
    assert document["comparison"]["baseline"] == "torch_cache"
    assert "session_workload.max_allocation_mb = 64" in dict(found.lost)


def test_overhead_executes_what_was_scaled():
    document, found = made("overhead")
    every = arms(document)
    assert every["semantic_blind"]["behaviours"] == {"preset": "semantic_blind"}
    scaled = dict(found.lost)["baselines[1].latency_scale = 5.0"]
    assert "scaled by constants" in scaled
    assert document["scenario"]["name"] == "overhead-smoke-1"
    cnn, llm = (each["set"]["population.work.workload"] for each in document["sweep"][0]["points"])  # fmt: skip
    assert cnn == {
        "use": "synthetic", "block": "cnn", "image_size": 32, "classes": 10,
        "channels": 16, "layers": 2, "batch": 2,
    }  # fmt: skip
    assert llm["batch"] == 2
    assert document["comparison"]["baseline"] == "native_pytorch"


def test_generality_has_the_workloads_of_all_groups():
    document, _ = made("generality")
    assert document["scenario"]["name"] == "generality-small"
    names = [each["name"] for each in document["sweep"][0]["points"]]
    assert names == ["seq_like", "clip_like"]
    assert arms(document)["full_djinn"].get("judged", True)


WRONG = [
    ("qos_mix", lambda d: d.pop("workload_mix"), "no configuration of the original"),
    ("qos_mix", lambda d: d["workload_mix"].update(realtime=5), "workload_mix.realtime: 5 should be a table"),
    ("qos_mix", lambda d: d["workload_mix"]["realtime"].update(arrival_rate_rps="x"), "arrival_rate_rps: 'x' should be a number"),
    ("load_sweep", lambda d: d.update(load_levels=3), "load_levels: should be a list"),
    ("overhead", lambda d: d["workloads"][0].update(implementation="hf_causal"), "did you mean 'hf_causal_lm'"),
    ("overhead", lambda d: d.update(baselines=[]), "no baseline can be executed"),
    ("baselines", lambda d: d["defaults"].update(runs="many"), "repeats"),
    ("baselines", lambda d: d["baselines"][3]["server_config"].update(enable_phase_detection=False, enable_skeletonization=False), "no arm does"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "spoil", "reason"), WRONG)
def test_what_is_wrong_is_said_with_its_place(kind, spoil, reason):
    document = read(FILES / f"{kind}.yaml")
    spoil(document)
    with pytest.raises(ScenarioError) as caught:
        imported(document, f"{kind}.yaml")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "is no YAML"),
        ("- a", "is no table"),
        ("x: !!python/object/apply:os.system [true]", "is no YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(tmp_path, text, reason):
    path = tmp_path / "bad.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ScenarioError, match=reason):
        read(path)
    with pytest.raises(ScenarioError, match="cannot be read"):
        read(tmp_path / "gone.yaml")


def test_an_unknown_model_keeps_its_name():
    document = read(FILES / "overhead.yaml")
    document["workloads"][1]["params"]["model_id"] = "owner/other"
    assert '"owner/other"' in imported(document, "x").text


@pytest.mark.parametrize(
    ("name", "said"),
    [("Llama 7B", "llama-7b"), ("7b", "x7b"), ("a_b-c", "a_b-c"), ("ä", "x")],
)
def test_names_are_those_of_scenario_files(name, said):
    assert plain(name) == said


def test_a_path_is_not_taken_for_another_that_it_begins():
    source = Source({"name": 1, "names": 2, "list": [{"a": 1}, {"a": 2}]})
    source.take("name")
    next(source.each("list")).take("a")
    assert [what for what, _ in source.lost()] == ["names = 2", "list[1].a = 2"]
    assert grouped([("a", "x"), ("b", "x")]) == {"x": ["a", "b"]}
