"""Reports in a real browser: a run, a sweep and a comparison, as people open them."""

import csv
import itertools
import json
import re
import shutil
from urllib.parse import unquote

import pytest

from command_kit import ACCEPT_NOISE, run_command  # tests/, by conftest.py
from djinnload import regressions
from djinnload.report import html
from djinnload.report.page import comparison
from djinnload.summary.fold import fold_run, read_run
from experiment_kit import write_experiment

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: apt-get install chromium"
)
#: It asks nobody anything, as a test of "no request" has to know.
QUIET = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update",
)  # fmt: skip
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
SWEEP = """
[scenario]
name = "loads"
warmup = "100ms"
duration = "1s"
repeats = 2
overload = "expected"
[target]
use = "null"
[[population]]
name = "chat"
deadline = "200ms"
arrival = { process = "poisson", rate = "40/s" }
workload = { use = "echo" }
[[population]]
name = "batch"
users = 2
think = { distribution = "constant", mean = "10ms" }
workload = { use = "echo" }
[[sweep]]
name = "rate"
path = "population.chat.arrival.rate"
values = ["40/s", "80/s", "160/s"]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_synthetic):
    """The pages by name: a run, an experiment that is void, a sweep, a comparison."""
    out = tmp_path_factory.mktemp("pages")
    base = make_synthetic.write_run(out / "base", seconds=6)
    slow = make_synthetic.write_run(out / "slow", repeats=3, seconds=6, slow=1.3)
    pages = {"run": html.write(base), "experiment": html.write(void_experiment(out))}
    question = regressions.ask(2)
    sides = [regressions.Run(str(each), *read_run(each)) for each in (slow, base)]
    answer = regressions.answer(question, sides)
    pages["comparison"] = comparison.write(answer, sides, out / "comparison.html")
    (out / "loads.toml").write_text(SWEEP)
    ran = run_command("run", "loads.toml", "--out", "r", *ACCEPT_NOISE, cwd=out)
    assert ran.returncode in (0, 1, 4), ran.stderr
    (pages["sweep"],) = (out / "r").glob("*/*/report.html")
    return pages


def void_experiment(out):
    run = write_experiment(out / "experiment", "2.2", gpu=True, repeats=2)
    summary = fold_run(run)
    reason = {"code": "LATE", "message": "late; use fewer users", "void": True}
    summary["verdict"] |= {"status": "void", "reasons": [reason]}
    (run / "summary.json").write_text(json.dumps(summary))
    return run


PAGES = ("run", "experiment", "sweep", "comparison")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def visit(browser, made):
    """Opens a page by name; at the end it had nothing to say and asked for nothing."""
    contexts, said, asked = [], [], []

    def opened(name, **options):
        context = browser.new_context(**{"viewport": WIDE} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(made[name].as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    own = {path.as_uri() for path in made.values()}
    assert said == []
    assert [
        url for url in asked if url not in own and not url.startswith("data:")
    ] == []


def data_of(figure):
    """The rows that a figure offers, and what it says of them."""
    uri = figure.locator("a[download]").get_attribute("href")
    told = unquote(uri.partition(",")[2])
    return list(csv.DictReader(told.splitlines()))


def figure(page, name):
    return page.locator("figure", has=page.get_by_role("img", name=name, exact=True))


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_a_phone_and_is_legible(visit, name, scheme):
    page = visit(name, viewport=NARROW, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    faint = page.evaluate(FAINT)
    assert faint == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark != "rgb(255, 255, 255)") is (scheme == "dark")
    page.emulate_media(media="print", color_scheme=scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"


#: WCAG 2: text that stands out less than 4.5 : 1 (3 : 1 if it is large).
FAINT = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgb = (colour, under) => {
    canvas.fillStyle = under; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const light = (parts) => parts.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const faint = [];
  for (const each of document.querySelectorAll("body *")) {
    const own = [...each.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    const style = getComputedStyle(each);
    if (!own || !each.checkVisibility() || /^(script|style)$/i.test(each.tagName)) continue;
    if (style.opacity < 1 || each.textContent.includes("VOID · VOID")) continue;
    let under = each;
    const clear = (e) => /^rgba\\(0, 0, 0, 0\\)$/.test(getComputedStyle(e).backgroundColor);
    while (under.parentElement && clear(under)) under = under.parentElement;
    const ground = getComputedStyle(under).backgroundColor;
    const colour = each.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(rgb(colour, ground)), light(rgb(ground, ground))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5)) faint.push([each.tagName, each.textContent.slice(0, 40), ratio]);
  }
  return faint;
}"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_heard(visit, name):
    page = visit(name)
    for role, count in (("banner", 1), ("main", 1), ("navigation", 1)):
        assert page.get_by_role(role).count() == count
    levels = page.evaluate(
        "[...document.querySelectorAll('h1,h2,h3,h4')].map(e => +e.tagName[1])"
    )
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    nameless = "[...document.querySelectorAll('{}')].filter(e => !({})).length"
    for tags, named in (
        ("table", "e.caption?.textContent"),
        ("svg", "e.getAttribute('role') === 'img' && e.ariaLabel"),
        ("input", "e.ariaLabel || e.labels.length"),
        ("[role=region],[role=group]", "e.ariaLabel"),
        ("figure", "e.querySelector('figcaption')"),
        ("th", "e.scope || e.closest('td')"),
    ):
        assert page.evaluate(nameless.format(tags, named)) == 0, tags
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    links = page.evaluate(
        "[...document.querySelectorAll('nav a')].map(e => e.hash.slice(1))"
    )
    assert links
    assert set(links) <= set(ids)


def test_hovering_a_figure_reads_its_values(visit, made):
    page = visit("run")
    shown = figure(page, "latency of realtime, cumulative share")
    axes = json.loads(shown.locator("svg").get_attribute("data-axes"))[0]
    assert "read its values" in shown.locator("output").inner_text()
    shown.scroll_into_view_if_needed()
    box = shown.locator("svg").bounding_box()
    view = [*map(float, shown.locator("svg").get_attribute("viewBox").split())]
    left, top, right, bottom = (each * box["width"] / view[2] for each in axes["box"])
    page.mouse.move(
        box["x"] + left + 0.6 * (right - left), box["y"] + (top + bottom) / 2
    )
    said = shown.locator("output").inner_text()
    at = float(re.search(r"due time \(ms\): ([\d.]+)", said)[1])
    # The pointer is where the axis has the value, within a point of the curve.
    low, high = axes["x"]["ends"]
    assert at == pytest.approx(low * (high / low) ** 0.6, rel=0.1)
    curves = json.loads((made["run"].parent / "curves.json").read_text())["curves"]
    for curve in curves:
        if (curve["population"], curve["metric"]) == ("realtime", "latency"):
            up_to = [
                s
                for x, s in zip(curve["ms"], curve["share"], strict=True)
                if x <= at * 1.0005
            ]
            found = float(re.search(rf"{curve['arm']}: ([\d.]+) %", said)[1])
            assert found == pytest.approx(100 * up_to[-1], abs=0.6)
    assert shown.locator(".cursor").get_attribute("d").startswith("M")


def test_a_slider_reads_values_by_keyboard(visit):
    page = visit("run")
    shown = figure(page, "latency of realtime by percentile, spaced by nines")
    slider = shown.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    slider.press("ArrowRight")
    rows = [row for row in data_of(shown) if row["arm"] == "qos"]
    value = float(rows[1]["latency_ms"])
    told = slider.get_attribute("aria-valuetext")
    assert told.startswith(f"{rows[1]['percentile']}; qos: ")
    assert float(re.search(r"qos: ([\d.]+)", told)[1]) == pytest.approx(value, rel=1e-3)
    assert rows[1]["percentile"] in shown.locator("output").inner_text()


def test_a_heat_map_says_how_many_turns_are_where(visit):
    page = visit("run")
    shown = figure(page, "latency of realtime over time, as a heat map")
    slider = shown.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    first = [
        row for row in data_of(shown) if row["from_s"] == "0" and row["arm"] == "qos"
    ]
    total = sum(int(row["turns"]) for row in first)
    most = max(int(row["turns"]) for row in first)
    assert f"qos: {most} of {total} turns took" in shown.locator("output").inner_text()


def test_bars_are_read_by_the_word_on_their_axis(visit):
    page = visit("experiment")
    shown = page.locator("figure.wide[data-read=exact]").first
    slider = shown.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    first = data_of(shown)[0]
    told = slider.get_attribute("aria-valuetext")
    assert first["x"] in told.partition(";")[0]
    value = re.search(rf"{re.escape(first['series'])}: ([\d.,]+)", told)[1]
    assert float(value.replace(",", "")) == pytest.approx(
        float(first["value"]), rel=1e-3
    )


def test_a_bar_leads_to_its_cells(visit):
    page = visit("experiment")
    made_of = page.locator("details", has_text="What each bar or line is made of").first
    made_of.locator("summary").press("Enter")
    link = made_of.get_by_role("link", name="cells/all/full/r00").first
    assert link.is_visible()
    assert link.get_attribute("href") == "cells/all/full/r00/summary.json"


def test_ratios_have_their_data_and_no_slider(visit):
    page = visit("comparison")
    shown = page.locator("figure", has_text="Ratio of each compared value")
    assert shown.get_by_role("slider").count() == 0  # its table says it all
    rows = data_of(shown)
    assert {row["population"] for row in rows} == {"realtime", "chat", "batch"}


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("by", ["mouse", "keyboard"])
def test_arms_and_classes_can_be_hidden(visit, by, scripts):
    page = visit("run", java_script_enabled=scripts)
    toggle = page.get_by_role("checkbox", name="qos")
    latency = figure(page, "latency of realtime, cumulative share")
    line, row = latency.locator("g.a0").first, page.locator("tr.a0").first
    note = page.get_by_text("Some arms or classes are hidden")

    def press():
        if by == "mouse":
            toggle.click()
        else:
            toggle.press("Space")

    assert line.is_visible()
    assert row.is_visible()
    assert not note.is_visible()
    press()
    assert not toggle.is_checked()
    assert not line.is_visible()
    assert not row.is_visible()
    assert note.is_visible()
    assert page.locator("tr.a1").first.is_visible()
    press()
    assert row.is_visible()
    page.get_by_role("checkbox", name="chat").uncheck()
    chat = page.locator("figure.p1")
    assert chat.count() > 3
    assert not any(each.is_visible() for each in chat.all())


def test_a_hidden_arm_is_not_read_out(visit):
    page = visit("run")
    shown = figure(page, "latency of chat, cumulative share")
    slider = shown.get_by_role("slider")
    slider.focus()
    assert "fcfs: " in slider.get_attribute("aria-valuetext")
    page.get_by_role("checkbox", name="fcfs").uncheck()
    assert "fcfs: " not in slider.get_attribute("aria-valuetext")
    assert "qos: " in slider.get_attribute("aria-valuetext")


@pytest.mark.parametrize("name", PAGES)
def test_without_scripts_only_the_reading_is_missing(visit, name):
    page, plain = visit(name), visit(name, java_script_enabled=False)
    for tags in ("svg", "table", "h2", "figcaption", "a[download]"):
        assert plain.locator(tags).count() == page.locator(tags).count() > 0, tags
    assert plain.locator(".reader").count() == 0
    for each in plain.locator("figure svg").all()[:3]:
        assert each.bounding_box()["height"] > 100


def test_the_data_of_a_figure_can_be_saved(visit):
    page = visit("run", java_script_enabled=False)
    shown = figure(page, "Over time: realtime")
    with page.expect_download() as saving:
        shown.locator("a[download]").click()
    assert saving.value.suggested_filename == "course-00-realtime.csv"
    text = saving.value.path().read_text()
    assert text.startswith("panel,arm,repeat,series,seconds,value\n")
    assert list(csv.DictReader(text.splitlines())) == data_of(shown)


def test_tab_goes_through_a_page_in_order(visit):
    page = visit("run")
    seen = []
    for _ in range(45):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUS))
    assert seen[0]["text"] == "Skip to the results"
    assert seen[1]["text"] == "Objectives"
    places = [each["place"] for each in seen]
    assert places == sorted(set(places))
    assert all(each["outlined"] for each in seen)
    assert {"checkbox", "range"} <= {each["type"] for each in seen}
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


FOCUS = """() => {
  const at = document.activeElement;
  return {
    text: at.textContent, type: at.type ?? "",
    place: [...document.querySelectorAll("*")].indexOf(at),
    outlined: getComputedStyle(at).outlineStyle !== "none",
  };
}"""


def test_a_sweep_reads_each_load(visit):
    page = visit("sweep")
    shown = figure(page, "Throughput against load: chat")
    slider = shown.get_by_role("slider")
    slider.focus()
    slider.press("End")
    assert slider.get_attribute("aria-valuetext").startswith("load: rate: 160; ")
    assert float(data_of(shown)[-1]["load"]) == 160
