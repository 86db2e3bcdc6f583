"""`[target] network`: its grammar, its words for tc, and where it is refused."""

import os
import subprocess
import sys

import pytest

from djinnload.boots import network
from djinnload.boots import servers as boots
from djinnload.boots import settings as server_settings
from djinnload.errors import HostError, ScenarioError
from djinnload.scenarios.load import loads
from djinnload.scenarios.network import Network, said
from djinnload.units import MS, US

TEXT = """
[scenario]
name = "s"
duration = "1s"
[target]
network = { rate = "25Gbit/s", delay = "500us", loss = "0.1%" }
[[population]]
name = "chat"
users = 1
workload = { use = "echo" }
"""


def plain(**changes):
    given = {f"target.{key}": value for key, value in changes.items()}
    return loads(TEXT).replace(given) if given else loads(TEXT)


def test_its_quantities_are_plain_numbers():
    found = plain().target.network
    assert (found.rate, found.delay, found.loss) == (3.125e9, 500 * US, 0.001)
    assert [type(value) for value in (found.rate, found.delay)] == [float, int]
    assert said(found) == "25 Gbit/s, 500 µs delay, 0.1% loss, each way"


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"network": {}}, "network", "says nothing"),
        ({"network": {"delay": "0s"}}, "network.delay", "greater than 0"),
        ({"network": {"loss": 0}}, "network.loss", "greater than 0"),
        ({"network": {"loss": 1}}, "network.loss", "less than 1"),
        ({"network": {"rate": "0bit/s"}}, "network.rate", "greater than 0"),
        ({"network": {"rate": 25}}, "network.rate", "25Gbit/s"),
        ({"network": {"jitter": "1ms"}}, "network.jitter", "unknown key"),
        ({"use": "local"}, "network", 'target = { use = "local" }'),
        ({"use": "null"}, "network", "has no network"),
        ({"address": "10.0.0.1:5556"}, "network", "not ours to shape"),
    ],
)
def test_what_is_wrong_says_where(changes, path, says):
    with pytest.raises(ScenarioError) as raised:
        plain(**changes)
    assert raised.value.path == f"$.target.{path}"
    assert says in str(raised.value)


def test_a_server_that_is_not_ours_has_no_network_of_ours(monkeypatch):
    monkeypatch.delenv("GENIE_SERVER_ADDRESS", raising=False)
    assert boots.where(plain(), None) == boots.EMBEDDED
    with pytest.raises(
        ScenarioError, match=r"--target: target\.network is of a server"
    ):
        boots.where(plain(), "127.0.0.1:5556")
    monkeypatch.setenv("GENIE_SERVER_ADDRESS", "127.0.0.1:5556")
    with pytest.raises(ScenarioError, match=r"GENIE_SERVER_ADDRESS: target\.network"):
        boots.where(plain(), None)


def test_an_arm_in_this_process_leaves_it_out():
    scenario = loads(TEXT + '[[arm]]\nname = "native"\ntarget = { use = "local" }\n')
    assert scenario.under(scenario.arms[0]).target.network is None


def test_arms_that_differ_in_it_have_a_boot_each():
    fast = plain(network={"rate": "100Gbit/s"})
    assert boots.key(fast) != boots.key(plain())
    assert server_settings.differing([fast, plain()]) == [
        "network.delay", "network.loss", "network.rate",
    ]  # fmt: skip
    assert server_settings.path("network.rate") == "target.network.rate"
    assert server_settings.settings(fast)["network.rate"] == 12.5e9


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"rate": 3.125e9}, "tbf rate 25000000000bit burst 625000 limit 268435456"),
        ({"rate": 1e6}, "tbf rate 8000000bit burst 4096 limit 268435456"),
        ({"delay": 500 * US}, "netem limit 100000 delay 500.000us"),
        ({"delay": 1, "rate": 125.0}, "netem limit 100000 delay 0.001us rate 1000bit"),
        ({"loss": 0.001}, "netem limit 100000 loss 0.100000%"),
        (
            {"delay": 2 * MS, "loss": 0.5, "rate": 1e9},
            "netem limit 100000 delay 2000.000us loss 50.000000% rate 8000000000bit",
        ),
    ],
)
def test_tc_is_told_what_was_asked(asked, words):
    assert " ".join(network._discipline(Network(**asked))) == words


@pytest.mark.parametrize("tool", ["ip", "tc", "nsenter"])
def test_without_its_tools_it_is_refused(tmp_path, monkeypatch, tool):
    for name in {"ip", "tc", "nsenter"} - {tool}:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert network.refusal(plain().target.network) == (
        f"needs {tool} on PATH; install iproute2 and util-linux"
    )


UNPRIVILEGED = f"""
import os
from djinnload.boots import network
from djinnload.errors import ScenarioError
from djinnload.scenarios.load import loads
scenario = loads({TEXT!r})
network._lacking()  # imports what it needs: another user may not read our packages
if os.getuid() == 0:
    os.setgroups([])
    os.setuid(65534)
network.shutil.which = lambda tool: tool
print(network.refusal(scenario.target.network))
try:
    network.refuse([scenario])
except ScenarioError as error:
    print(error.exit_code, error)
"""


def test_without_the_capabilities_it_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", UNPRIVILEGED],
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.splitlines()
    needs = "needs CAP_NET_ADMIN and CAP_SYS_ADMIN; run as root, or leave it out"
    assert first == needs
    assert second == f"2 $.target.network: {needs}"


def kernel(monkeypatch, refuses):
    """Stands for one that has none of the *refuses*; returns what it was told."""
    told = []

    def call(*argv):
        told.append(argv)
        if refuses & set(argv):
            raise HostError(f"this kernel refuses {argv[0]!r}: Specified qdisc unknown")
        return ""

    monkeypatch.setattr(network, "_call", call)
    monkeypatch.setattr(network, "_lacking", lambda: "")
    monkeypatch.setattr(network.shutil, "which", lambda tool: tool)
    return told


def test_a_kernel_without_netem_gives_a_rate_and_refuses_the_rest(monkeypatch):
    told = kernel(monkeypatch, {"netem"})
    assert network.refusal(Network(rate=1e9)) == ""
    for asked in ({"delay": MS}, {"loss": 0.1}, {"delay": MS, "rate": 1e9}):
        reason = network.refusal(Network(**asked))
        assert "delay and loss need a kernel with sch_netem: modprobe" in reason
        assert "a rate alone needs sch_tbf" in reason
    made = [argv[3] for argv in told if argv[:3] == ("ip", "netns", "add")]
    gone = [argv[3] for argv in told if argv[:3] == ("ip", "netns", "delete")]
    assert made == gone
    assert len(made) == 4


def test_a_kernel_without_either_says_so(monkeypatch):
    kernel(monkeypatch, {"netem", "tbf"})
    assert "use a kernel with sch_tbf" in network.refusal(Network(rate=1e9))


def test_only_what_dead_runs_left_is_swept(tmp_path, monkeypatch):
    told = kernel(monkeypatch, set())
    monkeypatch.setattr(network, "_NAMESPACES", tmp_path)
    own, dead = os.getpid(), 2**22 + 1
    started = network._started(own)
    assert started
    names = [
        f"djinnload-{own}-{started}-0",  # of a run that is going on
        f"djinnload-{own}-{int(started) + 1}-1",  # its number was used again
        f"djinnload-{dead}-7-2",
        f"djinnload-{dead}-7-probe",
        "djinnload-mine",
        "somebody",
    ]
    for name in names:
        (tmp_path / name).touch()
    assert network.swept() == sorted(names[1:4])
    assert ("ip", "link", "delete", f"djl{dead}x2") in told
    assert ("ip", "netns", "delete", names[0]) not in told


def test_every_link_has_addresses_of_its_own(monkeypatch):
    taken = []
    monkeypatch.setattr(network, "_call", lambda *_: "\n".join(taken))
    for number in range(20):
        pair = network._addresses(number % 3)
        assert not set(pair) & {each.split()[1].split("/")[0] for each in taken}
        taken += [f"inet {each}/30 brd" for each in pair]
    assert len({each.split()[1] for each in taken}) == 40
    assert all(each.startswith(("inet 198.18.", "inet 198.19.")) for each in taken)
