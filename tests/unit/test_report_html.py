"""report.html: whole, escaped, the same bytes again, whatever the run came to."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import numpy as np
import pytest

from djinnload.report import amounts, distributions, drawing, figures, html
from djinnload.report.page import told
from djinnload.summary import spread
from djinnload.summary.fold import fold_run
from djinnload.units import MS

VOID_TAGS = {"meta", "br", "img", "link", "input", "hr"}
#: Of 3 populations: latency twice, its course and heat map, queue wait, lateness; the
#: turns of chat; the comparison.
FIGURES = 20
HOSTILE = '<script>alert(1)</script> & "quoted" $x^2$ {{ 7*7 }}'


class Page(HTMLParser):
    """Fails on tags that do not nest; collects what a test asks for."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def edit(path, change):
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))


def written(run):
    path = html.write(run)
    assert path == run / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.fixture
def fake_values(monkeypatch):
    """Tests of words need no samples of ten cells."""
    monkeypatch.setattr(distributions, "read", lambda run_dir, keys: {})


def test_whole_run(synthetic_run):
    text, page = written(synthetic_run)
    assert len(text.encode()) < 1_000_000
    assert "PASS : all 4 judged objectives are met." in page.text
    headings = re.findall(r'<h2 id="([a-z]+)"', text)
    assert headings == [
        *("objectives", "comparison", "numbers", "outcomes", "latency", "course"),
        *("queue", "turns", "answers", "generator", "proof", "how", "calibration"),
        *("cells", "environment", "reproduce", "findings"),
    ]
    for words in (
        "57.2 ms", "0.681 [0.602, 0.771]", "31.9 % lower", "n too small", "203",
        "qos in 9,", "70.0 sessions/s", "djinnload run synthetic", "--seed 100",
        "cells/all/fcfs/r04", "5 not ok (0.32 %)", "# synthetic", "python 3.11.0",
    ):  # fmt: skip
        assert words in page.text.replace("versions: ", "").replace(" /s", "/s"), words
    assert page.tags.count("svg") == FIGURES
    assert text.count("</table>") <= text.count('class="from"')
    assert page.tags.count("caption") == page.tags.count("table")
    assert "void" not in page.text.lower()


def test_offline(synthetic_run):
    text, page = written(synthetic_run)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert not {"img", "iframe", "object"} & set(page.tags)
    links = [v for k, v in page.attributes if k in {"href", "src"}]
    assert all(link.startswith(("#", "data:")) for link in links)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    for link in re.findall(r'(?:href="|url\(|for=")#([^")]+)', text):
        assert link in ids


def test_same_bytes_again(synthetic_run, tmp_path):
    first = html.write(synthetic_run).read_bytes()
    svgs = {p.name: p.read_bytes() for p in (synthetic_run / "figures").iterdir()}
    assert len(svgs) == FIGURES
    copied = tmp_path / "elsewhere" / synthetic_run.name
    shutil.copytree(synthetic_run, copied)
    shutil.rmtree(copied / "figures")
    assert html.write(copied).read_bytes() == first
    assert {p.name: p.read_bytes() for p in (copied / "figures").iterdir()} == svgs
    for data in svgs.values():
        assert ET.fromstring(data).tag.endswith("svg")  # noqa: S314 - our own
        assert b"<dc:date>" not in data


def test_hostile_names_are_escaped(synthetic_run):
    def hostile(summary):
        summary["scenario"] = HOSTILE
        cell = summary["cells"][0]
        cell["error"] = cell["path"] = HOSTILE
        finding = summary["verdict"]["findings"][0]
        finding["message"] = finding["code"] = HOSTILE
        for points in summary["arms"].values():
            points["all"][HOSTILE] = points["all"].pop("realtime")

    def named(manifest):
        manifest["scenario"] |= {"text": f"</pre>{HOSTILE}\n", "path": HOSTILE}
        manifest["argv"] = ["djinnload", "run", HOSTILE]
        manifest["environment"] = {HOSTILE: HOSTILE}
        manifest["host"] = {"name": HOSTILE}

    def populations(manifest):
        plans, sessions = manifest["populations"], manifest["sessions"]
        plans[HOSTILE] = plans.pop("realtime")
        sessions[HOSTILE] = sessions.pop("realtime")
        manifest["proof"]["evidence"][HOSTILE] = {"how": HOSTILE, "value": HOSTILE}

    edit(synthetic_run / "summary.json", hostile)
    edit(synthetic_run / "manifest.json", named)
    edit(synthetic_run / "cells/all/qos/r01/manifest.json", populations)
    text, page = written(synthetic_run)
    assert page.tags.count("script") == text.count("<script") == 1
    assert HOSTILE in page.text
    assert f"</pre>{HOSTILE}" in page.text


def test_hostile_names_in_figures():
    values = np.array([1.0, 2.0, np.inf])
    svg = figures.cdf(
        [drawn(f"_{HOSTILE}", values), drawn("\x00\ud800漢", values)],
        title=HOSTILE,
        xlabel="ms",
        ylabel="share",
    )
    words = "".join(ET.fromstring(svg).itertext())  # noqa: S314 - our own
    assert HOSTILE[:20] in words
    assert "漢: n = 3, 1 not ok (33 %)" in words
    page = Page(drawing.inline(svg, "x", HOSTILE))
    assert "script" not in page.tags
    assert ("aria-label", HOSTILE) in page.attributes


def test_killed_run(synthetic_run):
    shutil.rmtree(synthetic_run / "cells/all/fcfs")
    shutil.rmtree(synthetic_run / "cells/all/qos/r04")
    for repeat in ("r01", "r02"):
        path = synthetic_run / f"cells/all/qos/{repeat}/manifest.json"
        edit(path, lambda m: m.update(complete=False, error="the server went away"))
    (synthetic_run / "cells/all/qos/r03/manifest.json").write_text("{torn")
    edit(synthetic_run / "manifest.json", lambda m: m.update(complete=False))
    fold_run(synthetic_run)
    text, page = written(synthetic_run)
    assert "Only 1 of 10 planned cells have a result." in page.text
    assert "INCOMPLETE" in page.text
    assert "the server went away" in page.text
    assert "Nothing was compared" in page.text
    assert page.tags.count("svg") == FIGURES - 1  # nothing is compared
    assert "missing" in text


@pytest.mark.parametrize("kept", [(), ("manifest.json",), ("index.json",)])
def test_next_to_nothing(tmp_path, synthetic_run, kept):
    run = tmp_path / "bare"
    run.mkdir()
    for name in kept:
        shutil.copy(synthetic_run / name, run)
    _, page = written(run)
    assert page.text.startswith("VOID: ")
    assert "No cell has samples to draw." in page.text
    assert "Nothing was calibrated." in page.text


def test_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError):
        html.write(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_void_run_says_so_everywhere(synthetic_run):
    def void(summary):
        reason = {"code": "LATE", "message": "late; use fewer users", "void": True}
        summary["verdict"] |= {"status": "void", "reasons": [reason]}

    edit(synthetic_run / "summary.json", void)
    text, page = written(synthetic_run)
    assert '<body class="void">' in text
    assert "late; use fewer users" in page.text
    assert text.count("<h2") == text.count('<span class="tag bad">void</span></h2>')
    assert page.tags.count("svg") == FIGURES
    assert "met, but void" in page.text
    for path in (synthetic_run / "figures").iterdir():
        assert "VOID" in path.read_text(encoding="utf-8")


@pytest.mark.usefixtures("fake_values")
def test_failed_run(synthetic_run):
    def fail(summary):
        row = summary["arms"]["qos"]["all"]["realtime"]
        row["objectives"][0] |= {"met": False, "value": "inf"}
        summary["verdict"]["status"] = "fail"

    edit(synthetic_run / "summary.json", fail)
    _, page = written(synthetic_run)
    assert "FAIL : 1 of 4 judged objectives is missed." in page.text
    assert "✗ missed" in page.text
    assert "inf 90.0 ms" in page.text


def test_one_arm_without_classes(synthetic_run):
    cells = synthetic_run / "cells/all"
    shutil.rmtree(cells / "fcfs")
    (cells / "qos").rename(cells / "default")
    for name in ("index.json", "calibration.json"):
        (synthetic_run / name).unlink()

    def plain(manifest):
        manifest |= {"arm": "default", "proof": {}}
        manifest["populations"] = {
            name: plan | {"qos_class": "", "objectives": []}
            for name, plan in manifest["populations"].items()
        }

    for path in cells.glob("*/*/manifest.json"):
        edit(path, plain)
    edit(synthetic_run / "manifest.json", lambda m: m.update(arms={}, comparison=None))
    fold_run(synthetic_run)
    _, page = written(synthetic_run)
    assert "no objective was judged" in page.text
    assert "There is no proof" in page.text
    assert "(class " not in page.text
    assert "default:" not in page.text


@pytest.mark.parametrize(
    ("found", "interval", "words"),
    [
        ({"ratio": 0.5, "ci95": [0.4, 0.6]}, "[0.400, 0.600]", "50.0 % lower"),
        ({"ratio": 1.1, "ci95": [0.9, 1.3]}, "[0.900, 1.30]", "no difference shown"),
        (
            {"ratio": 1.1, "ci95": [1.01, 1.2], "p_holm": 0.2},
            "[1.01, 1.20]",
            "10.0 % higher, yet p (Holm) is over 0.05",
        ),
        (
            {"ratio": None, "ci95": [1e6, 3e6], "a": 2e6, "b": 0.0},
            "difference [1.00 ms, 3.00 ms]",
            "2.00 ms higher",
        ),
        ({"ratio": None, "ci95": None, "a": "inf"}, "", "no interval"),
    ],
)
def test_comparison_in_words(found, interval, words):
    said = told.difference({"metric": "p95(latency)"} | found)
    assert said == {"interval": interval, "words": words}


@pytest.mark.parametrize(
    ("value", "metric", "shown"),
    [
        (57_191_818.0, "p95(latency) <= 90ms", "57.2 ms"),
        (0.003056, "miss_rate <= 10%", "0.306 %"),
        (15.71, "goodput >= 3/s", "15.7 /s"),
        (2.0, "mean(in_system) <= 3", "2.00"),
        ("inf", "mean(latency) <= 1s", "inf"),
        (None, "goodput >= 3/s", "–"),
        (0.0, "p95(latency) <= 90ms", "0 ms"),
        (-1e6, "mean(latency)", "-1.00 ms"),
    ],
)
def test_amounts(value, metric, shown):
    assert amounts.amount(value, metric) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(3928, "3,928"), (99.96, "100"), (0.0152, "0.0152"), (1234.5, "1,234")],
)
def test_numbers(value, shown):
    assert amounts.number(value) == shown


def test_percentile_says_why_there_is_none():
    assert amounts.percentile({"n": 0, "p99": None}, "p99") == "–"
    assert amounts.percentile({"n": 800, "p99": None}, "p99") == "n too small"
    assert amounts.percentile({"n": 800, "p99": "inf"}, "p99") == "inf"


def drawn(label, values_ms):
    found = spread.curve([values_ms * MS])
    ms, share = np.array(found["ms"]), np.array(found["share"])
    return figures.Curve(label, ms, share, found["n"], found["lost"])


def test_curves_keep_shape_tail_and_share():
    rng = np.random.default_rng(1)
    values = rng.lognormal(size=100_000)
    values[:1000] = np.inf
    found = spread.curve([values[:60_000] * MS, values[60_000:] * MS])
    x, share = np.array(found["ms"]), np.array(found["share"])
    assert len(x) <= spread.CURVE_POINTS
    assert (found["n"], found["lost"]) == (100_000, 1000)
    assert share[-1] == pytest.approx(0.99)
    assert x[-1] == pytest.approx(values[np.isfinite(values)].max())
    assert (np.diff(x) >= 0).all()
    assert (np.diff(share) > 0).all()
    exact = [(values <= each * (1 + 1e-12)).mean() for each in x]
    assert share == pytest.approx(exact)


@pytest.mark.parametrize(
    "values", [[np.inf], [0.0], [0.0, np.inf], [5.0], [1e-9, 1e9], [3.0] * 700]
)
def test_odd_values_are_drawn(values):
    curve = drawn("", np.array(values))
    mark = figures.Mark("p95", 4.0, 0.95)
    texts = {"title": "t", "xlabel": "x", "ylabel": "y"}
    for floor in (0.0, 0.01):
        svg = figures.cdf([curve], marks=[mark], floor_ms=floor, **texts)
        assert "nan" not in svg
        ET.fromstring(svg)  # noqa: S314 - our own


def test_light_to_import():
    code = (
        "import sys, djinnload.report.html; print('matplotlib' in sys.modules,"
        " 'pyarrow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.split()[0] == "False"
