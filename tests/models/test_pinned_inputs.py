"""What each workload asks for a seed, the same everywhere: its fingerprint, pinned.

A change here changes what every earlier run sent; say so in CHANGELOG.md.
"""

import pytest

from djinnload import registry
from djinnload.testing import check_workload

pytestmark = pytest.mark.models

CASES = {
    "echo": ({"payload": "64B", "requests": 3}, "91ff61265613e44b"),
    "llm": (
        {"model": "gpt2-tiny", "prompt_tokens": 5, "new_tokens": 3},
        "5d7ea6914ad893d2",
    ),
    "conversation": (
        {"model": "gpt2-tiny", "turns": 2, "message_tokens": 3, "new_tokens": 2},
        "b716b637a99ce687",
    ),
    "encoder": (
        {"model": "bert-tiny", "tokens": [3, 9], "batch": 2},
        "252d45356f2c5291",
    ),
    "synthetic": ({"block": "cnn", "channels": 8, "batch": 2}, "2bd2ef1e6aea3317"),
    "vision": ({"model": "resnet-tiny", "batch": 2}, "cec0d0375d0e2d21"),
    "multimodal": ({"model": "clip-tiny"}, "f6519c703470838d"),
}


@pytest.mark.parametrize("use", CASES)
def test_the_same_seed_asks_the_same(use):
    options, pinned = CASES[use]
    kind = registry.find(registry.WORKLOADS, use, path="use")
    # In this process, built again, and in one of its own: `check_workload` compares.
    assert check_workload(kind, options).fingerprint[:16] == pinned
