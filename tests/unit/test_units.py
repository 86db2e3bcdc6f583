"""Quantities mean what people write, and nothing else is taken."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djinnload.units import (
    Bandwidth,
    Duration,
    Hz,
    Share,
    Size,
    format_bytes,
    format_ns,
    parse,
)


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Duration, "10ms", 10_000_000),
        (Duration, "1.5s", 1_500_000_000),
        (Duration, "2min", 120_000_000_000),
        (Duration, "250µs", 250_000),
        (Duration, "0s", 0),
        (Hz, "20/s", 20.0),
        (Hz, "3/min", 0.05),
        (Size, "64MiB", 67_108_864),
        (Size, "1GB", 10**9),
        (Bandwidth, "25Gbit/s", 3.125e9),
        (Share, "5%", 0.05),
        (Share, 0.25, 0.25),
        (Share, 1, 1.0),
    ],
)
def test_a_quantity_is_its_number(kind, text, expected):
    """The unit scales the number exactly."""
    assert expected == parse(kind, text)
    assert isinstance(parse(kind, text), kind)


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (Duration, "10", "write it like 10ms"),
        (Duration, 10, "write it like 10ms"),
        (Duration, "10/s", "no Duration"),
        (Duration, "-1s", "not negative"),
        (Hz, "0/s", "greater than 0"),
        (Hz, "-3/s", "greater than 0"),
        (Hz, "20", "write it like 20/s"),
        (Share, "101%", "from 0 to 1"),
        (Share, True, "no Share"),
        (Share, math.nan, "no Share"),
        (Size, "64 MiBs", "no Size"),
        (Size, None, "no Size"),
    ],
)
def test_anything_else_is_refused_with_the_reason(kind, value, reason):
    """A missing or wrong unit is never guessed."""
    with pytest.raises(ValueError, match=reason):
        parse(kind, value)


@given(st.integers(0, 10**15))
def test_ns_survive_the_round_trip(ns):
    """No float is in between."""
    assert ns == parse(Duration, f"{ns}ns")


def test_bytes_are_printed_for_people():
    """Three digits and the decimal unit that fits."""
    assert [
        format_bytes(x) for x in (13_476_839_424, 999, 1e6, math.nan, -math.inf)
    ] == [
        "13.5 GB",
        "999 B",
        "1 MB",
        "n/a",
        "inf",
    ]


def test_time_spans_are_printed_for_people():
    """Three digits and the unit that fits."""
    assert [format_ns(x) for x in (12_345_678, 999, math.nan, math.inf)] == [
        "12.3 ms",
        "999 ns",
        "n/a",
        "inf",
    ]
