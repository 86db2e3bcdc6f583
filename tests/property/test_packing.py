"""Packed columns give back what was put in, bit for bit; labels do as arrays of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from djinnload.reading.packing import Labels, Packed, Steps, gather, pack

INTEGERS = arrays.arrays(
    np.int64,
    st.integers(0, 30),
    elements=st.one_of(
        st.integers(-(2**62), 2**62), st.integers(0, 300), st.just(7), st.just(2**40)
    ),
)
FLOATS = arrays.arrays(
    np.float64,
    st.integers(0, 30),
    elements=st.one_of(
        st.floats(width=64),
        st.integers(-(2**53), 2**53).map(float),
        st.integers(-200, 2**33).map(float),
        st.sampled_from([np.nan, 7.0, 0.5, -0.5]),
    ),
)
WORDS = st.lists(st.sampled_from(["ok", "error", None, True, "ü"]), max_size=30)


@given(st.one_of(INTEGERS, FLOATS))
def test_pack_is_exact(values):
    packed = pack(values.copy())
    assert packed().dtype == values.dtype
    np.testing.assert_array_equal(packed(), values)
    rows = np.arange(len(values))[::-2]
    np.testing.assert_array_equal(packed.take(rows)(), values[rows])


@given(st.lists(FLOATS, min_size=1, max_size=5))
def test_gather_is_concatenate(parts):
    whole = gather([pack(part) for part in parts])
    np.testing.assert_array_equal(whole(), np.concatenate(parts))


@given(st.lists(INTEGERS, min_size=1, max_size=5))
def test_gather_keeps_integers(parts):
    whole = gather([pack(part) for part in parts])
    assert whole().dtype == np.int64
    np.testing.assert_array_equal(whole(), np.concatenate(parts))


@given(arrays.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 2**61)))
def test_steps_are_exact(values):
    np.testing.assert_array_equal(Steps(values)(), values)


@given(WORDS, st.sampled_from(["ok", None, "none of them"]))
def test_labels_compare_as_arrays_do(words, word):
    values = np.array([*words, None], object)[:-1]
    labels = Labels.of(values)
    assert labels.tolist() == words
    same = [each is word or each == word for each in words]
    assert (labels == word).tolist() == same
    assert (labels != word).tolist() == [not each for each in same]
    assert labels[::-1].tolist() == words[::-1]
    assert sum(labels.counts().values()) == len(words)
    assert (labels == labels[:]).all()


def test_constant_columns_take_no_memory():
    packed = pack(np.full(1000, np.nan))
    assert isinstance(packed, Packed)
    assert packed.codes.strides == (0,)
    assert pack(np.full(1000, 3)).codes.strides == (0,)
    assert pack(np.arange(250)).codes.dtype == np.uint8
