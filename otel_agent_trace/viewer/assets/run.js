// One run: the tree of its steps with time in one row, a minimap, the axis, and the step that is selected.

import { button, countText, dollarsText, durationText, fill, h, kindMark, KINDS, plural, setStyle, statusMark, svg, whenText } from "./h.js";
import { VirtualList } from "./list.js";
import { StepPane } from "./step.js";

const STEP_ROW_PIXELS = 26;
const STATUSES = ["success", "error", "running", "interrupted", "paused", "timeout"];
const ERROR = 1, TIMEOUT = 5;
const BARS = ["time", "tokens", "cost"];
const AXES = ["all", "visible rows"];
const TICKS = 5;
const LEAST_GAP = 0.05; // of the axis: shorter stretches without work are shown as they are
const GAP_SHARE = 0.14, MOST_GAPS_SHARE = 0.4; // of the axis, which a compressed gap and all of them take
const LABEL_SHARE = 0.12; // of the axis: in less there is no room for a label
const CLOCK_MS = 1000;
const MAP_COLUMNS = 400;
const TREE_INDENT_PIXELS = 14, MOST_INDENT = 12;

/** Show a run; the step is that of the address, the one that caused a failure, or the run itself. */
export async function runPage(root, route, app) {
  const page = new RunPage(root, route, app);
  await page.load(route.query.get("step"));
  return page;
}

class RunPage {
  constructor(root, route, app) {
    Object.assign(this, { root, app, query: route.query, isLeft: route.isLeft ?? (() => false), id: route.path.slice(1).join("/"), folded: new Set(), previews: new Map(), bars: "time", axis: "all", findsNext: true });
    this.list = new VirtualList({
      rowHeight: STEP_ROW_PIXELS, role: "treegrid", label: "Steps", draw: (row) => this.#row(row), onView: (first, last) => this.#viewed(first, last),
      onSelect: (row) => this.#selected(row), onOpen: (row) => this.#toggle(row),
    });
    this.pane = new StepPane(app, (number) => this.#goTo(number));
    this.head = h("header", { class: "run-head" });
    this.map = h("div", { class: "minimap" });
    this.ticks = h("div", { class: "axis", "aria-hidden": "true" });
    this.stopLive = app.live((type, data) => (type === "poll" || data.run_id === this.id) && this.#changed());
  }

  close() {
    this.closed = true;
    this.stopLive();
    clearTimeout(this.timer);
    clearInterval(this.clock);
    this.list.close();
    this.pane.close();
  }

  async load(step) {
    document.title = "Run";
    this.#take(await this.app.api.run(this.id, step));
    this.#build();
    const item = Number(this.query.get("item") ?? NaN);
    this.query.delete("item");
    const selected = this.run.selected ?? (item < this.columns.kind.length ? item : (this.run.cause ?? 0));
    this.#unfoldTo(selected);
    this.list.setCount(this.rows.length);
    this.list.select(this.rows.indexOf(selected), { quietly: true, centred: true });
    this.#shown(selected);
    if (!document.activeElement.closest("input")) this.list.element.focus({ preventScroll: true });
  }

  key(event) {
    if (event.key === "e") this.#nextError();
    else if (event.key === "ArrowLeft") this.#fold(true);
    else if (event.key === "ArrowRight") this.#fold(false);
    else return this.list.key(event);
    return true;
  }

  /** Select the step in which a text occurs, from the selected one on, or with `isNext` from the one behind it. */
  async search(text, isNext = false) {
    this.found = text.toLowerCase();
    if (!text) return this.list.refresh();
    const from = ((this.rows[this.list.selected] ?? 0) + (isNext ? 1 : 0)) % this.columns.kind.length;
    const { number } = await this.app.api.find(this.id, text, from).catch(() => ({ number: null }));
    if (this.closed || this.found !== text.toLowerCase()) return;
    if (number !== null) this.#goTo(number);
    else this.app.announce(`${text} occurs in no step`);
  }

  #take(run) {
    this.run = run;
    this.columns = run.columns;
    const { depth, start_us, duration_us } = this.columns, count = depth.length;
    this.descendants = new Int32Array(count);
    const above = [];
    for (let number = 0; number < count; number++) {
      while (above.length && depth[above.at(-1)] >= depth[number]) this.#close(above, number);
      above.push(number);
    }
    while (above.length) this.#close(above, count);
    this.end_us = 1;
    for (let number = 0; number < count; number++) this.end_us = Math.max(this.end_us, start_us[number] + Math.max(duration_us[number], 0));
    this.#reachNow();
    clearInterval(this.clock);
    if (run.is_running) this.clock = setInterval(() => this.#tick(), CLOCK_MS);
    this.#arrange();
  }

  /** Let the axis reach to this moment while the run goes on. */
  #reachNow() {
    if (this.run.is_running) this.end_us = Math.max(this.end_us, Date.now() * 1000 - Number(BigInt(this.run.started_at_ns) / 1000n));
  }

  #tick() {
    this.#reachNow();
    this.#fillHead();
    this.#scale();
    this.list.refresh();
  }

  #close(above, end) {
    const number = above.pop();
    this.descendants[number] = end - number - 1;
  }

  /** Determine the rows: the steps that are not below a folded one. */
  #arrange() {
    this.rows = [];
    for (let number = 0; number < this.columns.depth.length; number++) {
      this.rows.push(number);
      if (this.folded.has(number)) number += this.descendants[number];
    }
  }

  #build() {
    const choice = (name, values, set) => h("span", { class: "choice", role: "group", "aria-label": name }, h("span", { class: "faint" }, name),
      values.map((value) => button(value, (event) => set(value, event.target), { "aria-pressed": String(this[name] === value) })));
    const choose = (name) => (value, pressed) => {
      this[name] = value;
      for (const other of pressed.parentElement.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === pressed));
      this.#scale();
      this.list.refresh();
    };
    this.#fillHead();
    const tree = h("section", { class: "tree", "aria-label": "Steps and time" },
      h("div", { class: "tools" }, choice("bars", BARS, choose("bars")), choice("axis", AXES, choose("axis")), h("span", { class: "space" }),
        button("Next error", () => this.#nextError(), { key: "e", disabled: !this.columns.status.some(isFailed) })),
      this.map, this.ticks, this.list.element);
    fill(this.root, this.head, h("div", { class: "panes" }, tree, this.pane.element));
    this.#drawMap();
    this.#scale();
  }

  #fillHead() {
    const head = this.run.head, { app } = this;
    const facts = [durationText(this.run.is_running ? this.end_us / 1e6 : head.duration_s), plural(head.steps, "step"), head.errors && plural(head.errors, "error"), head.tokens && `${countText(head.tokens)} tokens`, head.cost_text !== "-" && head.cost_text, whenText(head.started_at)];
    document.title = `${head.agent ?? "run"} · ${head.status}`;
    fill(this.head,
      h("h1", {}, statusMark(head.status, true), " ", h("b", {}, head.agent ?? "(unnamed agent)"), " ", h("span", { class: "faint" }, facts.filter(Boolean).join(" · "))),
      head.error && h("p", { class: "error-text clamp" }, head.error),
      head.question && h("p", { class: "clamp" }, h("span", { class: "faint" }, "Question "), head.question),
      head.answer && h("p", { class: "clamp" }, h("span", { class: "faint" }, "Answer "), head.answer),
      h("div", { class: "links" },
        head.session_id && app.about?.can_list !== false && h("a", { href: app.href(`sessions/${encodeURIComponent(head.session_id)}`) }, `Session ${head.session_id}`),
        (head.scores ?? []).map((score) => h("span", { class: "score" }, `${score.name} ${score.value ?? score.label}`)),
        (head.tags ?? []).map((tag) => h("span", { class: "tag" }, tag))));
  }

  #name(number) {
    return number === 0 ? (this.run.head.agent ?? "run") : (this.run.names[this.columns.name[number]] ?? "");
  }

  #row(row) {
    const number = this.rows[row], { depth, kind, status, tokens } = this.columns;
    const inside = this.descendants[number], isFolded = this.folded.has(number);
    const fold = inside > 0 && h("button", { type: "button", class: "fold", tabindex: "-1", "aria-label": isFolded ? "Unfold" : "Fold", onclick: () => this.#toggle(row) }, isFolded ? "▸" : "▾");
    const tree = h("span", { class: "name", role: "gridcell" }, fold || h("span", { class: "fold" }), kindMark(KINDS[kind[number]]), " ",
      h("b", {}, this.#name(number)), isFolded && h("small", { class: "faint" }, ` +${inside}`), status[number] !== 0 && [" ", statusMark(STATUSES[status[number]])],
      " ", h("span", { class: "faint preview-text" }, this.previews.get(number) ?? ""));
    setStyle(tree, { "padding-left": `${Math.min(depth[number], MOST_INDENT) * TREE_INDENT_PIXELS}px` });
    const element = h("div", { class: `step-row${isFailed(status[number]) ? " failed-row" : ""}`, "aria-level": depth[number] + 1, "aria-expanded": inside ? String(!isFolded) : undefined },
      tree, h("span", { class: "figure", role: "gridcell" }, this.bars === "tokens" ? (tokens[number] ? countText(tokens[number]) : "") : this.bars === "cost" ? this.#costText(number) : this.#durationText(number)),
      h("span", { class: "track", role: "gridcell", "aria-label": `at ${durationText(this.columns.start_us[number] / 1e6)}` }, this.#bar(number)));
    if (this.found && this.#name(number).toLowerCase().includes(this.found)) element.classList.add("found");
    return element;
  }

  #durationText(number) {
    const taken = this.columns.duration_us[number];
    if (taken >= 0) return durationText(taken / 1e6);
    return this.run.is_running ? `${durationText((this.end_us - this.columns.start_us[number]) / 1e6)}…` : "…";
  }

  #costText(number) {
    const cost = this.columns.cost_nano_usd[number];
    return cost > 0 ? dollarsText(cost / 1e9) : "";
  }

  /** Return the bar of a step, on the axis of time or as long as its tokens or cost. */
  #bar(number) {
    const bar = h("i", { class: `mark ${KINDS[this.columns.kind[number]]}` });
    let from = 0, to;
    if (this.bars === "time") {
      const start = this.columns.start_us[number], taken = this.columns.duration_us[number];
      from = this.#place(start);
      to = this.#place(taken < 0 ? this.end_us : start + taken);
      if (taken < 0) bar.classList.add("open");
    } else {
      to = Math.max(this.columns[this.bars === "tokens" ? "tokens" : "cost_nano_usd"][number], 0) / this.most;
    }
    setStyle(bar, { left: `${100 * from}%`, width: `${100 * Math.max(to - from, 0)}%` });
    return bar;
  }

  /** Determine what the axis spans, and which of its stretches without any work are compressed. */
  #scale() {
    const numbers = this.axis === "all" ? undefined : this.rows.slice(...this.list.view());
    const { start_us, duration_us } = this.columns, column = this.columns[this.bars === "tokens" ? "tokens" : "cost_nano_usd"];
    const each = (call) => (numbers ? numbers.forEach(call) : start_us.forEach((_, number) => call(number)));
    let from = Infinity, to = -Infinity;
    this.most = 1;
    each((number) => {
      from = Math.min(from, start_us[number]);
      to = Math.max(to, duration_us[number] < 0 ? this.end_us : start_us[number] + duration_us[number]);
      if (this.bars !== "time") this.most = Math.max(this.most, column[number]);
    });
    if (!(to > from)) [from, to] = [from === Infinity ? 0 : from, (from === Infinity ? 0 : from) + 1];
    this.stretches = this.#stretches(from, to);
    this.#drawTicks(from, to);
  }

  /** Return the stretches of an axis, `[start, end, place, width]` with places from 0 to 1: those without work are narrow. */
  #stretches(from, to) {
    const gaps = this.#idle(from, to), busy = to - from - gaps.reduce((sum, [start, end]) => sum + end - start, 0);
    const share = Math.min(GAP_SHARE, MOST_GAPS_SHARE / gaps.length), room = 1 - gaps.length * share, stretches = [];
    let at = from, place = 0;
    for (const [start, end] of [...gaps, [to, to]]) {
      const width = busy > 0 ? ((start - at) / busy) * room : 0;
      stretches.push([at, start, place, width, false]);
      if (end > start) stretches.push([start, end, place + width, share, true]);
      [at, place] = [end, place + width + (end > start ? share : 0)];
    }
    return stretches;
  }

  /** Return the stretches in which no step without steps below it was at work, if they are long. */
  #idle(from, to) {
    const { start_us, duration_us } = this.columns, leaves = [];
    for (let number = 0; number < start_us.length; number++) {
      if (!this.descendants[number]) leaves.push(number);
    }
    leaves.sort((one, other) => start_us[one] - start_us[other]);
    const gaps = [];
    let reached = from;
    for (const number of [...leaves, -1]) {
      const start = number < 0 ? to : start_us[number];
      if (Math.min(start, to) - reached > LEAST_GAP * (to - from)) gaps.push([reached, Math.min(start, to)]);
      if (number >= 0) reached = Math.max(reached, start + (duration_us[number] < 0 ? Infinity : duration_us[number]));
    }
    return gaps.length > 8 || leaves.length < 2 ? [] : gaps;
  }

  /** Return the place of a time on the axis, from 0 to 1. */
  #place(time) {
    for (const [start, end, place, width] of this.stretches) {
      if (time <= end) return place + (end > start ? (Math.max(time - start, 0) / (end - start)) * width : 0);
    }
    return 1;
  }

  #drawTicks(from, to) {
    if (this.bars !== "time") return fill(this.ticks, h("span", { class: "faint" }, `bars by ${this.bars}, longest ${this.bars === "tokens" ? countText(this.most) : dollarsText(this.most / 1e9)}`));
    const gaps = this.stretches.filter((stretch) => stretch[4]).map(([start, end, place, width]) => {
      const text = durationText((end - start) / 1e6);
      return at(h("i", { class: "gap", title: `idle ${text}` }, width >= LABEL_SHARE && text), place, width);
    });
    const starts = gaps.length ? this.stretches.filter((stretch) => !stretch[4]).map(([start, , place, width]) => [start, place, width]) : [...Array(TICKS).keys()].map((tick) => [from + ((to - from) * tick) / TICKS, tick / TICKS, 1 / TICKS]);
    const ticks = starts.filter(([, , width]) => width >= LABEL_SHARE);
    fill(this.ticks, gaps, ticks.map(([time, place]) => at(h("span", {}, durationText(time / 1e6)), place)));
  }

  /** Draw where in the run, and in which depth, something happened: a picture of all steps, whatever their number. */
  #drawMap() {
    const { start_us, duration_us, depth, status, kind } = this.columns, cells = new Map();
    for (let number = 1; number < start_us.length; number++) {
      const from = Math.floor((start_us[number] / this.end_us) * (MAP_COLUMNS - 1)), level = Math.min(depth[number], 8);
      const taken = duration_us[number] < 0 ? this.end_us - start_us[number] : duration_us[number];
      const width = Math.max(1, Math.round((taken / this.end_us) * MAP_COLUMNS)), key = from * 16 + level, old = cells.get(key);
      if (!old || width > old.width || isFailed(status[number])) cells.set(key, { from, level, width: Math.max(width, old?.width ?? 0), kind: KINDS[kind[number]], failed: old?.failed || isFailed(status[number]) });
    }
    const widest = [...cells.values()].sort((one, other) => other.width - one.width).slice(0, 40);
    const window = svg("rect", { class: "window", y: 0, height: 36 });
    const picture = svg("svg", { viewBox: `0 0 ${MAP_COLUMNS} 36`, preserveAspectRatio: "none", role: "img", "aria-label": "Overview of all steps over time" },
      widest.map(({ from, level, width, kind: of, failed }) => svg("rect", { class: failed ? "bad" : of, x: from, y: 4 * (level - 1) + 1, width: Math.min(width, MAP_COLUMNS - from), height: 3 })), window);
    picture.addEventListener("click", (event) => this.#goNear(((event.clientX - picture.getBoundingClientRect().left) / picture.clientWidth) * this.end_us));
    this.window = window;
    fill(this.map, picture);
  }

  #goNear(time) {
    let best = 0;
    const { start_us } = this.columns;
    for (let number = 0; number < start_us.length; number++) if (Math.abs(start_us[number] - time) < Math.abs(start_us[best] - time)) best = number;
    this.#goTo(best);
  }

  #viewed(first, last) {
    if (!this.rows?.length) return;
    const numbers = this.rows.slice(first, last), { start_us } = this.columns;
    const from = start_us[numbers[0] ?? 0] ?? 0, to = start_us[numbers.at(-1) ?? 0] ?? 0;
    this.window?.setAttribute("x", (Math.min(from, to) / this.end_us) * MAP_COLUMNS);
    this.window?.setAttribute("width", Math.max(2, (Math.abs(to - from) / this.end_us) * MAP_COLUMNS));
    clearTimeout(this.viewTimer);
    this.viewTimer = setTimeout(() => this.#load(numbers), 30);
  }

  /** Ask for the previews of rows in view, and fit the axis to them. */
  async #load(numbers) {
    const missing = numbers.filter((number) => !this.previews.has(number));
    if (missing.length) {
      const answer = await this.app.api.rows(this.id, missing[0], missing.at(-1) + 1).catch(() => []);
      for (const { number, preview } of answer) this.previews.set(number, preview);
    }
    if (this.closed) return;
    if (this.axis !== "all") this.#scale();
    if (this.axis !== "all") this.list.refresh();
    else if (missing.length) this.list.forEachRow((row, element) => fill(element.querySelector(".preview-text"), this.previews.get(this.rows[row]) ?? ""));
  }

  #selected(row) {
    const number = this.rows[row];
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#shown(number), 60);
  }

  async #shown(number) {
    if (this.closed) return;
    const step = await this.pane.show(this.id, number, this.run);
    if (this.closed || this.isLeft() || !step) return; // the address is that of another page by now
    number && step.span_id ? this.query.set("step", step.span_id) : this.query.delete("step");
    this.app.setQuery(this.query);
    this.app.announce(`${step.kind} ${step.name}, ${step.status}`);
  }

  #goTo(number) {
    this.#unfoldTo(number);
    this.list.setCount(this.rows.length);
    this.list.select(this.rows.indexOf(number), { centred: true });
  }

  /** Unfold whatever a step is below of. */
  #unfoldTo(number) {
    for (const above of [...this.folded]) if (above < number && number <= above + this.descendants[above]) this.folded.delete(above);
    this.#arrange();
  }

  #nextError() {
    const { status } = this.columns, count = status.length, from = this.rows[this.list.selected] ?? 0;
    for (let offset = 1; offset <= count; offset++) {
      const number = (from + offset) % count;
      if (number && isFailed(status[number])) return this.#goTo(number);
    }
    this.app.announce("No step failed");
  }

  #toggle(row) {
    const number = this.rows[row];
    if (!this.descendants[number]) return;
    if (!this.folded.delete(number)) this.folded.add(number);
    this.#arrange();
    this.list.setCount(this.rows.length);
  }

  #fold(isFolding) {
    const row = this.list.selected, number = this.rows[row], { depth } = this.columns;
    if (this.descendants[number] && this.folded.has(number) !== isFolding) return this.#toggle(row);
    if (!isFolding) return this.list.select(row + 1);
    for (let above = number - 1; above >= 0; above--) if (depth[above] < depth[number]) return this.#goTo(above);
  }

  /** Read the run anew after it changed, and keep the selected step. */
  #changed() {
    clearTimeout(this.changeTimer);
    this.changeTimer = setTimeout(async () => {
      const number = this.rows[this.list.selected], step = this.query.get("step") ?? undefined;
      const run = await this.app.api.run(this.id, step).catch(() => null);
      if (!run || this.closed || run.revision === this.run.revision) return;
      this.#take(run);
      this.previews.clear();
      this.#fillHead();
      this.#drawMap();
      this.#scale();
      this.list.setCount(this.rows.length);
      const kept = run.selected ?? number;
      this.list.select(Math.max(this.rows.indexOf(kept), 0), { quietly: true });
      this.pane.show(this.id, kept, run);
    }, 150);
  }
}

function isFailed(status) {
  return status === ERROR || status === TIMEOUT;
}

function at(element, place, width) {
  setStyle(element, { left: `${100 * place}%` });
  if (width !== undefined) setStyle(element, { width: `${100 * width}%` });
  return element;
}
