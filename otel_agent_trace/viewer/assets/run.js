// One run: the tree of its steps with time in one row, a minimap, the axis, and the step that is selected.

import {
  button, choice, countText, dollarsText, durationText, facts, fill, h, kindMark, KINDS, plural, setStyle, statusMark,
  svg, whenText,
} from "./h.js";
import { VirtualList } from "./list.js";
import { StepPane } from "./step.js";

const STEP_ROW_PIXELS = 26;
const STATUSES = ["success", "error", "running", "interrupted", "paused", "timeout"];
const ERROR = 1, TIMEOUT = 5;
const VALUES = { tokens: "tokens", cost: "cost_nano_usd" }; // columns by which bars may be as long, beside time
const BARS = ["time", ...Object.keys(VALUES)];
const AXES = ["all", "visible rows"];
const LEAST_GAP = 0.05; // of the axis: shorter stretches without work are shown as they are
const GAP_SHARE = 0.14, MOST_GAPS_SHARE = 0.4; // of the axis, which a compressed gap and all of them take
const MOST_GAPS = 8;
const CLOCK_MS = 1000;
const MAP_COLUMNS = 400, MAP_LEVELS = 8, MAP_LINE = MAP_COLUMNS + 1, MAP_CELLS = MAP_LEVELS * MAP_LINE;
const LEAST_MARK = 2; // columns of an error in the minimap
const TREE_INDENT_PIXELS = 14, MOST_INDENT = 12;

/** Show a run; the step is that of the address, the one that caused a failure, or the run itself. */
export async function runPage(root, route, app) {
  const page = new RunPage(root, route, app);
  await page.load(route.query.get("step")).catch((error) => {
    page.close();
    throw error;
  });
  return page;
}

class RunPage {
  constructor(root, route, app) {
    Object.assign(this, { root, app, query: route.query, isLeft: route.isLeft ?? (() => false) });
    Object.assign(this, { id: route.path.slice(1).join("/"), folded: new Set(), previews: new Map() });
    Object.assign(this, { bars: "time", axis: "all", findsNext: true });
    this.list = new VirtualList({
      rowHeight: STEP_ROW_PIXELS, role: "treegrid", label: "Steps", header: this.#axisRow(),
      draw: (row) => this.#row(row), onView: (first, last) => this.#viewed(first, last),
      onSelect: (row) => this.#selected(row), onOpen: (row) => this.#toggle(row),
    });
    this.pane = new StepPane(app, (number) => this.#goTo(number));
    this.head = h("header.run-head");
    this.map = h("div.minimap");
    this.window = svg("rect.window", { y: 0, height: 36 });
    this.stopLive = app.live((type, data) => {
      if (type === "runs" || (type === "run" && this.run && data.run_id !== this.run.outermost_id)) return;
      if (this.run) this.#changed();
      else this.isOutdated = true; // what is on its way may be older
    });
  }

  close() {
    this.closed = true;
    this.stopLive();
    clearTimeout(this.timer);
    clearTimeout(this.changeTimer);
    clearInterval(this.clock);
    this.list.close();
    this.pane.close();
  }

  async load(step) {
    document.title = "Run";
    this.#take(await this.app.api.run(this.id, step));
    const isUnknown = step && this.run.selected === null, words = `There is no step ${step} in this run.`;
    if (isUnknown) this.notice = h("p.notice", { role: "alert" }, words);
    this.#build();
    const item = Number(this.query.get("item") ?? NaN);
    this.query.delete("item");
    const selected = this.run.selected ?? (item < this.columns.kind.length ? item : (this.run.cause ?? 0));
    this.#unfoldTo(selected);
    this.list.setCount(this.rows.length);
    this.list.select(this.rows.indexOf(selected), { quietly: true, centred: true });
    this.#shown(selected);
    if (this.isOutdated) this.#changed();
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
    for (let number = count - 1; number >= 0; number--) {
      let next = number + 1;
      while (next < count && depth[next] > depth[number]) next += this.descendants[next] + 1;
      this.descendants[number] = next - number - 1;
    }
    this.end_us = 1;
    for (let number = 0; number < count; number++) {
      this.end_us = Math.max(this.end_us, start_us[number] + Math.max(duration_us[number], 0));
    }
    this.#reachNow();
    clearInterval(this.clock);
    if (run.is_running) this.clock = setInterval(() => this.#tick(), CLOCK_MS);
    this.#arrange();
  }

  /** Let the axis reach to this moment while the run goes on. */
  #reachNow() {
    if (!this.run.is_running) return;
    this.end_us = Math.max(this.end_us, Date.now() * 1000 - Number(BigInt(this.run.started_at_ns) / 1000n));
  }

  #tick() {
    this.#reachNow();
    this.#fillHead();
    this.#scale();
    this.list.refresh();
  }

  /** Return when a step ended, or how long it has been at work. */
  #end(number) {
    const { start_us, duration_us } = this.columns;
    return duration_us[number] < 0 ? this.end_us : start_us[number] + duration_us[number];
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
    const choose = (name) => (value) => {
      this[name] = value;
      this.#scale();
      this.list.refresh();
    };
    const nextError = button("Next error", () => this.#nextError(), {
      key: "e", disabled: !this.columns.status.some(isFailed),
    });
    this.#fillHead();
    const choices = [choice("bars", BARS, choose("bars")), choice("axis", AXES, choose("axis"))];
    const tree = h("section.tree", { "aria-label": "Steps and time" },
      h("div.tools", choices, h("span.space"), nextError), this.map, this.list.element);
    fill(this.root, this.head, this.notice, h("div.panes", tree, this.pane.element));
    this.#drawMap();
    this.#scale();
  }

  /** Return the row of the axis, which is above the bars. */
  #axisRow() {
    this.ticks = h("span.track.axis");
    return h("div.step-row.head", { role: "row", "aria-hidden": "true" }, h("span.name"), h("span.figure"), this.ticks);
  }

  #fillHead() {
    const { head, is_running: isRunning } = this.run, { app } = this;
    const { session_id: id } = head, session = id && app.about?.can_list !== false;
    const line = (word, text) => text && h("p.clamp", h("span.faint", `${word} `), text);
    document.title = `${head.agent ?? "run"} · ${head.status}`;
    fill(this.head,
      h("h1", statusMark(head.status, true), " ", h("b", head.agent ?? "(unnamed agent)"), " ", facts(
        durationText(isRunning ? this.end_us / 1e6 : head.duration_s), plural(head.steps, "step"),
        head.errors && plural(head.errors, "error"), head.tokens && `${countText(head.tokens)} tokens`,
        head.cost_text !== "-" && head.cost_text, whenText(head.started_at))),
      head.error && h("p.error-text.clamp", head.error), line("Question", head.question), line("Answer", head.answer),
      h("div.links",
        session && h("a", { href: app.href("sessions", id) }, `Session ${id}`),
        (head.scores ?? []).map((score) => h("span.score", `${score.name} ${score.value ?? score.label}`)),
        (head.tags ?? []).map((tag) => h("span.tag", tag))));
  }

  #name(number) {
    return number === 0 ? (this.run.head.agent ?? "run") : (this.run.names[this.columns.name[number]] ?? "");
  }

  #row(row) {
    const number = this.rows[row], { depth, kind, status, start_us } = this.columns;
    const inside = this.descendants[number], isFolded = this.folded.has(number), failed = isFailed(status[number]);
    const word = isFolded ? "Unfold" : "Fold";
    const fold = { type: "button", tabindex: "-1", "aria-label": word, onclick: () => this.#toggle(row) };
    const tree = h("span.name", { role: "gridcell" },
      h(inside ? "button.fold" : "span.fold", inside ? fold : {}, inside > 0 && (isFolded ? "▸" : "▾")),
      kindMark(KINDS[kind[number]]), " ", h("b", this.#name(number)), isFolded && h("small.faint", ` +${inside}`),
      status[number] !== 0 && [" ", statusMark(STATUSES[status[number]])],
      " ", h("span.faint.preview-text", this.previews.get(number) ?? ""));
    setStyle(tree, { "padding-left": `${Math.min(depth[number], MOST_INDENT) * TREE_INDENT_PIXELS}px` });
    const place = { role: "gridcell", "aria-label": `at ${durationText(start_us[number] / 1e6)}` };
    const levels = { "aria-level": depth[number] + 1, "aria-expanded": inside ? String(!isFolded) : undefined };
    const element = h(`div.step-row${failed ? ".failed-row" : ""}`, levels,
      tree, h("span.figure", { role: "gridcell" }, this.#figure(number)), h("span.track", place, this.#bar(number)));
    element.classList.toggle("found", Boolean(this.found) && this.#name(number).toLowerCase().includes(this.found));
    return element;
  }

  #figure(number) {
    if (this.bars !== "time") return this.#valueText(Math.max(this.columns[VALUES[this.bars]][number], 0) || null);
    const hasEnded = this.columns.duration_us[number] >= 0;
    if (!hasEnded && !this.run.is_running) return "…";
    return durationText((this.#end(number) - this.columns.start_us[number]) / 1e6) + (hasEnded ? "" : "…");
  }

  #valueText(value) {
    if (value === null) return "";
    return this.bars === "tokens" ? countText(value) : dollarsText(value / 1e9);
  }

  /** Return the bar of a step, on the axis of time or as long as its tokens or cost; nothing where it has none. */
  #bar(number) {
    const isTime = this.bars === "time", from = isTime ? this.#place(this.columns.start_us[number]) : 0;
    const value = isTime ? 0 : Math.max(this.columns[VALUES[this.bars]][number], 0);
    if (!isTime && value === 0) return null;
    const to = isTime ? this.#place(this.#end(number)) : value / this.most;
    const bar = at(h(`i.mark.${KINDS[this.columns.kind[number]]}`), from, Math.max(to - from, 0));
    bar.classList.toggle("open", isTime && this.columns.duration_us[number] < 0);
    return bar;
  }

  /** Determine what the axis spans, and which of its stretches without any work are compressed. */
  #scale() {
    const { start_us, [VALUES[this.bars]]: values } = this.columns;
    let from = Infinity, to = -Infinity;
    this.most = 1;
    for (const number of this.axis === "all" ? start_us.keys() : this.rows.slice(...this.list.view())) {
      from = Math.min(from, start_us[number]);
      to = Math.max(to, this.#end(number));
      if (values) this.most = Math.max(this.most, values[number]);
    }
    if (from === Infinity) from = 0;
    if (!(to > from)) to = from + 1;
    this.stretches = this.#stretches(from, to);
    this.#drawTicks(from, to);
  }

  /** Return the stretches of an axis, `[start, end, place, width]` with places from 0 to 1; idle ones are narrow. */
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
    const { start_us } = this.columns, leaves = [...start_us.keys()].filter((number) => !this.descendants[number]);
    leaves.sort((one, other) => start_us[one] - start_us[other]);
    const gaps = [];
    let reached = from;
    for (const number of [...leaves, -1]) {
      const start = number < 0 ? to : Math.min(start_us[number], to);
      if (start - reached > LEAST_GAP * (to - from)) gaps.push([reached, start]);
      if (number >= 0) reached = Math.max(reached, this.#end(number));
    }
    return gaps.length > MOST_GAPS || leaves.length < 2 ? [] : gaps;
  }

  /** Return the place of a time on the axis, from 0 to 1. */
  #place(time) {
    for (const [start, end, place, width] of this.stretches) {
      if (time <= end) return place + (end > start ? (Math.max(time - start, 0) / (end - start)) * width : 0);
    }
    return 1;
  }

  #drawTicks(from, to) {
    const isTime = this.bars === "time", idle = this.stretches.filter((stretch) => isTime && stretch[4]);
    setStyle(this.list.element, { "--bands": idle.length ? bands(idle) : "none" });
    if (!isTime) return fill(this.ticks, facts(`bars by ${this.bars}, longest ${this.#valueText(this.most)}`));
    const gaps = idle.map(([start, end, place, width]) => {
      const text = durationText((end - start) / 1e6);
      return at(h("i.gap", { title: `idle ${text}` }, h("span", "idle", h("br"), text)), place, width);
    });
    const parts = [0, 1, 2, 3, 4].map((tick) => [from + ((to - from) * tick) / 5, to, tick / 5, 1 / 5]);
    const starts = gaps.length ? this.stretches.filter((stretch) => !stretch[4]) : parts;
    const tick = ([time, , place, width]) => at(h("span", durationText(time / 1e6)), place, width);
    fill(this.ticks, gaps, starts.map(tick));
  }

  /** Draw where in the run, and in which depth, something happened: a path of each kind, whatever the number of steps. */
  #drawMap() {
    const { kinds, errors } = this.#mapCells(), { cause } = this.run;
    const paths = KINDS.map((name, kind) => [name, pathOf((cell) => mostOf(kinds, cell) === kind)]);
    paths.push(["bad", pathOf((cell) => errors[cell] > 0)]);
    const [from] = this.#columnsOf(cause ?? 0, LEAST_MARK);
    const mark = cause > 0 && svg("rect.bad.cause", { x: from, y: 0, width: LEAST_MARK, height: 36 });
    fill(this.map, svg("svg", {
      viewBox: `0 0 ${MAP_COLUMNS} 36`, preserveAspectRatio: "none", role: "img",
      "aria-label": "Overview of all steps over time", onclick: (event) => this.#goNear(shareOf(event) * this.end_us),
    }, paths.map(([name, d]) => d !== "" && svg(`path.${name}`, { d })), mark, this.window));
    this.#placeWindow();
  }

  /** Return how many steps of each kind, and how many that failed, are in each cell of the minimap. */
  #mapCells() {
    const { depth, kind, status } = this.columns, kinds = KINDS.map(() => new Int32Array(MAP_CELLS));
    const errors = new Int32Array(MAP_CELLS);
    const count = (cells, number, least) => {
      const line = (Math.min(depth[number], MAP_LEVELS) - 1) * MAP_LINE, [from, to] = this.#columnsOf(number, least);
      cells[line + from]++;
      cells[line + to]--;
    };
    for (let number = 1; number < depth.length; number++) {
      count(kinds[kind[number]], number, 1);
      if (isFailed(status[number])) count(errors, number, LEAST_MARK);
    }
    for (const cells of [...kinds, errors]) for (let at = 1; at < MAP_CELLS; at++) cells[at] += cells[at - 1];
    return { kinds, errors };
  }

  /** Return the first column of a step in the minimap, and the one after its last, of which it has `least` or more. */
  #columnsOf(number, least) {
    const column = (time) => Math.round((time / this.end_us) * MAP_COLUMNS);
    const from = Math.max(Math.min(column(this.columns.start_us[number]), MAP_COLUMNS - least), 0);
    return [from, Math.min(Math.max(column(this.#end(number)), from + least), MAP_COLUMNS)];
  }

  /** Show in the minimap from when to when the rows in view are. */
  #placeWindow() {
    const rows = this.rows.slice(...this.list.view()), { start_us } = this.columns;
    const from = start_us[rows[0] ?? 0], to = this.#end(rows.at(-1) ?? 0);
    this.window.setAttribute("x", (Math.min(from, to) / this.end_us) * MAP_COLUMNS);
    this.window.setAttribute("width", Math.max(2, (Math.abs(to - from) / this.end_us) * MAP_COLUMNS));
  }

  #goNear(time) {
    const distance = (number) => Math.abs(this.columns.start_us[number] - time);
    let best = 0;
    for (const number of this.columns.start_us.keys()) if (distance(number) < distance(best)) best = number;
    this.#goTo(best);
  }

  #viewed(first, last) {
    if (!this.rows?.length) return;
    const numbers = this.rows.slice(first, last);
    this.#placeWindow();
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
    if (this.axis !== "all") {
      this.#scale();
      this.list.refresh();
    } else if (missing.length) {
      this.list.forEachRow((row, element) => {
        fill(element.querySelector(".preview-text"), this.previews.get(this.rows[row]) ?? "");
      });
    }
  }

  #selected(row) {
    const number = this.rows[row];
    this.notice?.remove();
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
    for (const above of this.folded) {
      if (above < number && number <= above + this.descendants[above]) this.folded.delete(above);
    }
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

/** Return a background that has the idle stretches as faint bands, behind all rows at once. */
function bands(idle) {
  const stops = idle.flatMap(([, , place, width]) => {
    const [from, to] = [`${100 * place}%`, `${100 * (place + width)}%`];
    return [`transparent ${from}`, `var(--raised) ${from} ${to}`, `transparent ${to}`];
  });
  return `linear-gradient(to right, ${stops})`;
}

/** Return which of some counts is the greatest in a cell; -1 where all are 0. */
function mostOf(counts, cell) {
  let most = -1;
  for (const index of counts.keys()) if (counts[index][cell] > (counts[most]?.[cell] ?? 0)) most = index;
  return most;
}

/** Return the path of some cells of the minimap, a rectangle for each stretch; the last cell of a line is never set. */
function pathOf(isSet) {
  let path = "", from = -1;
  for (let cell = 0; cell < MAP_CELLS; cell++) {
    if (isSet(cell)) {
      if (from < 0) from = cell;
    } else if (from >= 0) {
      const x = from % MAP_LINE, y = 4 * Math.floor(from / MAP_LINE) + 1;
      path += `M${x} ${y}h${cell - from}v3H${x}z`;
      from = -1;
    }
  }
  return path;
}

function isFailed(status) {
  return status === ERROR || status === TIMEOUT;
}

/** Place an element on the axis, of which 1 is the whole. */
function at(element, place, width) {
  setStyle(element, { left: `${100 * place}%`, ...(width === undefined ? {} : { width: `${100 * width}%` }) });
  return element;
}
