"""Overhead, speed-up, savings, semantic efficiency, success: known values, properties."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djinnload.summary import effects
from djinnload.summary.effects import Ratio, efficiency, overhead, saved, speed_up
from djinnload.summary.run import Cell
from effects_kit import MANIFEST, cell, cells

RATIOS = st.floats(1e-6, 1e6)
PAIRS = st.integers(5, 200)


@st.composite
def ratios(draw):
    value, wide = draw(RATIOS), draw(st.floats(1e-4, 1))
    ends = (value * math.exp(-wide), value * math.exp(wide))
    return Ratio(value, ends, draw(PAIRS), 0.01)


@pytest.mark.parametrize(
    ("effect", "ratio", "value", "ci95"),
    [
        (overhead, Ratio(1.067, (1.05, 1.08), 30), 6.7, (5, 8)),
        (overhead, Ratio(0.18, (0.16, 0.2), 30), -82, (-84, -80)),
        (saved, Ratio(0.002, (0.001, 0.003), 30), 99.8, (99.7, 99.9)),
        (saved, Ratio(1.5, None, 2), -50, None),
        (speed_up, Ratio(15 / 850, (0.01, 0.02), 30), 850 / 15, (50, 100)),
    ],
)
def test_known_values(effect, ratio, value, ci95):
    made = effect(ratio)
    assert made.value == pytest.approx(value)
    assert made.ci95 == (None if ci95 is None else pytest.approx(ci95))


@given(ratios())
def test_effects_of_a_ratio_agree_and_lie_in_their_intervals(ratio):
    for effect in (overhead, saved, speed_up):
        made = effect(ratio)
        assert made.ci95[0] <= made.value <= made.ci95[1]
    assert (1 + overhead(ratio).value / 100) * speed_up(ratio).value == pytest.approx(1)
    # Byte for byte the same formula, of the other sign.
    assert saved(ratio).value == pytest.approx(-overhead(ratio).value)
    assert saved(ratio).value <= 100


@pytest.mark.parametrize("effect", [overhead, saved, speed_up])
def test_without_a_ratio_there_is_no_effect(effect):
    made = effect(Ratio(None, None, 5, 0.01))
    assert (made.value, made.ci95) == (None, None)
    assert "no ratio" in made.reasons[0]


@given(ratios(), ratios())
def test_efficiency_has_the_overhead_s_sign_or_is_not_defined(data, time):
    made, over = efficiency(data, time), overhead(time)
    low, high = overhead(effects._wider(time)).ci95
    if low <= 0 <= high:
        assert (made.value, made.ci95) == (None, None)
        assert made.reasons[0] == effects.NOT_DEFINED
        return
    assert made.value == pytest.approx(saved(data).value / over.value)
    assert made.ci95[0] <= made.value <= made.ci95[1]
    # Where bytes are certain too, so is the sign.
    if saved(effects._wider(data)).ci95[0] > 0:
        assert math.copysign(1, made.ci95[0]) == math.copysign(1, made.ci95[1])
        assert (made.value > 0) == (over.value > 0)
    assert bool(made.reasons) == (high < 0)


def test_efficiency_near_no_overhead_is_no_huge_number():
    data = Ratio(0.01, (0.009, 0.011), 30)
    assert efficiency(data, Ratio(1.0001, (0.98, 1.02), 30)).value is None
    assert efficiency(data, Ratio(1.0001, None, 3)).reasons[0] == effects.NOT_DEFINED
    assert efficiency(Ratio(None), Ratio(1.1, (1.05, 1.2), 30)).value is None
    made = efficiency(data, Ratio(1.1, (1.09, 1.11), 30))
    assert made.value == pytest.approx(9.9)
    assert 8.5 < made.ci95[0] < 9.9 < made.ci95[1] < 11.5


def test_a_wider_interval_is_student_s_at_97_5_percent():
    # 2.776445 and 3.495406 are t of 4 degrees of freedom at 97.5 % and 98.75 %.
    low, high = effects._wider(Ratio(1, (1 / 2, 2), 5)).ci95
    assert math.log(high) == pytest.approx(math.log(2) * 3.495406 / 2.776445, rel=1e-5)
    assert low == pytest.approx(1 / high)


def row(document, kind, arm, metric="mean(latency)"):
    (found,) = (
        each
        for each in document["effects"]
        if (each["kind"], each["arm"], each["metric"]) == (kind, arm, metric)
    )
    return found


def test_effects_of_a_run_name_their_denominators():
    found = effects.of_run(MANIFEST, cells())
    over = row(found, "overhead", "full")
    assert (over["against"], over["n"], over["status"]) == ("native_pytorch", 6, "ok")
    assert over["value"] == pytest.approx(20, abs=3)
    assert over["ci95"][0] < over["value"] < over["ci95"][1]
    assert row(found, "overhead", "semantic_blind")["value"] == pytest.approx(
        700, abs=30
    )
    faster = row(found, "speed_up", "full")
    assert (faster["against"], faster["value"]) == (
        "semantic_blind",
        pytest.approx(6.7, abs=0.3),
    )
    data = row(found, "saved", "full", "mean(bytes)")
    assert (data["against"], data["value"]) == ("semantic_blind", pytest.approx(99))
    worth = row(found, "efficiency", "full")
    assert worth["value"] == pytest.approx(99 / over["value"])
    assert (worth["overhead"], worth["overhead_ci95"]) == (over["value"], over["ci95"])
    assert (worth["saved"], worth["saved_ci95"]) == (data["value"], data["ci95"])
    kinds = {(e["kind"], e["arm"]) for e in found["effects"]}
    # Nothing is saved by who sends nothing, and nobody is held against itself.
    assert kinds == {
        ("overhead", "full"), ("overhead", "semantic_blind"), ("speed_up", "full"),
        ("speed_up", "native_pytorch"), ("saved", "full"), ("efficiency", "full"),
    }  # fmt: skip
    tested = [e for e in found["effects"] if e["p"] is not None]
    assert all(e["p"] <= e["p_holm"] <= min(1, e["p"] * len(tested)) for e in tested)


def test_each_point_has_the_blind_arm_that_was_measured_there():
    def moved(each):
        place = {"point": "large", "arm": f"{each.arm}_short" * (each.arm == "semantic_blind")
                 or each.arm}  # fmt: skip
        entry = dict(each.entry) | place
        manifest = dict(each.manifest) | place
        return Cell(entry, "done", manifest, each.evidence, each.summary)

    found = effects.of_run(MANIFEST, [*cells(), *map(moved, cells())])
    against = {
        (e["point"], e["against"])
        for e in found["effects"]
        if (e["kind"], e["arm"]) == ("saved", "full")
    }
    assert against == {("all", "semantic_blind"), ("large", "semantic_blind_short")}


def test_an_effect_of_a_void_cell_is_void():
    from djinnload.findings import void

    every = cells()
    late = every[-1]
    bad = Cell(late.entry, "void", late.manifest, late.evidence, late.summary,
               (void("LATE", "late", 1.0),))  # fmt: skip
    found = effects.of_run(MANIFEST, [*every[:-1], bad])
    assert {e["status"] for e in found["effects"] if e["arm"] == "full"} == {"void"}
    assert row(found, "speed_up", "native_pytorch")["status"] == "ok"


def test_without_native_or_blind_arms_nothing_is_added():
    plain = {**MANIFEST, "plan": {"arm": [{"name": "full", "target": None}]}}
    assert effects.of_run(plain, cells(arms=["full"])) == {}
    assert effects.of_run({**MANIFEST, "comparison": None}, cells()) == {}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"ok": 19}, "1 of 40 turns were not ok"),
        ({"verified": {"checked": 2, "wrong": 1}}, "1 of 4 answers were wrong"),
        ({"verified": {"checked": -2, "wrong": 0}}, "no answer was checked"),
    ],
)
def test_success_counts_what_came_back_right(changes, reason):
    good, other = (cell("full", repeat) for repeat in range(2))
    other.summary["populations"]["chat"] |= changes
    found = effects.success([good, other], "chat")
    assert found["succeeded"] is (reason is None)
    assert found["reasons"] == ([] if reason is None else [reason])


def test_a_cell_without_a_result_is_no_success():
    good = cell("full", 0)
    lost = Cell({"id": "all/full/r01", "arm": "full"}, "failed")
    found = effects.success([good, lost], "chat")
    assert (found["succeeded"], found["n"]) == (False, 20)
    assert found["reasons"] == ["1 of 2 cells have no result"]
    assert (
        effects.success([lost], "chat")["reasons"][0] == "1 of 1 cells have no result"
    )
