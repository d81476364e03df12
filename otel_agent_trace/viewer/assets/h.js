// Make elements, and format figures as `views/figures.py` does. Contents of traces are only ever text nodes.

export const KINDS = ["agent", "model", "tool", "retrieval", "other"];
const KIND_GLYPHS = { agent: "◆", model: "●", tool: "■", retrieval: "▤", other: "·" };
const THEMES = { auto: "◐", light: "○", dark: "●" };
const STATUS_GLYPHS = {
  success: "✓", ok: "✓", error: "✕", timeout: "◷", running: "◌", interrupted: "⚡", paused: "‖",
};

/**
 * Return an element, of which the classes stand behind the tag: `h("span.faint", "text")`. An object before the
 * children has properties: `on…` are listeners, others are attributes.
 */
export function h(name, ...parts) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElement(tag), classes, parts);
}

/** Return an element of SVG, made as by `h`. */
export function svg(name, ...parts) {
  const [tag, ...classes] = name.split(".");
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), classes, parts);
}

const INVISIBLE = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;

/** Return a text with visible escapes in place of what controls its display, as the terminal has it: `\u202e`. */
export function shownText(text) {
  return text.replace(INVISIBLE, (char) => {
    const digits = char.charCodeAt(0).toString(16);
    return digits.length > 2 ? `\\u${digits.padStart(4, "0")}` : `\\x${digits.padStart(2, "0")}`;
  });
}

function nodes(children) {
  const given = children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false);
  return given.map((child) => (typeof child === "string" ? shownText(child) : child));
}

function filled(element, classes, [first, ...others]) {
  const isGiven = first?.constructor === Object;
  element.classList.add(...classes);
  for (const [name, value] of Object.entries(isGiven ? first : {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...nodes(isGiven ? others : [first, ...others]));
  return element;
}

/** Set properties of a style one by one, as the policy of the page allows; `style` attributes are refused. */
export function setStyle(element, properties) {
  for (const [name, value] of Object.entries(properties)) element.style.setProperty(name, value);
}

/** Replace all children of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...nodes(children));
}

/** Return the mark of a kind of step: a shape and a colour, named for readers of screens. */
export function kindMark(kind) {
  return h("span", { class: `kind ${kind}`, role: "img", "aria-label": kind, title: kind }, KIND_GLYPHS[kind] ?? "·");
}

/** Return the mark of a status: a shape, and its word where `word` asks for it. */
export function statusMark(status, word = false) {
  const named = { class: `status ${status}`, role: "img", "aria-label": status, title: status };
  const mark = h("span", named, STATUS_GLYPHS[status] ?? "·");
  return word ? [mark, " ", h("span", status)] : mark;
}

/** Return a duration in about four characters: `0.7ms`, `1.50s`, `2m05s`. */
export function durationText(seconds) {
  if (seconds === null || seconds === undefined) return "-";
  if (seconds < 0) return `-${durationText(-seconds)}`;
  if (seconds < 0.9995) {
    const millis = seconds * 1000;
    return millis >= 9.95 || millis === 0 ? `${millis.toFixed(0)}ms` : `${millis.toFixed(1)}ms`;
  }
  if (seconds < 59.95) return `${seconds.toFixed(seconds < 9.995 ? 2 : 1)}s`;
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  if (minutes < 60) return `${minutes}m${String(whole % 60).padStart(2, "0")}s`;
  if (hours < 48) return `${hours}h${String(minutes % 60).padStart(2, "0")}m`;
  return `${Math.floor(hours / 24)}d${String(hours % 24).padStart(2, "0")}h`;
}

/** Return a count in at most five characters: `9999`, `12.3k`. */
export function countText(count) {
  if (count === null || count === undefined) return "-";
  for (const [least, size, unit] of [[1e9, 1e9, "G"], [1e6, 1e6, "M"], [1e4, 1e3, "k"]]) {
    if (count >= least) return `${(count / size).toFixed(count / size < 99.95 ? 1 : 0)}${unit}`;
  }
  return String(Math.round(count));
}

/** Return dollars to four decimals, or to two digits that count. */
export function dollarsText(usd) {
  if (usd === null || usd === undefined) return "-";
  return `$${usd >= 0.001 || usd === 0 ? usd.toFixed(4) : usd.toPrecision(2)}`;
}

/** Return a number with its noun: `1 step`, `3 steps`. */
export function plural(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

/** Return the local date and time of a moment, by the clock of 24 hours whatever the language: `2026-11-30 14:05`. */
export function minuteText(iso) {
  const moment = new Date(iso);
  return new Date(moment - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 16).replace("T", " ");
}

/** Return the local time of a moment, short: of today without the date; nothing of one that is not known. */
export function whenText(iso) {
  if (!iso) return "";
  const moment = new Date(iso), isToday = moment.toDateString() === new Date().toDateString();
  return isToday ? moment.toTimeString().slice(0, 8) : minuteText(iso);
}

/** Return a button with a word on it; `key` is the key that does the same. */
export function button(word, onclick, { key, ...properties } = {}) {
  const title = key ? `${word} (${key})` : undefined;
  return h("button", { type: "button", onclick, title, "aria-keyshortcuts": key, ...properties }, word);
}

/** Return some texts in a faint colour; empty ones are left out. */
export function facts(...texts) {
  return h("span.faint", texts.filter(Boolean).join(" · "));
}

/** Return words and what they stand for; those that stand for nothing are left out. */
export function definitions(name, pairs) {
  return h(name, pairs.filter(([, value]) => value).map(([word, value]) => [h("dt", word), h("dd", value)]));
}

/** Return buttons of which one is pressed, the first one until another is; `set` is called with its word. */
export function choice(name, words, set) {
  const press = (event) => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === event.target));
    set(event.target.textContent);
  };
  const buttons = words.map((word, index) => button(word, press, { "aria-pressed": String(index === 0) }));
  return h("span.choice", { role: "group", "aria-label": name }, h("span.faint", name), buttons);
}

/** Return a list to choose from: its values, or pairs of a value and its words. */
export function select(label, values, chosen, set) {
  const options = values.map((value) => [value].flat()).map(([value, words = value]) => {
    return h("option", { value, selected: value === chosen }, words);
  });
  return h("select", { "aria-label": label, onchange: (event) => set(event.target.value) }, options);
}

/** Return the button that changes the theme of the document, which `storage` keeps, if there is one. */
export function themeButton(storage) {
  const names = Object.keys(THEMES), { dataset } = document.documentElement;
  const show = (name) => {
    dataset.theme = name in THEMES ? name : names[0];
    element.textContent = THEMES[dataset.theme];
    element.title = element.ariaLabel = `Theme: ${dataset.theme}`;
    storage?.setItem("theme", dataset.theme);
  };
  const element = button("", () => show(names[(names.indexOf(dataset.theme) + 1) % names.length]));
  show(storage?.getItem("theme"));
  return element;
}

/** Do what a key stands for among some, and return whether it stands for anything. */
export function keyOf(keys, event) {
  if (!Object.hasOwn(keys, event.key)) return false;
  keys[event.key]();
  return true;
}

/** Return the row of a list that names its columns: pairs of a class and a word. */
export function headRow(name, columns) {
  const cells = columns.map(([kind, word]) => h("span", { class: kind || null, role: "columnheader" }, word));
  return h(`${name}.head`, { role: "row" }, cells);
}

/** Return where in an element that listens for it an event of the mouse is, from 0 at its left side to 1. */
export function shareOf(event) {
  const { left, width } = event.currentTarget.getBoundingClientRect();
  return Math.min(Math.max((event.clientX - left) / width, 0), 1);
}
