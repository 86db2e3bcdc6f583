"""`[target.launch]`: placeholders, and what is refused before anything starts."""

import sys
from pathlib import Path

import pytest

from djinnload.boots import settings as server_settings
from djinnload.errors import ScenarioError
from djinnload.scenarios.load import load, loads

COMMAND = ["{python}", "--port", "{port}"]


def plain(changes):
    text = """
    [scenario]
    name = "s"
    duration = "1s"
    [[population]]
    name = "chat"
    users = 1
    workload = { use = "echo" }
    """
    return loads(text).replace({"target.launch": {"command": COMMAND}} | changes)


def test_every_placeholder_is_filled():
    scenario = plain(
        {
            "target.launch.env": {
                "QOS": "{qos}",
                "SHARES": "{shares}",
                "DELAY": "{escalation_ms}",
                "SLOTS": "{slots} of {policy}",
                "WHERE": "{dir}/{boot}",
                "METRICS": "{metrics_port}",
                "JSON": '{"a": {"b": 1}}',
            },
            "target.server": {
                "policy": "none",
                "slots": 2,
                "shares": {"realtime": 0.5, "batch": 0.25},
                "escalation_delay": "300ms",
            },
        }
    )
    made = server_settings.command(scenario, "b3", Path("/runs/x"), iter((7, 8)))
    assert made.argv == (sys.executable, "--port", "7")
    assert made.env == {
        "QOS": "false",
        "SHARES": "realtime=0.5,batch=0.25",
        "DELAY": "300.0",
        "SLOTS": "2 of none",
        "WHERE": "/runs/x/b3",
        "METRICS": "8",
        "JSON": '{"a": {"b": 1}}',
    }
    assert (made.port, made.metrics_port, made.ready_s) == (7, 8, 60)


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        ({"target.launch.command": ["x"]}, "command", "says {port} nowhere"),
        ({"target.launch.command": []}, "command", "length >= 1"),
        ({"target.launch.env": {"A": "{prot}"}}, "env.A", "did you mean {port}?"),
        ({"target.launch.log": "../log"}, "log", "no path"),
        ({"target.launch.ready": 3}, "ready", "no Duration"),
        ({"target.launch.shell": True}, "", "shell"),
    ],
)  # fmt: skip
def test_what_is_wrong_says_where(changes, path, says):
    with pytest.raises(ScenarioError) as raised:
        plain(changes)
    assert raised.value.path.startswith(f"$.target.launch{'.' * bool(path)}{path}")
    assert says in str(raised.value)


def test_it_is_an_address_or_a_launch():
    with pytest.raises(
        ScenarioError, match=r"target\.address: .* leave one of the two"
    ):
        plain({"target.address": "127.0.0.1:1"})


def test_a_setting_that_the_server_would_not_know_is_refused():
    with pytest.raises(ScenarioError, match=r"policy: .*say \{qos\} or \{policy\} in"):
        plain({"target.server.policy": "qos"})
    with pytest.raises(ScenarioError, match=r"slots: is not given, but .* \{slots\}"):
        plain({"target.launch.env": {"A": "{slots}"}})


def test_djinn_has_no_fcfs():
    changes = {"target.launch.env": {"A": "{qos}"}, "target.server.policy": "fcfs"}
    with pytest.raises(ScenarioError, match='say policy = "none"'):
        plain(changes)


def test_settings_of_the_embedded_server_keep_their_variables():
    scenario = load("qos_mix")
    assert server_settings.environment(scenario)["DJINNLOAD_SERVER_POLICY"] == "qos"
