// Show a list of any length: only the rows in view are in the document.

import { h, setStyle } from "./h.js";

const MOST_PIXELS = 15_000_000; // Chromium ends an element at 33.5 million, Firefox near 17.9 million
const ROWS_BEYOND = 2;

/**
 * A scrolling list with a selected row, of which the keys are arrows, j, k, Page Up, Page Down, Home, End and Enter.
 *
 * Options: `rowHeight` in pixels, `role` ("grid" or "treegrid"), `label`, `header` (a row that stays above the others),
 * `draw(index)` returns the row's element,
 * `onSelect(index)` and `onOpen(index)` are called for keys and the mouse, `onView(first, last)` where other rows are
 * shown.
 */
export class VirtualList {
  constructor(options) {
    this.options = options;
    this.count = 0;
    this.selected = -1;
    this.rows = new Map();
    this.top = 0; // in pixels of all rows, which the scroll bar has on another scale when they are too many
    this.headHeight = options.header ? options.rowHeight : 0;
    this.layer = h("div.layer", { role: "rowgroup" }, options.header);
    this.spacer = h("div.spacer", { "aria-hidden": "true" });
    this.element = h("div.list", {
      role: options.role, "aria-label": options.label, tabindex: "0",
      onscroll: () => this.#scrolled(), onkeydown: (event) => this.key(event) && event.preventDefault(),
      onclick: (event) => this.#clicked(event, options.onSelect),
      ondblclick: (event) => this.#clicked(event, options.onOpen),
    }, this.layer, this.spacer);
    this.observer = new ResizeObserver(() => this.#request());
    this.observer.observe(this.element);
  }

  close() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  /** Set the number of rows, and draw those in view anew. */
  setCount(count) {
    this.count = count;
    this.element.setAttribute("aria-rowcount", count);
    setStyle(this.spacer, { height: `${Math.min(this.#whole, MOST_PIXELS) + this.headHeight}px` });
    if (this.selected >= count) this.selected = count - 1;
    this.refresh();
  }

  /** Scroll to a place, in pixels of all rows as `top` has it. */
  scrollTo(top) {
    this.top = Math.max(Math.min(top, this.#whole - this.#height), 0);
    this.element.scrollTop = this.top / this.#scale;
    this.expected = this.element.scrollTop;
  }

  /** Draw the rows in view anew. */
  refresh() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
    this.#request();
  }

  /** Draw one row anew, if it is in view. */
  refreshRow(index) {
    this.rows.get(index)?.remove();
    if (this.rows.delete(index)) this.#request();
  }

  /** Call a function with the number and the element of each row in the document. */
  forEachRow(call) {
    for (const [index, row] of this.rows) call(index, row);
  }

  /** Select a row and bring it into view; `quietly` calls nobody. */
  select(index, { quietly = false, centred = false } = {}) {
    if (index < 0 || index >= this.count) return;
    const before = this.rows.get(this.selected);
    before?.removeAttribute("aria-selected");
    this.selected = index;
    this.#bringIntoView(index, centred);
    this.draw();
    if (!quietly) this.options.onSelect?.(index);
  }

  /** Do what a key stands for, and return whether it stands for something. */
  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return false;
    const page = Math.max(1, Math.floor(this.#height / this.options.rowHeight) - 1);
    const ends = { PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, ...ends };
    if (event.key in steps) {
      this.select(Math.min(Math.max(this.selected + steps[event.key], 0), this.count - 1));
      return true;
    }
    const isOfList = event.target === this.element || event.target === document.body;
    if (event.key === "Enter" && this.selected >= 0 && isOfList) {
      this.options.onOpen?.(this.selected);
      return true;
    }
    return false;
  }

  /** Return the numbers of the first row in view, and of the one after the last. */
  view() {
    const { rowHeight } = this.options, first = Math.min(Math.floor(this.top / rowHeight), this.count);
    return [first, Math.max(Math.min(Math.ceil((this.top + this.#height) / rowHeight), this.count), first)];
  }

  draw() {
    const { rowHeight, draw } = this.options, [first, last] = this.view();
    const from = Math.max(first - ROWS_BEYOND, 0), to = Math.min(last + ROWS_BEYOND, this.count);
    for (const [index, row] of this.rows) {
      if (index < from || index >= to) {
        row.remove();
        this.rows.delete(index);
      }
    }
    for (let index = from; index < to; index++) {
      let row = this.rows.get(index);
      if (!row) {
        row = draw(index);
        row.id ||= `row-${index}`;
        row.dataset.index = index;
        row.setAttribute("role", "row");
        row.setAttribute("aria-rowindex", index + 1);
        this.rows.set(index, row);
        this.layer.append(row);
      }
      setStyle(row, { transform: `translateY(${index * rowHeight - this.top + this.headHeight}px)` });
    }
    this.#mark();
    if (first !== this.shown?.[0] || last !== this.shown?.[1]) this.options.onView?.(...(this.shown = [first, last]));
  }

  get #height() {
    return this.element.clientHeight - this.headHeight;
  }

  get #whole() {
    return this.count * this.options.rowHeight;
  }

  #mark() {
    const row = this.rows.get(this.selected);
    if (!row) return this.element.removeAttribute("aria-activedescendant");
    row.setAttribute("aria-selected", "true");
    this.element.setAttribute("aria-activedescendant", row.id);
  }

  /** Return how many pixels of rows a pixel of the scroll bar stands for. */
  get #scale() {
    const room = Math.min(this.#whole, MOST_PIXELS) - this.#height;
    return room > 0 ? Math.max(this.#whole - this.#height, 0) / room : 1;
  }

  #scrolled() {
    if (Math.abs(this.element.scrollTop - this.expected) < 1) return; // our own, of which `top` is more exact
    this.expected = undefined;
    this.top = this.element.scrollTop * this.#scale;
    this.#request();
  }

  #bringIntoView(index, centred) {
    const { rowHeight } = this.options, y = index * rowHeight, room = this.#height - rowHeight;
    if (y >= this.top && y <= this.top + room && !centred) return;
    this.scrollTo(centred ? y - room / 2 : y < this.top ? y : y - room);
  }

  #request() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.top = Math.max(Math.min(this.top, this.#whole - this.#height), 0);
      this.draw();
    });
  }

  #clicked(event, call) {
    const row = event.target.closest("[data-index]");
    if (!row || event.target.closest("a, button, input")) return;
    const index = Number(row.dataset.index);
    this.select(index, { quietly: true });
    call?.(index);
  }
}
