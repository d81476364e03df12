// Two runs beside each other, aligned: the first difference in view, equal stretches folded.

import { button, facts, fill, h, keyOf, kindMark, KINDS, plural, statusMark } from "./h.js";

const MOST_TITLES = 200; // of equal steps

/** Show two runs, `a` and `b` of the query, with their differences. */
export async function comparePage(root, route, app) {
  const { a, b } = Object.fromEntries(route.query);
  if (!a || !b) throw new Error("Name two runs: /compare?a=RUN_ID&b=RUN_ID, or mark two in the list with x.");
  const page = new ComparePage(root, app, [a, b], await app.api.compare(a, b));
  page.showDifference(Math.max(page.firstDifference, 0));
  return page;
}

class ComparePage {
  constructor(root, app, ids, data) {
    Object.assign(this, { app, ids, differing: [], current: -1, firstDifference: 0 });
    document.title = "Compare";
    const href = (id) => app.href("runs", id);
    const head = (run, id) => h("div",
      h("h1", statusMark(run.status, true), " ", h("a", { href: href(id) }, run.agent ?? id), " ",
        facts(run.duration_text, plural(run.steps, "step"))),
      h("p.clamp", run.question ?? ""), run.error && h("p.clamp.error-text", run.error));
    const deltas = (data.deltas ?? []).map(({ label, a, b, delta_text: delta }) =>
      h("tr", h("th", { scope: "row" }, label), [a, b, delta].map((text) => h("td", text))));
    const rows = data.rows.map((row, index) => this.#row(row, index === data.first)), none = !this.differing.length;
    this.position = h("span", { role: "status" }, none && "The runs do not differ");
    const step = (word, key, by) =>
      button(`${word} difference`, () => this.showDifference(this.current + by), { key, disabled: none });
    fill(root, h("header.run-head.pair", head(data.a, ids[0]), head(data.b, ids[1])),
      h("div.tools", h("table.deltas", h("tbody", deltas)), h("span.space"), this.position,
        step("Previous", "p", -1), step("Next", "n", 1)),
      h("div.rows", { tabindex: "0", role: "region", "aria-label": "Steps of both runs" }, rows));
    const next = () => this.showDifference(this.current + 1), previous = () => this.showDifference(this.current - 1);
    this.keys = {
      n: next, j: next, ArrowDown: next, p: previous, k: previous, ArrowUp: previous,
      Home: () => this.showDifference(0), End: () => this.showDifference(this.differing.length - 1),
    };
  }

  key(event) {
    return keyOf(this.keys, event);
  }

  /** Bring a difference into view. */
  showDifference(index) {
    const row = this.differing[index];
    if (!row) return;
    this.differing[this.current]?.removeAttribute("aria-current");
    this.current = index;
    row.setAttribute("aria-current", "true");
    row.scrollIntoView({ block: "center" });
    this.position.textContent = `Difference ${index + 1} of ${this.differing.length}`;
  }

  #row(row, isFirst) {
    if (row.equal_steps) return this.#equal(row);
    const step = (side, number, title) => h("div.cell", title && this.#link(side, number, title));
    const name = `div.pair-row.${row.mark}.level-${Math.min(row.depth ?? 0, 6)}${isFirst ? ".first-difference" : ""}`;
    const element = h(name, isFirst && h("p.first", "First difference"),
      h("div.cells", step(0, row.a, row.title_a), step(1, row.b, row.title_b)),
      (row.differences ?? []).map(differenceView));
    if (isFirst) this.firstDifference = this.differing.length;
    if (row.mark !== "equal") this.differing.push(element);
    return element;
  }

  #link(side, number, title) {
    return h("a", { href: `${this.app.href("runs", this.ids[side])}?item=${number ?? 0}` }, title);
  }

  #equal(row) {
    const inside = h("div");
    const unfold = () => inside.childElementCount || this.#unfold(inside, row);
    return h("details.equal-steps", { ontoggle: unfold }, h("summary", plural(row.equal_steps, "equal step")), inside);
  }

  async #unfold(inside, { a: first, equal_steps: count }) {
    const { names, columns } = await (this.outline ??= this.app.api.run(this.ids[0]));
    const shown = Math.min(count, MOST_TITLES), title = (number) =>
      h("p", kindMark(KINDS[columns.kind[number]]), " ", this.#link(0, number, names[columns.name[number]]));
    fill(inside, Array.from({ length: shown }, (_, offset) => title(first + offset)),
      count > shown && h("p.faint", `and ${count - shown} more`));
  }
}

function differenceView(difference) {
  const lines = difference.lines.map((line, index, all) => lineView(line, all[index - 1], all[index + 1]));
  return h("div.difference", h("p.faint", difference.label), h("pre", lines));
}

/** Return a line of a difference; of one that another one replaces, the words that differ are marked. */
function lineView([sign, text], before, after) {
  const pair = { "-": after?.[0] === "+" && after, "+": before?.[0] === "-" && before }[sign];
  const [name, word] = { "-": ["less", "removed "], "+": ["more", "added "] }[sign] ?? ["same", ""];
  return h(`div.${name}`, h("span", { "aria-hidden": "true" }, `${sign} `), h("span.unseen", word),
    pair ? markedWords(text, pair[1]) : text);
}

/** Return a text with the words marked that lie between what it shares with another one at both ends. */
function markedWords(text, other) {
  const words = text.split(/(\s+)/), others = other.split(/(\s+)/);
  let first = 0, last = 0;
  while (first < words.length && words[first] === others[first]) first++;
  while (last < Math.min(words.length, others.length) - first && words.at(-1 - last) === others.at(-1 - last)) last++;
  const end = words.length - last, part = (...range) => words.slice(...range).join("");
  return [part(0, first), end > first && h("mark", part(first, end)), part(end)];
}
