// Says the values of a figure at a place: under the pointer, or where its slider is.
// They come from the CSV that the figure offers. All else here works without a script.
(() => {
"use strict";
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
const said = (text) => (text !== "" && isFinite(text) ? digits.format(text) : text);
const hidden = () => new Set(
  [...document.querySelectorAll(".toggles input:not(:checked)")].map((each) => each.value));

function parse(text) {
  const lines = text.trimEnd().split("\n").map((line) =>
    [...line.matchAll(/(?:"((?:[^"]|"")*)"|([^,]*))(?:,|$)/g)]
      .map((found) => found[1]?.replaceAll('""', '"') ?? found[2]));
  const heads = lines.shift();
  return lines.map((cells) => Object.fromEntries(heads.map((head, i) => [head, cells[i]])));
}

const scaled = (axis, value) => (axis.log ? Math.log(value) : value);
function toPlace(axis, from, to, value) {
  const [low, high] = axis.ends.map((end) => scaled(axis, end));
  return from + ((to - from) * (scaled(axis, value) - low)) / (high - low);
}
function toValue(axis, from, to, place) {
  const [low, high] = axis.ends.map((end) => scaled(axis, end));
  const value = low + ((high - low) * (place - from)) / (to - from);
  return axis.log ? Math.exp(value) : value;
}

/** Panels of a figure, those above each other in one group; null: it has no such data. */
function groupsOf(figure, axes, rows) {
  const { x, panel } = figure.dataset;
  const names = [...new Set(rows.map((row) => row[panel] ?? ""))];
  if (names.length !== axes.length) return null;
  const groups = new Map();
  names.forEach((name, i) => {
    const mine = rows.filter((row) => (row[panel] ?? "") === name);
    const words = mine.some((row) => isNaN(row[x] || NaN));
    const order = [...new Set(mine.map((row) => row[x]))];
    mine.forEach((row) => { row.at = words ? order.indexOf(row[x]) : Number(row[x]); });
    const [left] = axes[i].box;
    if (!groups.has(left)) groups.set(left, { panels: [], xs: new Set() });
    const group = groups.get(left);
    group.panels.push({ axes: axes[i], rows: mine, name });
    mine.forEach((row) => group.xs.add(row.at));
  });
  return [...groups.values()];
}

function named(row) {
  const arm = row.arm === "default" ? "" : row.arm;
  const series = row.series === row.arm ? "" : row.series;
  return [arm, series].filter(Boolean).join(", ");
}

/** What each series says at a place; of several repeats one value after the other. */
function valuesAt(panel, at, how, y) {
  const off = hidden(), found = new Map();
  for (const row of panel.rows) {
    if (off.has(`arm ${row.arm}`) || off.has(`population ${row.population}`)) continue;
    const before = found.get(named(row)) ?? [];
    if (row.at === at && how === "exact") found.set(named(row), [...before, row]);
    else if (row.at <= at && how === "steps") found.set(named(row), [row]);
  }
  const share = panel.axes.y.label.startsWith("share");
  const told = (row) => {
    const value = row[y] === "" ? "no value" : share ? `${said(100 * row[y])} %` : said(row[y]);
    return value + (row.low ? ` [${said(row.low)}, ${said(row.high)}]` : "");
  };
  return [...found].map(([name, mine]) => (name ? `${name}: ` : "") + mine.map(told).join(" · "));
}

function cellAt(panel, at, y, height) {
  const mine = panel.rows.filter((row) => row.at === at);
  if (!mine.length || hidden().has(`arm ${panel.rows[0].arm}`)) return [];
  const all = mine.reduce((sum, row) => sum + Number(row[y]), 0);
  const inside = mine.find((row) => row.from_ms && row.from_ms <= height && height < row.to_ms);
  const most = mine.reduce((a, b) => (Number(b[y]) > Number(a[y]) ? b : a));
  const row = height === undefined ? most : inside;
  const where = row?.from_ms ? `took ${said(row.from_ms)} to ${said(row.to_ms)} ms` : "were not ok";
  const name = named(panel.rows[0]);
  return [(name ? `${name}: ` : "") + (row ? `${row[y]} of ${all} turns ${where}` : `${all} turns in all`)];
}

function textOf(figure, group, at, pointed) {
  const { read, x, y } = figure.dataset, label = group.panels.at(-1).axes.x.label;
  const row = group.panels[0].rows.find((each) => each.at === at);
  const name = label.replace(/,? ?\(?logarithmic\)?/, (all) => (all.startsWith(",") ? ")" : ""));
  const head = row?.percentile ?? `${name}: ${said(row ? row[x] : String(at))}`;
  const parts = group.panels.flatMap((panel) => {
    const height = pointed && (pointed.panel === panel ? pointed.y : -1);
    if (read === "heat") return cellAt(panel, at, y, height);
    const found = valuesAt(panel, at, read, y);
    return group.panels.length > 1 && found.length ? [`${panel.name}: ${found.join("; ")}`] : found;
  });
  return [head, ...(parts.length ? parts : ["nothing shown here"])];
}

function equip(figure) {
  const svg = figure.querySelector("svg"), link = figure.querySelector("a[download]");
  if (!svg?.dataset.axes || !link) return;
  const rows = parse(decodeURIComponent(link.href.slice(link.href.indexOf(",") + 1)));
  const groups = groupsOf(figure, JSON.parse(svg.dataset.axes), rows);
  if (!groups) return;
  const stops = groups.flatMap((group) =>
    [...group.xs].sort((a, b) => a - b).map((at) => ({ group, at })));
  const slider = Object.assign(document.createElement("input"),
    { type: "range", min: 0, max: stops.length - 1, value: Math.floor(stops.length / 2) });
  slider.setAttribute("aria-label", `Read values: ${svg.getAttribute("aria-label")}`);
  const output = Object.assign(document.createElement("output"), { textContent: "Point at the figure, or move the slider, to read its values." });
  // The slider says it already.
  output.setAttribute("aria-live", "off");
  const reader = Object.assign(document.createElement("div"), { className: "reader" });
  reader.append(slider, output);
  svg.closest(".plot").after(reader);
  const cursor = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
  cursor.setAttribute("class", "cursor");

  const show = (pointed) => {
    const { group, at } = stops[slider.value];
    const [head, ...parts] = textOf(figure, group, at, pointed);
    const strong = Object.assign(document.createElement("b"), { textContent: head });
    const spans = parts.map((part) => Object.assign(document.createElement("span"), { textContent: part }));
    output.replaceChildren(strong, ...spans);
    slider.setAttribute("aria-valuetext", [head, ...parts].join("; "));
    cursor.setAttribute("d", group.panels.map(({ axes: { box: [left, top, right, bottom], x } }) => {
      const place = toPlace(x, left, right, at);
      return isFinite(place) ? `M${Math.min(Math.max(place, left), right).toFixed(2)} ${top}V${bottom}` : "";
    }).join(""));
  };
  const point = (event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const panels = groups.flatMap((group) => group.panels.map((panel) => ({ group, panel })));
    const away = ({ panel: { axes: { box: [left, top, right, bottom] } } }) =>
      Math.max(left - place.x, place.x - right, 0) + Math.max(top - place.y, place.y - bottom, 0);
    const { group, panel } = panels.reduce((a, b) => (away(b) < away(a) ? b : a));
    const { box: [left, top, right, bottom], x, y } = panel.axes;
    const near = (stop) => {
      const past = place.x - toPlace(x, left, right, stop.at);
      // Cells and steps begin at their stop.
      const other = stop.group !== group || (past < 0 && figure.dataset.read !== "exact");
      return other ? Infinity : Math.abs(past);
    };
    slider.value = stops.reduce((best, stop, i) => (near(stop) < near(stops[best]) ? i : best),
      stops.findIndex((stop) => stop.group === group));
    show({ panel, y: toValue(y, bottom, top, place.y) });
  };
  slider.addEventListener("input", () => show());
  slider.addEventListener("focus", () => show());
  svg.addEventListener("pointermove", point);
  svg.addEventListener("pointerdown", point);
  document.addEventListener("change", (event) => { if (event.target.closest(".toggles") && output.children.length) show(); });
}

document.querySelectorAll("figure[data-read]").forEach(equip);
})();
