"""The model reads digits, served as well as here, and a wrong one is caught."""

from pathlib import Path

import numpy as np
import pytest

import djinnload
import djinnload_digits
from djinnload.spi import Outcome, Reply, Request, Tensor
from djinnload.testing import check_workload
from djinnload_digits import Digits, _pixels

HERE = Path(djinnload_digits.__file__).parent

SCENARIO = """
[scenario]
name = "digits"
duration = "1s"
warmup = "0s"
[[population]]
name = "digits"
arrival = { process = "constant", rate = "20/s" }
workload = { use = "digits", batch = 4 }

"""


@pytest.fixture(scope="module")
def logits():
    """Of every image that ships, by transformers itself."""
    torch = pytest.importorskip("torch")
    from transformers import ResNetForImageClassification

    model = ResNetForImageClassification.from_pretrained(HERE / "model").eval()
    with np.load(HERE / "digits.npz") as shipped, torch.inference_mode():
        pixels = torch.from_numpy(_pixels(shipped["images"]))
        return model(pixel_values=pixels).logits.numpy(), shipped["labels"]


def test_the_contract():
    found = check_workload(Digits, {"batch": 3})
    assert found.units == 8 * 3
    assert found.input_bytes == 8 * 3 * 32 * 32 * 4


def test_the_model_reads_what_ships(logits):
    found, labels = logits
    assert (found.argmax(-1) == labels).mean() >= 0.95


def test_a_run_on_the_reference_server(tmp_path):
    path = tmp_path / "digits.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    result = djinnload.run_sync(path, out=tmp_path / "results")
    rows = result.samples().to_pylist()
    checked = [row["verified"] for row in rows if row["verified"] is not None]
    assert len(checked) >= 15
    assert all(checked)


class Reference:
    """Answers with what the model really said."""

    def __init__(self, logits):
        self._logits = logits
        self.state = {}

    def forward(self, model, inputs):
        return {"logits": Tensor.of("logits", self._logits)}

    def tolerance(self, model):
        return 1e-3


def test_wrong_answers_are_caught(logits):
    found = logits[0][:4]
    asked = Request("m", {})

    def check(array):
        reply = Reply(Outcome.OK, outputs={"logits": Tensor.of("logits", array)})
        return Digits.verify(None, asked, reply, Reference(found))

    assert check(found).ok
    assert not check(found + 0.1 * found.std()).ok
    assert not check(found[::-1].copy()).ok
    assert not check(found[:3]).ok
