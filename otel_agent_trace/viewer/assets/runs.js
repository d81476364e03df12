// The list of runs: a frozen result of filters, a histogram of time, text search, marks to compare.

import {
  button, countText, definitions, durationText, fill, h, headRow, minuteText, plural, select, setStyle, shareOf,
  statusMark, svg, whenText,
} from "./h.js";
import { VirtualList } from "./list.js";

const PAGE_ROWS = 60;
const RUN_ROW_PIXELS = 28;
const ASK_AGAIN_MS = 400;
const SHOWN_VALUES = 6;
const FACETS = ["status", "agent", "tool", "model", "error"];
const COUNTED = ["error"]; // what no filter selects
const OTHER_FILTERS = [
  ["user", "User"], ["session", "Session"], ["service", "Service"], ["tag", "Tag"],
  ["where", "Where (metadata.KEY=VALUE)"],
  ["score", "Score (helpful<0.5)"], ["tool_error", "Failed tool (* for any)"], ["since", "Since (2h, 2026-05-01)"],
  ["until", "Until"], ["min_duration", "Took at least (2s)"], ["run", "Run id"],
];
const BY = {
  time: (row) => BigInt(row.started_at_ns), duration: (row) => row.duration_s ?? -1, steps: (row) => row.steps,
  tokens: (row) => (row.input_tokens ?? 0) + (row.output_tokens ?? 0), cost: (row) => row.cost_usd ?? -1,
};
const SORTS = Object.keys(BY);
const COLUMNS = [
  ["", "Status"], ["when", "Started"], ["agent", "Agent"], ["question", "Question"], ["number", "Steps"],
  ["number", "Errors"], ["took", "Duration"], ["number", "Tokens"], ["number", "Cost"], ["tags", "Tags"],
];

/** Show the runs that the query of the address selects. */
export async function runsPage(root, route, app) {
  const page = new RunsPage(root, route.query, app);
  await page.load(route.state?.scroll).catch((error) => {
    page.close();
    throw error;
  });
  return page;
}

class RunsPage {
  constructor(root, query, app) {
    Object.assign(this, { root, query, app, rows: new Map(), marked: new Set(), pending: new Set(), loads: 0 });
    this.list = new VirtualList({
      rowHeight: RUN_ROW_PIXELS, role: "grid", label: "Runs", header: headRow("div.run-row", COLUMNS),
      draw: (index) => this.#row(index), onView: (first, last) => this.#fetch(first, last),
      onSelect: (index) => this.#preview(index), onOpen: (index) => this.#open(index),
    });
    this.chips = h("div.chips");
    this.histogram = h("div.histogram");
    this.count = h("span.count", { role: "status" });
    this.fresh = button("", () => this.#reload(), { class: "fresh", hidden: true });
    this.compare = button("Compare", () => this.#compare(), {
      disabled: true, title: "Compare the two marked runs (x marks)",
    });
    this.cancel = button("Cancel", () => this.searching?.abort(), { hidden: true });
    this.progress = h("progress", { "aria-label": "Searched", max: 1, hidden: true });
    this.preview = h("aside.preview", { "aria-label": "Preview", hidden: true });
    const order = (name) => this.set("sort", name === SORTS[0] ? null : name);
    const sort = h("label", "Order ", select("Order", SORTS, query.get("sort") ?? SORTS[0], order));
    const tools = [this.count, this.fresh, this.progress, this.cancel, h("span.space"), sort, this.compare];
    fill(root, h("h1.unseen", "Runs"), this.chips, this.#otherFilters(), this.histogram, h("div.tools", tools),
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
    this.loads++;
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
    const load = (this.loading = this.loads), top = place?.top ?? 0;
    const from = Math.floor(top / RUN_ROW_PIXELS / PAGE_ROWS) * PAGE_ROWS;
    const ask = (result) => this.app.api.runs(this.#filters({ from, count: PAGE_ROWS, result }));
    const asked = place?.result ? ask(place.result).catch(() => ask()) : ask();
    const answer = await asked.finally(() => load === this.loading && (this.loading = undefined));
    if (this.#isPast(load)) return;
    this.#take(answer);
    if (top) this.list.scrollTo(top);
    this.list.select(Math.max(place?.selected ?? 0, 0), { quietly: true });
  }

  /** Return the filters of the address, with the result that they gave and with further parameters. */
  #filters(others = {}) {
    const filters = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries({ result: this.result, ...others })) {
      if (value !== undefined) filters.set(name, value);
    }
    return filters;
  }

  #take(answer) {
    this.result = answer.result;
    answer.rows.forEach((row, offset) => this.rows.set(answer.from + offset, row));
    const count = answer.total ?? Math.max(answer.at_least, this.list.count);
    const atLeast = `${answer.at_least.toLocaleString("en")}+ runs`;
    this.count.textContent = answer.total === null ? atLeast : plural(answer.total, "run");
    this.#showNew(answer.new);
    this.longest = Math.max(this.longest ?? 0, ...answer.rows.map((row) => row.duration_s ?? 0));
    if (count !== this.list.count || !this.list.rows.size) this.list.setCount(count);
    else answer.rows.forEach((_, offset) => this.list.refreshRow(answer.from + offset));
    if (answer.total === null) this.#later(() => this.#askAgain());
  }

  #later(call) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => !this.closed && call().catch((error) => this.#failed(error)), ASK_AGAIN_MS);
  }

  async #ask(from, count) {
    const load = this.loads, asked = this.result, answer = await this.app.api.runs(this.#filters({ from, count }));
    if (!this.#isPast(load) && asked === this.result) this.#take(answer);
  }

  /** Return whether other filters, or another page, are shown since a load began. */
  #isPast(load) {
    return this.closed || load !== this.loads;
  }

  #fetch(first, last) {
    if (this.query.has("text")) return;
    for (let page = Math.floor(first / PAGE_ROWS); page * PAGE_ROWS < last; page++) {
      const from = page * PAGE_ROWS, to = Math.min(from + PAGE_ROWS, this.list.count);
      let known = from;
      while (known < to && this.rows.has(known)) known++;
      if (this.pending.has(from) || known === to) continue;
      this.pending.add(from);
      const asked = this.#ask(from, PAGE_ROWS).catch((error) => this.#failed(error));
      asked.finally(() => this.pending.delete(from));
    }
  }

  /** Show the runs that a text occurs in as they are found. */
  async #stream() {
    const search = (this.searching = new AbortController()), found = (this.found = []);
    this.searchedAt = new Date().toISOString();
    this.cancel.hidden = this.progress.hidden = false;
    this.progress.removeAttribute("value");
    this.list.setCount(0);
    const show = () => {
      if (this.searching !== search) return;
      this.rows = new Map(found.entries());
      this.list.setCount(found.length);
    };
    const take = (line) => {
      if (line.row) found.splice(this.#placeOf(line.row), 0, line.row);
      if (line.progress !== undefined) this.progress.value = line.progress;
      this.count.textContent = `${plural(found.length, "run")}${line.done ? "" : " so far"}`;
      cancelAnimationFrame(this.frame);
      this.frame = requestAnimationFrame(show);
    };
    try {
      await this.app.api.search(this.#filters(), take, search.signal);
      show();
      if (!found.length) this.count.textContent = "0 runs";
      else this.list.select(0, { quietly: true });
    } catch (error) {
      show();
      if (search.signal.aborted) this.count.textContent = `${plural(found.length, "run")}, search cancelled`;
      else this.#failed(error);
    }
    if (this.searching === search) this.cancel.hidden = this.progress.hidden = true;
  }

  /** Return where a run that a search has found stands among the others, which arrive in any order. */
  #placeOf(row) {
    const by = BY[this.query.get("sort")] ?? BY.time;
    const isBefore = (other) => by(other) > by(row) || (by(other) === by(row) && BY.time(other) >= BY.time(row));
    let from = 0;
    for (let to = this.found.length; from < to; ) {
      const middle = (from + to) >> 1;
      if (isBefore(this.found[middle])) from = middle + 1;
      else to = middle;
    }
    return from;
  }

  /** Show how many runs with the text have begun since they were searched for. */
  async #countNew() {
    const search = this.searching, known = new Set(this.found.map((row) => row.run_id));
    const fresh = new Set(), filters = this.#filters();
    filters.set("since", this.searchedAt);
    const take = ({ row }) => row && !known.has(row.run_id) && fresh.add(row.run_id);
    await this.app.api.search(filters, take, search.signal);
    if (!this.closed && this.searching === search) this.#showNew(fresh.size);
  }

  #failed(error) {
    if (this.closed || error.name === "AbortError") return;
    this.count.textContent = error.message;
    this.app.announce(error.message);
  }

  #announced(type, data) {
    if (this.query.has("text")) return this.#later(() => this.#countNew());
    if (type === "reset") this.rows.clear();
    const isShown = type !== "run" || [...this.rows.values()].some((row) => row.run_id === data.run_id);
    this.isStale ||= isShown;
    this.#later(() => this.#update());
  }

  /** Show what has changed, after a list that is on its way: to load it anew would lose where the user is by then. */
  async #update() {
    if (this.loading !== undefined) this.#later(() => this.#update());
    else await (this.list.count ? this.#askAgain() : this.#reload());
  }

  /** Ask for what is known of the result by now, and for the pages in view if a row of them may have changed. */
  #askAgain() {
    const [first, last] = this.isStale ? this.list.view() : [0, 0], from = Math.floor(first / PAGE_ROWS) * PAGE_ROWS;
    this.isStale = false;
    return this.#ask(from, Math.ceil((last - from) / PAGE_ROWS) * PAGE_ROWS);
  }

  #showNew(count) {
    this.fresh.hidden = !count;
    if (count && this.fresh.textContent !== `${count} new`) this.app.announce(`${count} new`);
    this.fresh.textContent = `${count} new`;
  }

  #row(index) {
    const row = this.rows.get(index);
    if (!row?.run_id) return h("div.run-row", h("span.faint", { role: "gridcell" }, row ? "removed" : "…"));
    const cell = (name, ...children) => h(`span${name}`, { role: "gridcell" }, children);
    const side = "AB"[[...this.marked].indexOf(row.run_id)], isFailed = row.error || row.status === "error";
    const bar = h("i.bar-of-time");
    setStyle(bar, { width: `${(100 * (row.duration_s ?? 0)) / (this.longest || 1)}%` });
    const link = h("a", { href: this.app.href("runs", row.run_id), tabindex: "-1" }, row.user_input || row.run_id);
    return h(`div.run-row${isFailed ? ".failed-row" : ""}${side ? ".marked" : ""}`, { "data-run": row.run_id },
      cell("", statusMark(row.status)),
      h("span.when", { role: "gridcell", title: row.started_at }, whenText(row.started_at)),
      cell(".agent.cut", side && h("b.side", { role: "img", "aria-label": `marked as ${side}` }, side),
        row.agent_name ?? "(unnamed agent)"),
      cell(".question.cut", link, row.error && h("span.error-text", `  ${row.error}`)),
      cell(".number", String(row.steps ?? "-")),
      cell(".number.error-text", row.errors > 0 && String(row.errors)),
      cell(".took", bar, h("span", durationText(row.duration_s))),
      cell(".number", row.tokens_text ?? "-"),
      cell(".number", row.cost_text ?? "-"),
      cell(".tags.cut", (row.tags ?? []).join(" ")));
  }

  #open(index) {
    const row = this.rows.get(index);
    if (row?.run_id) this.app.go(this.app.href("runs", row.run_id));
  }

  #preview(index, toggle = false) {
    const row = this.rows.get(index);
    if (toggle) this.preview.hidden = !this.preview.hidden;
    if (!row || this.preview.hidden) return;
    const tools = Object.entries(row.tools ?? {}).map(([name, calls]) => (calls > 1 ? `${name} ×${calls}` : name));
    fill(this.preview, definitions("dl", [
      ["Question", row.user_input], ["Error", row.error], ["Tools", tools.join(", ")], ["Session", row.session_id],
      ["User", row.user_id], ["Model", row.model], ["Run", row.run_id],
    ]));
  }

  #mark(index) {
    const row = this.rows.get(index);
    if (!row?.run_id) return;
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
    this.app.go(this.app.href(`compare?${new URLSearchParams({ a, b })}`));
  }

  async #facets() {
    const load = this.loads, filters = this.#filters();
    filters.delete("result");
    const facets = await this.app.api.facets(filters).catch(() => null);
    if (this.#isPast(load) || !facets) return;
    const known = FACETS.filter((name) => Object.keys(facets[name] ?? {}).length);
    fill(this.chips, this.#given(), known.map((name) => this.#facet(name, facets[name])));
    this.#drawHistogram(facets.histogram ?? []);
  }

  /** Return a chip for each filter that is set and has no chip of its own among the facets. */
  #given() {
    const others = [...this.query].filter(([name]) => !FACETS.includes(name) && !["sort", "text"].includes(name));
    return others.map(([name, value]) => {
      const remove = () => this.set(name, ...this.query.getAll(name).filter((other) => other !== value));
      return button(`${name}=${value} ✕`, remove, { class: "chip", "aria-label": `Remove filter ${name}=${value}` });
    });
  }

  /** Return the values of a facet as chips that select their runs, as far as a filter does, and their counts. */
  #facet(name, counts) {
    const given = this.query.get(name), isFilter = !COUNTED.includes(name);
    const all = Object.entries(counts).sort((one, other) => other[1] - one[1]), rest = all.slice(SHOWN_VALUES);
    const chip = ([value, count]) => {
      const words = [value || "(none)", " ", h("small", countText(count))], isGiven = given === value;
      if (!isFilter) return h("span.counted", words);
      const pressed = { class: "chip", "aria-pressed": String(isGiven) };
      return button(words, () => this.set(name, isGiven ? null : value), pressed);
    };
    const further = [["", `${rest.length} more`], ...rest.map(([value, count]) => [value, `${value} (${count})`])];
    return h("div.facet", { role: "group", "aria-label": name },
      h("span.faint", name), all.slice(0, SHOWN_VALUES).map(chip),
      isFilter && rest.length > 0 && select(`More of ${name}`, further, given, (value) => this.set(name, value)));
  }

  #otherFilters() {
    const inputs = OTHER_FILTERS.map(([name, word]) => h("label", word, h("input", {
      name, value: this.query.get(name) ?? "", autocomplete: "off",
      onchange: (event) => this.set(name, event.target.value.trim()),
    })));
    return h("details.other-filters", h("summary", "More filters"), h("div", inputs));
  }

  /** Draw runs above the axis and errors below it; a stretch that is drawn over with the mouse is the window shown. */
  #drawHistogram(buckets) {
    if (buckets.length < 2) return fill(this.histogram);
    const most = Math.max(...buckets.map((bucket) => bucket.runs), 1), width = 100 / buckets.length;
    const bars = buckets.map(({ start_ns: start, runs, errors }, index) => {
      const ok = (24 * (runs - errors)) / most, bar = { x: (index + 0.1) * width, width: width * 0.8 };
      const when = minuteText(new Date(Number(start) / 1e6));
      return svg("g", svg("title", `${when}: ${plural(runs, "run")}, ${plural(errors, "error")}`),
        svg("rect.hit", { x: index * width, y: 0, width, height: 38 }),
        svg("rect.ok", { ...bar, y: 25 - ok, height: ok }),
        errors > 0 && svg("rect.bad", { ...bar, y: 26, height: (12 * errors) / most }));
    });
    const brush = svg("rect.brush", { y: 0, height: 38, width: 0 });
    fill(this.histogram, svg("svg", {
      viewBox: "0 0 100 38", preserveAspectRatio: "none", role: "img",
      "aria-label": "Runs over time, errors below the axis", ...this.#brushing(brush, buckets),
    }, svg("line", { x1: 0, x2: 100, y1: 25.5, y2: 25.5 }), bars, brush));
  }

  /** Return the listeners that draw a brush over buckets, and show what it covers. */
  #brushing(brush, buckets) {
    let from = null;
    const count = buckets.length, at = (event) => Math.min(Math.floor(shareOf(event) * count), count - 1);
    const iso = (ns) => new Date(Number(BigInt(ns) / 1000000n)).toISOString();
    return {
      onpointerdown: (event) => {
        from = at(event);
        event.currentTarget.setPointerCapture(event.pointerId);
      },
      onpointermove: (event) => {
        if (from === null) return;
        brush.setAttribute("x", (100 * Math.min(from, at(event))) / count);
        brush.setAttribute("width", (100 * (Math.abs(at(event) - from) + 1)) / count);
      },
      onpointerup: (event) => {
        const to = at(event);
        this.query.set("since", iso(buckets[Math.min(from, to)].start_ns));
        this.set("until", iso(buckets[Math.max(from, to)].end_ns));
        from = null;
      },
    };
  }
}
