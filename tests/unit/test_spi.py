"""Tensors need no torch; names say what was meant."""

import subprocess
import sys

import numpy as np
import pytest

from djinnload.errors import ScenarioError, UnknownName
from djinnload.spi import Tensor


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (1, 0, 4)])
def test_a_tensor_is_a_view_of_the_array(shape):
    """Shape, dtype and bytes come back as they went in."""
    array = np.arange(int(np.prod(shape)), dtype="float32").reshape(shape)
    tensor = Tensor.of("x", array)
    assert shape == tensor.shape
    assert array.nbytes == tensor.nbytes
    np.testing.assert_array_equal(array, tensor.numpy())


def test_an_unknown_name_says_what_there_is():
    """And the nearest; it is a scenario error, exit code 2."""
    error = UnknownName("$.arm", "arm", "qoss", ["qos", "fcfs"])
    assert (
        str(error)
        == "$.arm: no arm named 'qoss', did you mean 'qos'? (there is: fcfs, qos)"
    )
    assert isinstance(error, ScenarioError)
    assert error.exit_code == 2


def test_importing_the_package_is_light():
    """Nothing heavy comes with it, nor with the plugin interface."""
    heavy = "numpy pyarrow torch transformers matplotlib scipy"
    code = (
        "import sys, djinnload, djinnload.spi, djinnload.schedule; "
        f"print([m for m in {heavy!r}.split() if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
