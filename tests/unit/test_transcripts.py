"""Word error rate: known cases, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djinnload.models.transcripts import error_rate, word_error_rate

TOKENS = st.lists(st.integers(0, 4), max_size=12)
SOME = st.lists(st.integers(0, 4), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("wanted", "got", "expected"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", 0),
        ("the cat sat on the mat", "the cat sat on mat", 1 / 6),
        ("the cat sat on the mat", "the cat sat on the red mat", 1 / 6),
        ("the cat sat on the mat", "the bat sat on the mat", 1 / 6),
        ("the cat sat on the mat", "cat sat upon the mat", 2 / 6),
        ("the cat", "", 1),
        ("yes", "no no no", 3),
        ("Yes, it is.", "yes it IS", 0),
        ("don't stop", "don't  stop!", 0),
    ],
)
def test_known_cases(wanted, got, expected):
    assert word_error_rate(wanted, got) == pytest.approx(expected)


@pytest.mark.parametrize("nothing", ["", "  ", "…!"])
def test_nothing_to_divide_by(nothing):
    with pytest.raises(ValueError, match="empty transcript"):
        word_error_rate(nothing, "a word")


def distance(one, other):
    return error_rate(one, other) * len(one)


@given(SOME, TOKENS)
def test_bounds(one, other):
    found = distance(one, other)
    assert abs(len(one) - len(other)) <= found + 1e-9
    assert found <= max(len(one), len(other)) + 1e-9
    assert (found == 0) == (one == other)


@given(SOME, SOME, SOME)
def test_a_metric(one, two, three):
    assert distance(one, two) == pytest.approx(distance(two, one))
    there = distance(one, two) + distance(two, three)
    assert distance(one, three) <= there + 1e-9


@given(SOME, st.data())
def test_one_edit_counts_once(tokens, data):
    place = data.draw(st.integers(0, len(tokens) - 1))
    assert distance(tokens, tokens[:place] + tokens[place + 1 :]) == pytest.approx(1)
    assert distance(tokens, [*tokens[:place], 9, *tokens[place:]]) == pytest.approx(1)
    assert distance(tokens, [*tokens[:place], 9, *tokens[place + 1 :]]) == (
        pytest.approx(1)
    )
