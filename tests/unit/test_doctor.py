"""Preflight: each check on a machine that is fit, and on one that is not."""

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from djinnload.doctor import checks as doctor
from djinnload.doctor import facts as host_facts
from djinnload.doctor.facts import Folder, Gpu, HostFacts
from djinnload.doctor.needs import Needs, Server, Wanted

GB = 10**9
FIT = HostFacts(
    python=(3, 12),
    missing=(),
    torch="2.4",
    linux=True,
    cores=8,
    load1=0.1,
    pressure=0.0,
    governor="performance",
    clock_source="tsc",
    memory_free=64 * GB,
    gpus=(Gpu("NVIDIA H100", 79 * GB, 80 * GB),),
    nofile=65536,
    ports=28_232,
    time_wait=10,
    reuse=True,
    out=Folder("results", "", 500 * GB),
    cache=Folder("cache", "", 500 * GB),
    environment={},
)
EMBEDDED = Server(kind="embedded")
REMOTE = Server(kind="remote", address="10.0.0.2:5556", name="djinnload 1")
NEEDS = Needs(
    scenario="s",
    models=(Wanted("gpt2", cached=True, nbytes=GB),),
    server=EMBEDDED,
    workers=1,
    max_in_flight=10_000,
    requests=1e6,
    rate=1000.0,
    gpu=False,
)


def checks(host=FIT, needs=NEEDS, **changes):
    """By name, those of *host* with *changes*; the last of a name."""
    report = doctor.examined(replace(host, **changes), needs)
    assert report.ok == all(each.status != "fail" for each in report.checks)
    return {each.name: each for each in report.checks}


def test_every_check_is_documented():
    text = (Path(__file__).parents[2] / "docs/doctor.md").read_text("utf-8")
    said = set(
        re.findall(
            r"`([^`]+)`", "".join(re.findall(r"^\| (.*?) \|", text, re.MULTILINE))
        )
    )
    names = re.findall(
        r'(?:_judged|Check)\(\s*"([^"]+)"', Path(doctor.__file__).read_text("utf-8")
    )
    assert said == {*names, "results", "cache"}


def test_a_fit_machine_passes_everything():
    assert {each.status for each in checks().values()} == {"pass"}
    assert {each.status for each in checks(needs=None).values()} == {"pass"}


@pytest.mark.parametrize(
    ("name", "status", "changes"),
    [
        ("python", "fail", {"python": (3, 10)}),
        ("packages", "fail", {"missing": ("scipy",)}),
        ("torch", "fail", {"torch": None}),
        ("memory", "fail", {"memory_free": GB // 2}),
        ("results", "fail", {"out": Folder("r", "Read-only file system", 5 * GB)}),
        ("cache", "fail", {"cache": Folder("c", "Permission denied", 5 * GB)}),
        ("disk", "fail", {"out": Folder("r", "", GB)}),
        ("gpu", "warn", {"gpus": (Gpu("H100", 3 * GB, 80 * GB),)}),
        ("cpu governor", "warn", {"governor": "powersave"}),
        ("other load", "warn", {"load1": 3.0}),
        ("other load", "warn", {"pressure": 0.1}),
        ("other load", "fail", {"pressure": 0.5}),
        ("clock source", "warn", {"clock_source": "hpet"}),
        ("clock source", "warn", {"clock_source": None}),
        ("timer", "warn", {"linux": False}),
        ("ports", "warn", {"time_wait": 20_000}),
        ("ports", "fail", {"ports": 5000}),
        ("ports", "fail", {"ports": 28_232, "reuse": False}),
        ("open files", "fail", {"nofile": 1024}),
        ("cores", "warn", {"cores": 1}),
        ("free memory", "fail", {"environment": {"GENIE_EVAL_MIN_FREE_GB": "x"}}),
        ("gpu", "warn", {"environment": {"GENIE_EVAL_MIN_FREE_GB": "79.5"}}),
        ("address", "warn", {"environment": {"GENIE_SERVER_ADDRESS": "h:1"}}),
    ],
)
def test_what_is_not_fit_is_found_and_comes_with_what_to_do(name, status, changes):
    found = checks(**changes)
    assert found[name].status == status
    assert found[name].fix
    others = {key for key, each in found.items() if each.status != "pass"}
    assert others == {name}


def test_what_is_not_told_is_nothing_against_a_machine():
    unknown = {"governor": None, "pressure": None, "gpus": None, "ports": None}
    found = checks(**unknown, time_wait=None, reuse=None)
    assert {each.status for each in found.values()} == {"pass"}


def test_memory_wanted_free_is_the_host_s_without_a_gpu():
    asked = {"environment": {"GENIE_EVAL_MIN_FREE_GB": "100"}}
    assert checks(gpus=None, **asked)["free memory"].status == "fail"
    asked = {"environment": {"GENIE_EVAL_MIN_FREE_GB": "10"}}
    assert checks(gpus=None, **asked)["free memory"].status == "pass"


def test_a_gpu_that_the_scenario_uses_has_to_be_there_and_free():
    needs = replace(NEEDS, gpu=True)
    assert checks(needs=needs, gpus=None)["gpu"].status == "fail"
    assert checks(needs=needs, gpus=(Gpu("H", GB, 80 * GB),))["gpu"].status == "fail"


def test_models_that_are_not_cached_are_named():
    needs = replace(NEEDS, models=(*NEEDS.models, Wanted("bert", False, 1)))
    found = checks(needs=needs)["models"]
    assert (found.status, found.said) == ("warn", "1 of 2 cached, not bert")
    assert "djinnload prime s" in found.fix


def of_server(**changes):
    return checks(needs=replace(NEEDS, server=replace(REMOTE, **changes)))


def test_a_server_that_is_not_there_fails():
    found = of_server(error="10.0.0.2:5556: nothing listens there")
    assert found["server"].status == "fail"
    assert "settings" not in found


def test_settings_are_compared_with_what_the_server_tells():
    wanted = {"policy": "qos", "shares": {"batch": 1.0}}
    assert (
        of_server(wanted=wanted, said={"policy": "none"})["settings"].status == "warn"
    )
    found = of_server(wanted={"policy": "qos"}, said={"policy": "none"})["settings"]
    assert (found.status, found.said) == ("fail", "policy is none, wanted is qos")
    assert "settings" not in of_server(wanted={"policy": "qos"}, said={"policy": "qos"})
    assert "--declare" in of_server(wanted={"policy": "qos"})["settings"].fix


def test_one_server_cannot_be_two_arms():
    found = of_server(arms=2, differ=("policy",))
    assert found["arms"].status == "fail"
    assert "--arm" in found["arms"].fix
    assert "arms" not in of_server(arms=2)


def test_logs_of_a_server_elsewhere_are_the_user_s_to_keep():
    assert of_server()["server log"].status == "warn"
    assert checks()["server log"].status == "pass"


@pytest.mark.parametrize(
    ("exported", "launched", "status"),
    [(None, None, "warn"), ("0", None, "pass"), ("256", None, "fail"),
     (None, "0", "pass"), ("256", "0", "pass"), ("0", "256", "fail")],
)  # fmt: skip
def test_a_real_djinn_has_to_have_no_arena(exported, launched, status):
    kind = "remote" if launched is None else "launched"
    server = replace(REMOTE, kind=kind, real_djinn=True, arena_mb=launched)
    environment = {"GENIE_VMU_SESSION_ARENA_MB": exported} if exported else {}
    found = checks(needs=replace(NEEDS, server=server), environment=environment)
    assert found["arena"].status == status


def test_connections_that_are_reset_need_no_minute():
    remote = replace(NEEDS, server=REMOTE)
    assert checks(needs=remote, reuse=False)["ports"].status == "pass"
    slow = replace(NEEDS, rate=400.0)
    assert checks(needs=slow, reuse=False)["ports"].status == "pass"


def test_more_workers_than_cores_fail():
    assert checks(needs=replace(NEEDS, workers=9))["cores"].status == "fail"
    assert checks(needs=replace(NEEDS, workers=8))["cores"].status == "warn"
    assert (
        checks(needs=replace(NEEDS, workers=8, server=REMOTE))["cores"].status == "pass"
    )


@pytest.mark.parametrize(
    ("address", "loopback"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("", True),
     ("10.1.1.1:5", False), ("gpu-host:5", False)],
)  # fmt: skip
def test_where_a_server_is_is_read_off_its_address(address, loopback):
    assert replace(REMOTE, address=address).loopback is loopback


def test_this_machine_can_be_looked_at(tmp_path):
    found = host_facts.gathered(tmp_path / "not/there", tmp_path)
    assert found.missing == ()
    assert (found.out.error, found.cache.error) == ("", "")
    assert found.out.free > 0
    assert found.cores >= 1
    assert found.memory_free > 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_says_why(tmp_path):
    found = host_facts.gathered(Path("/proc/results"), tmp_path)
    assert found.out.error


def test_a_network_that_cannot_be_had_fails():
    refused = replace(NEEDS, network="needs CAP_NET_ADMIN; run as root")
    assert checks(needs=refused)["network"].status == "fail"
    assert "run as root" in checks(needs=refused)["network"].said
    assert checks(needs=replace(NEEDS, network=""))["network"].status == "pass"
    assert "network" not in checks()
