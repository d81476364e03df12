// Two runs beside each other, aligned: the first difference in view, equal stretches folded.

import { button, fill, h, kindMark, KINDS, plural, statusMark } from "./h.js";

const MOST_TITLES = 200; // of equal steps

/** Show two runs, `a` and `b` of the query, with their differences. */
export async function comparePage(root, route, app) {
  const { a, b } = Object.fromEntries(route.query);
  if (!a || !b) throw new Error("Name two runs: /compare?a=RUN_ID&b=RUN_ID, or mark two in the list with x and choose Compare.");
  const page = new ComparePage(root, app, [a, b], await app.api.compare(a, b));
  page.showDifference(Math.max(page.firstDifference, 0));
  return page;
}

class ComparePage {
  constructor(root, app, ids, data) {
    Object.assign(this, { app, ids, differing: [], current: -1, firstDifference: 0 });
    document.title = "Compare";
    const head = (run, id) => h("div", {}, h("h1", {}, statusMark(run.status, true), " ", h("a", { href: app.href(`runs/${encodeURIComponent(id)}`) }, run.agent ?? id), " ", h("span", { class: "faint" }, [run.duration_text, plural(run.steps, "step")].join(" · "))), h("p", { class: "clamp" }, run.question ?? ""), run.error && h("p", { class: "clamp error-text" }, run.error));
    const deltas = h("table", { class: "deltas" }, h("tbody", {}, (data.deltas ?? []).map((delta) => h("tr", {}, h("th", { scope: "row" }, delta.label), h("td", {}, delta.a), h("td", {}, delta.b), h("td", {}, delta.delta_text)))));
    this.body = h("div", { class: "rows", tabindex: "0", role: "region", "aria-label": "Steps of both runs" }, data.rows.map((row, index) => this.#row(row, index === data.first)));
    this.position = h("span", { role: "status" });
    const none = !this.differing.length;
    fill(root, h("header", { class: "run-head pair" }, head(data.a, ids[0]), head(data.b, ids[1])), h("div", { class: "tools" }, deltas, h("span", { class: "space" }), this.position,
      button("Previous difference", () => this.showDifference(this.current - 1), { key: "p", disabled: none }), button("Next difference", () => this.showDifference(this.current + 1), { key: "n", disabled: none })), this.body);
    if (none) this.position.textContent = "The runs do not differ";
  }

  close() {}

  key(event) {
    if (event.key === "n" || event.key === "j" || event.key === "ArrowDown") this.showDifference(this.current + 1);
    else if (event.key === "p" || event.key === "k" || event.key === "ArrowUp") this.showDifference(this.current - 1);
    else if (event.key === "Home") this.showDifference(0);
    else if (event.key === "End") this.showDifference(this.differing.length - 1);
    else return false;
    return true;
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
    const step = (side, number, title) => h("div", { class: "cell" }, title && this.#link(side, number, title));
    const element = h("div", { class: `pair-row ${row.mark} level-${Math.min(row.depth ?? 0, 6)}${isFirst ? " first-difference" : ""}` },
      isFirst && h("p", { class: "first" }, "First difference"), h("div", { class: "cells" }, step(0, row.a, row.title_a), step(1, row.b, row.title_b)), (row.differences ?? []).map(differenceView));
    if (isFirst) this.firstDifference = this.differing.length;
    if (row.mark !== "equal") this.differing.push(element);
    return element;
  }

  #link(side, number, title) {
    return h("a", { href: this.app.href(`runs/${encodeURIComponent(this.ids[side])}?item=${number ?? 0}`) }, title);
  }

  #equal(row) {
    const inside = h("div", {});
    return h("details", { class: "equal-steps", ontoggle: () => inside.childElementCount || this.#unfold(inside, row) }, h("summary", {}, plural(row.equal_steps, "equal step")), inside);
  }

  async #unfold(inside, { a: first, equal_steps: count }) {
    const { names, columns } = await (this.outline ??= this.app.api.run(this.ids[0])), shown = Math.min(count, MOST_TITLES);
    const numbers = Array.from({ length: shown }, (_, offset) => first + offset);
    fill(inside, numbers.map((number) => h("p", {}, kindMark(KINDS[columns.kind[number]]), " ", this.#link(0, number, names[columns.name[number]]))), count > shown && h("p", { class: "faint" }, `and ${count - shown} more`));
  }
}

function differenceView(difference) {
  return h("div", { class: "difference" }, h("p", { class: "faint" }, difference.label), h("pre", {}, difference.lines.map((line, index, lines) => lineView(line, lines[index - 1], lines[index + 1]))));
}

/** Return a line of a difference; of one that another one replaces, the words that differ are marked. */
function lineView([sign, text], before, after) {
  const other = sign === "-" && after?.[0] === "+" ? after[1] : sign === "+" && before?.[0] === "-" ? before[1] : undefined;
  const words = other === undefined ? text : markedWords(text, other);
  return h("div", { class: { "-": "less", "+": "more" }[sign] ?? "same" }, h("span", { "aria-hidden": "true" }, `${sign} `), h("span", { class: "unseen" }, { "-": "removed ", "+": "added " }[sign] ?? ""), words);
}

/** Return a text with the words marked that lie between what it shares with another one at both ends. */
function markedWords(text, other) {
  const words = text.split(/(\s+)/), others = other.split(/(\s+)/);
  let first = 0, last = 0;
  while (first < words.length && words[first] === others[first]) first++;
  while (last < Math.min(words.length, others.length) - first && words.at(-1 - last) === others.at(-1 - last)) last++;
  const end = words.length - last;
  return [words.slice(0, first).join(""), end > first && h("mark", {}, words.slice(first, end).join("")), words.slice(end).join("")];
}
