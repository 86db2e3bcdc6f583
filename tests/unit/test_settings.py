"""The reference server's settings and the variables that give them."""

import subprocess
import sys

import pytest

from djinnload.errors import ScenarioError
from djinnload.server.settings import Settings

READ = [
    ({}, Settings()),
    ({"GENIE_DATA_PORT": ""}, Settings()),
    ({"GENIE_DATA_PORT": "0"}, Settings(port=0)),
    ({"GENIE_ENABLE_QOS": "true"}, Settings(policy="qos")),
    ({"GENIE_ENABLE_QOS": "True"}, Settings(policy="qos")),
    ({"GENIE_ENABLE_QOS": "1"}, Settings(policy="none")),
    ({"GENIE_ENABLE_QOS": "false"}, Settings(policy="none")),
    (
        {"GENIE_ENABLE_QOS": "1", "DJINNLOAD_SERVER_POLICY": "fcfs"},
        Settings(policy="fcfs"),
    ),
    ({"GENIE_QOS_MAX_CONCURRENCY": "12"}, Settings(slots=12)),
    (
        {"GENIE_QOS_CLASS_SHARES": " batch=.2, realtime=1,Interactive=0"},
        Settings(shares=(("realtime", 1.0), ("interactive", 0.0), ("batch", 0.2))),
    ),
    ({"GENIE_QOS_DEFAULT_CLASS": "Batch"}, Settings(default_class="batch")),
    (
        {"GENIE_QOS_ESCALATION_DELAY_MS": "0.5"},
        Settings(escalation_delay_ns=500_000),
    ),
    ({"DJINNLOAD_SERVER_ADMISSION_LIMIT": "4096"}, Settings(admission_limit=4096)),
    ({"DJINNLOAD_SERVER_DEVICE": "cuda:1"}, Settings(device="cuda:1")),
    (
        {"DJINNLOAD_SERVER_EXIT_WITH_PARENT": "true"},
        Settings(exit_with_parent=True),
    ),
]

BAD = [
    ("GENIE_DATA_PORT", "http"),
    ("GENIE_DATA_PORT", "65536"),
    ("GENIE_QOS_MAX_CONCURRENCY", "0"),
    ("GENIE_QOS_MAX_CONCURRENCY", "4.5"),
    ("GENIE_QOS_CLASS_SHARES", "realtime"),
    ("GENIE_QOS_CLASS_SHARES", "realtime=0"),
    ("GENIE_QOS_CLASS_SHARES", "realtime=nan"),
    ("GENIE_QOS_CLASS_SHARES", "realtime=-1,batch=2"),
    ("GENIE_QOS_CLASS_SHARES", "premium=1"),
    ("GENIE_QOS_CLASS_SHARES", "batch=1,batch=2"),
    ("GENIE_QOS_DEFAULT_CLASS", "fast"),
    ("GENIE_QOS_ESCALATION_DELAY_MS", "soon"),
    ("GENIE_QOS_ESCALATION_DELAY_MS", "inf"),
    ("DJINNLOAD_SERVER_POLICY", "lifo"),
    ("DJINNLOAD_SERVER_ADMISSION_LIMIT", "0"),
    ("DJINNLOAD_SERVER_NICE", "20"),
    ("DJINNLOAD_SERVER_DEVICE", "gpu"),
    ("DJINNLOAD_SERVER_EXIT_WITH_PARENT", "yes"),
]


@pytest.mark.parametrize(("environment", "expected"), READ)
def test_read(environment, expected):
    """Each variable sets what it says and nothing else."""
    assert expected == Settings.from_environment(environment)


@pytest.mark.parametrize(("variable", "text"), BAD)
def test_bad(variable, text):
    """A bad value names its variable, quotes the value and says what it takes."""
    with pytest.raises(ScenarioError) as caught:
        Settings.from_environment({variable: text})
    assert variable == caught.value.path
    assert caught.value.reason.startswith(f"{text!r} is not a") or (
        caught.value.reason.startswith(f"{text!r} is not one of")
        or caught.value.reason.startswith(f"{text!r} is not shares of")
    )


def test_environment_is_the_inverse():
    """What `environment` writes, `from_environment` reads back."""
    settings = Settings(
        host="0.0.0.0",  # noqa: S104 - never bound
        port=0,
        policy="fcfs",
        slots=2,
        shares=(("realtime", 0.1), ("batch", 1 / 3)),
        default_class="batch",
        escalation_delay_ns=300_000_001,
        admission_limit=4096,
        threads=3,
        nice=5,
        exit_with_parent=True,
    )
    assert settings == Settings.from_environment(settings.environment())


def test_light():
    """Settings, admission and the server's module import no numpy and no torch."""
    code = (
        "import sys, djinnload.server.app, djinnload.server.admission\n"
        "print([m for m in ('numpy', 'torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.strip() == b"[]"
