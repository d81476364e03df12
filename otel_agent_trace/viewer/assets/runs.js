// The list of runs: a frozen result of filters, a histogram of time, text search, marks to compare.

import { button, countText, durationText, fill, h, plural, setStyle, statusMark, svg, whenText } from "./h.js";
import { VirtualList } from "./list.js";

const PAGE_ROWS = 60;
const RUN_ROW_PIXELS = 28;
const ASK_AGAIN_MS = 400;
const SHOWN_VALUES = 6;
const FACETS = ["status", "agent", "tool", "model", "error"];
const COUNTED = ["error"]; // what no filter selects
const SORTS = ["time", "duration", "steps", "tokens", "cost"];
const OTHER_FILTERS = [
  ["user", "User"], ["session", "Session"], ["service", "Service"], ["tag", "Tag"], ["where", "Where (metadata.KEY=VALUE)"],
  ["score", "Score (helpful<0.5)"], ["tool_error", "Failed tool (* for any)"], ["since", "Since (2h, 2026-05-01)"],
  ["until", "Until"], ["min_duration", "Took at least (2s)"], ["run", "Run id"],
];
const COLUMNS = [
  ["", "Status"], ["when", "Started"], ["agent", "Agent"], ["question", "Question"], ["number", "Steps"], ["number", "Errors"],
  ["took", "Duration"], ["number", "Tokens"], ["number", "Cost"], ["tags", "Tags"],
];

/** Show the runs that the query of the address selects. */
export async function runsPage(root, route, app) {
  const page = new RunsPage(root, route.query, app);
  await page.load(route.state?.scroll);
  return page;
}

class RunsPage {
  constructor(root, query, app) {
    Object.assign(this, { root, query, app, rows: new Map(), marked: new Set(), pending: new Map() });
    const header = h("div", { class: "run-row head", role: "row" }, COLUMNS.map(([kind, word]) => h("span", { class: kind, role: "columnheader" }, word)));
    this.list = new VirtualList({
      rowHeight: RUN_ROW_PIXELS, role: "grid", label: "Runs", header, draw: (index) => this.#row(index), onView: (first, last) => this.#fetch(first, last),
      onSelect: (index) => this.#preview(index), onOpen: (index) => this.#open(index),
    });
    this.chips = h("div", { class: "chips" });
    this.histogram = h("div", { class: "histogram" });
    this.count = h("span", { class: "count", role: "status" });
    this.fresh = button("", () => this.#reload(), { class: "fresh", hidden: true });
    this.compare = button("Compare", () => this.#compare(), { disabled: true, title: "Compare the two marked runs (x marks)" });
    this.cancel = button("Cancel", () => this.searching?.abort(), { hidden: true });
    this.progress = h("progress", { "aria-label": "Searched", max: 1, hidden: true });
    this.preview = h("aside", { class: "preview", "aria-label": "Preview", hidden: true });
    const sort = h("select", { "aria-label": "Order", onchange: () => this.set("sort", sort.value === "time" ? null : sort.value) },
      SORTS.map((name) => h("option", { value: name, selected: name === (query.get("sort") ?? "time") }, name)));
    fill(root, h("h1", { class: "unseen" }, "Runs"), this.chips, this.#otherFilters(), this.histogram,
      h("div", { class: "tools" }, this.count, this.fresh, this.progress, this.cancel, h("span", { class: "space" }), h("label", {}, "Order ", sort), this.compare),
      this.list.element, this.preview);
    this.stopLive = app.live((type, data) => this.#announced(type, data));
  }

  close() {
    this.closed = true;
    this.stopLive();
    this.searching?.abort();
    clearTimeout(this.timer);
    this.list.close();
  }

  /** Return where the list is, to which the way back leads. */
  place() {
    return { result: this.result, selected: this.list.selected, top: this.list.top };
  }

  /** Show only runs with a text. */
  search(text) {
    this.set("text", text || null);
  }

  key(event) {
    if (event.key === "x") this.#mark(this.list.selected);
    else if (event.key === " ") this.#preview(this.list.selected, true);
    else return this.list.key(event);
    return true;
  }

  /** Set or remove a filter, and show what it selects. */
  set(name, ...values) {
    this.query.delete(name);
    for (const value of values) if (value !== null && value !== "") this.query.append(name, value);
    this.#reload();
  }

  async load(place) {
    document.title = "Runs";
    this.query.has("text") ? this.#stream() : await this.#first(place);
    this.#facets();
    if (!document.activeElement.closest("input")) this.list.element.focus({ preventScroll: true });
  }

  async #reload() {
    this.app.setQuery(this.query);
    this.searching?.abort();
    this.rows.clear();
    this.pending.clear();
    this.result = undefined;
    this.fresh.hidden = true;
    try {
      await this.load();
    } catch (error) {
      this.#failed(error);
    }
  }

  async #first(place) {
    const from = Math.floor((place?.top ?? 0) / RUN_ROW_PIXELS / PAGE_ROWS) * PAGE_ROWS, wanted = this.#filters({ from, count: PAGE_ROWS });
    const kept = place?.result && this.app.api.runs(this.#filters({ from, count: PAGE_ROWS, result: place.result }));
    const answer = await (kept ? kept.catch(() => this.app.api.runs(wanted)) : this.app.api.runs(wanted));
    this.#take(answer);
    if (place?.top) this.list.scrollTo(place.top);
    this.list.select(Math.max(place?.selected ?? 0, 0), { quietly: true });
  }

  /** Return the filters of the address, with the result that they gave and with further parameters. */
  #filters(others = {}) {
    const filters = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries({ result: this.result, ...others })) if (value !== undefined) filters.set(name, value);
    return filters;
  }

  #take(answer) {
    this.result = answer.result;
    answer.rows.forEach((row, offset) => this.rows.set(answer.from + offset, row));
    const count = answer.total ?? Math.max(answer.at_least, this.list.count);
    this.count.textContent = answer.total === null ? `${answer.at_least.toLocaleString("en")}+ runs` : plural(answer.total, "run");
    this.#showNew(answer.new);
    this.longest = Math.max(this.longest ?? 0, ...answer.rows.map((row) => row.duration_s ?? 0));
    if (count !== this.list.count || !this.list.rows.size) this.list.setCount(count);
    else answer.rows.forEach((_, offset) => this.list.refreshRow(answer.from + offset));
    if (answer.total === null) this.#later(() => this.#ask(0, 0));
  }

  #later(call) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => !this.closed && call().catch((error) => this.#failed(error)), ASK_AGAIN_MS);
  }

  async #ask(from, count) {
    const asked = this.result, answer = await this.app.api.runs(this.#filters({ from, count }));
    if (!this.closed && asked === this.result) this.#take(answer);
  }

  #fetch(first, last) {
    if (this.query.has("text")) return;
    for (let page = Math.floor(first / PAGE_ROWS); page * PAGE_ROWS < last; page++) {
      const from = page * PAGE_ROWS;
      if (this.pending.has(from) || [...Array(PAGE_ROWS).keys()].every((offset) => from + offset >= this.list.count || this.rows.has(from + offset))) continue;
      this.pending.set(from, this.#ask(from, PAGE_ROWS).catch((error) => this.#failed(error)).finally(() => this.pending.delete(from)));
    }
  }

  /** Show the runs that a text occurs in as they are found. */
  async #stream() {
    const search = (this.searching = new AbortController()), found = [];
    this.cancel.hidden = this.progress.hidden = false;
    this.progress.removeAttribute("value");
    this.list.setCount(0);
    const take = (line) => {
      if (line.row) this.rows.set(found.push(line.row) - 1, line.row);
      if (line.progress !== undefined) this.progress.value = line.progress;
      this.count.textContent = `${plural(found.length, "run")}${line.done ? "" : " so far"}`;
      this.list.setCount(found.length);
    };
    try {
      await this.app.api.search(this.#filters(), take, search.signal);
      if (!found.length) this.count.textContent = "0 runs";
      else this.list.select(0, { quietly: true });
    } catch (error) {
      if (search.signal.aborted) this.count.textContent = `${plural(found.length, "run")}, search cancelled`;
      else this.#failed(error);
    }
    if (this.searching === search) this.cancel.hidden = this.progress.hidden = true;
  }

  #failed(error) {
    if (this.closed || error.name === "AbortError") return;
    this.count.textContent = error.message;
    this.app.announce(error.message);
  }

  #announced(type, data) {
    if (type === "run" && ![...this.rows.values()].some((row) => row.run_id === data.run_id) && this.list.count) return this.#later(() => this.#ask(0, 0));
    const [first, last] = this.list.view();
    const seen = this.list.count ? [Math.floor(first / PAGE_ROWS) * PAGE_ROWS, PAGE_ROWS] : [0, PAGE_ROWS];
    if (!this.query.has("text")) this.#later(() => (this.list.count ? this.#ask(...seen) : this.#reload()));
  }

  #showNew(count) {
    this.fresh.hidden = !count;
    if (count && this.fresh.textContent !== `${count} new`) this.app.announce(`${count} new`);
    this.fresh.textContent = `${count} new`;
  }

  #row(index) {
    const row = this.rows.get(index);
    if (!row?.run_id) return h("div", { class: "run-row" }, h("span", { role: "gridcell", class: "faint" }, row ? "removed" : "…"));
    const cell = (kind, ...children) => h("span", { class: kind, role: "gridcell" }, children);
    const bar = h("i", { class: "bar-of-time" });
    setStyle(bar, { width: `${(100 * (row.duration_s ?? 0)) / (this.longest || 1)}%` });
    const marked = this.marked.has(row.run_id);
    return h(
      "div", { class: `run-row${row.error || row.status === "error" ? " failed-row" : ""}${marked ? " marked" : ""}`, "data-run": row.run_id },
      cell("", statusMark(row.status)),
      h("span", { class: "when", role: "gridcell", title: row.started_at }, whenText(row.started_at)),
      cell("agent cut", marked && h("b", { title: "marked" }, "✗ "), row.agent_name ?? "(unnamed agent)"),
      cell("question cut", h("a", { href: this.app.href(`runs/${encodeURIComponent(row.run_id)}`), tabindex: "-1" }, row.user_input || row.run_id), row.error && h("span", { class: "error-text" }, `  ${row.error}`)),
      cell("number", String(row.steps ?? "-")),
      cell(`number${row.errors ? " error-text" : ""}`, row.errors ? String(row.errors) : ""),
      h("span", { class: "took", role: "gridcell" }, bar, h("span", {}, durationText(row.duration_s))),
      cell("number", row.tokens_text ?? "-"),
      cell("number", row.cost_text ?? "-"),
      cell("tags cut", (row.tags ?? []).join(" ")),
    );
  }

  #open(index) {
    const row = this.rows.get(index);
    if (!row) return;
    this.app.hasMoved = true;
    this.app.go(`runs/${encodeURIComponent(row.run_id)}`);
  }

  #preview(index, toggle = false) {
    const row = this.rows.get(index);
    if (toggle) this.preview.hidden = !this.preview.hidden;
    if (!row || this.preview.hidden) return;
    const tools = Object.entries(row.tools ?? {}).map(([name, calls]) => (calls > 1 ? `${name} ×${calls}` : name)).join(", ");
    const facts = [["Question", row.user_input], ["Error", row.error], ["Tools", tools], ["Session", row.session_id], ["User", row.user_id], ["Model", row.model], ["Run", row.run_id]];
    fill(this.preview, h("dl", {}, facts.filter(([, text]) => text).map(([word, text]) => [h("dt", {}, word), h("dd", {}, text)])));
  }

  #mark(index) {
    const row = this.rows.get(index);
    if (!row) return;
    if (!this.marked.delete(row.run_id)) {
      if (this.marked.size === 2) this.marked.delete([...this.marked][0]);
      this.marked.add(row.run_id);
    }
    this.list.refresh();
    this.compare.disabled = this.marked.size !== 2;
    this.app.announce(`${plural(this.marked.size, "run")} marked`);
  }

  #compare() {
    const [a, b] = this.marked;
    this.app.hasMoved = true;
    this.app.go(`compare?${new URLSearchParams({ a, b })}`);
  }

  async #facets() {
    const filters = this.#filters();
    filters.delete("result");
    const facets = await this.app.api.facets(filters).catch(() => null);
    if (this.closed || !facets) return;
    fill(this.chips, this.#given(), FACETS.filter((name) => facets[name] && Object.keys(facets[name]).length).map((name) => this.#facet(name, facets[name])));
    this.#drawHistogram(facets.histogram ?? []);
  }

  /** Return a chip for each filter that is set and has no chip of its own among the facets. */
  #given() {
    const others = [...this.query].filter(([name]) => !FACETS.includes(name) && !["sort", "text"].includes(name));
    return others.map(([name, value]) => button(`${name}=${value} ✕`, () => this.set(name, ...this.query.getAll(name).filter((other) => other !== value)), { class: "chip", "aria-label": `Remove filter ${name}=${value}` }));
  }

  #facet(name, counts) {
    const given = this.query.get(name), all = Object.entries(counts).sort((one, other) => other[1] - one[1]);
    const chip = ([value, count]) => COUNTED.includes(name) ? h("span", { class: "chip" }, value, " ", h("small", {}, countText(count))) : button([value || "(none)", " ", h("small", {}, countText(count))], () => this.set(name, given === value ? null : value), { class: "chip", "aria-pressed": String(given === value) });
    const rest = all.slice(SHOWN_VALUES);
    const more = rest.length > 0 && !COUNTED.includes(name) && h("select", { "aria-label": `More of ${name}`, onchange: (event) => this.set(name, event.target.value || null) },
      h("option", { value: "" }, `${rest.length} more`), rest.map(([value, count]) => h("option", { value, selected: given === value }, `${value} (${count})`)));
    return h("div", { class: "facet", role: "group", "aria-label": name }, h("span", { class: "faint" }, name), all.slice(0, SHOWN_VALUES).map(chip), more);
  }

  #otherFilters() {
    const inputs = OTHER_FILTERS.map(([name, word]) => h("label", {}, word, h("input", { name, value: this.query.get(name) ?? "", autocomplete: "off", onchange: (event) => this.set(name, event.target.value.trim() || null) })));
    return h("details", { class: "other-filters" }, h("summary", {}, "More filters"), h("div", {}, inputs));
  }

  /** Draw runs above the axis and errors below it; a stretch that is drawn over with the mouse is the window shown. */
  #drawHistogram(buckets) {
    if (buckets.length < 2) return fill(this.histogram);
    const most = Math.max(...buckets.map((bucket) => bucket.runs), 1), width = 100 / buckets.length;
    const bars = buckets.map((bucket, index) => {
      const ok = (24 * (bucket.runs - bucket.errors)) / most, failed = (12 * bucket.errors) / most;
      const title = svg("title", {}, `${new Date(Number(bucket.start_ns) / 1e6).toLocaleString()}: ${plural(bucket.runs, "run")}, ${plural(bucket.errors, "error")}`);
      return svg("g", {}, title, svg("rect", { class: "hit", x: index * width, y: 0, width, height: 38 }),
        svg("rect", { class: "ok", x: index * width + width * 0.1, y: 25 - ok, width: width * 0.8, height: ok }),
        failed > 0 && svg("rect", { class: "bad", x: index * width + width * 0.1, y: 26, width: width * 0.8, height: failed }));
    });
    const brush = svg("rect", { class: "brush", y: 0, height: 38, width: 0 });
    const chart = svg("svg", { viewBox: "0 0 100 38", preserveAspectRatio: "none", role: "img", "aria-label": "Runs over time, errors below the axis" }, svg("line", { x1: 0, x2: 100, y1: 25.5, y2: 25.5 }), bars, brush);
    this.#brush(chart, brush, buckets);
    fill(this.histogram, chart);
  }

  #brush(chart, brush, buckets) {
    let from = null;
    const at = (event) => Math.min(Math.max((event.clientX - chart.getBoundingClientRect().left) / chart.clientWidth, 0), 0.9999);
    const span = (event) => [Math.min(from, at(event)), Math.max(from, at(event))].map((share) => Math.floor(share * buckets.length));
    chart.addEventListener("pointerdown", (event) => {
      from = at(event);
      chart.setPointerCapture(event.pointerId);
    });
    chart.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const [first, last] = span(event);
      brush.setAttribute("x", (100 * first) / buckets.length);
      brush.setAttribute("width", (100 * (last - first + 1)) / buckets.length);
    });
    chart.addEventListener("pointerup", (event) => {
      const [first, last] = span(event);
      from = null;
      const iso = (ns) => new Date(Number(BigInt(ns) / 1000000n)).toISOString();
      this.query.set("since", iso(buckets[first].start_ns));
      this.set("until", iso(buckets[last].end_ns));
    });
  }
}
