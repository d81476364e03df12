// The step that is selected: its conversation, input, output, attributes, and where each fact was read.

import { button, definitions, facts, fill, h, kindMark, plural, statusMark } from "./h.js";
import { conversationView, mediaChip, messageParts } from "./conversation.js";

const SHOWN_CHARS = 2000; // of a string within a value, until it is unfolded
const SHOWN_ITEMS = 100; // of a list or an object, until more are asked for
const UNFOLDED_LEVELS = 2;
const FORMATS = { json: "JSON", markdown: "Markdown", command: "command" };
const chosen = { agent: "Conversation", model: "Conversation", tool: "Input", retrieval: "Input", other: "Input" };

/** The pane beside the tree: one step in tabs. The tab is remembered for each kind of step. */
export class StepPane {
  constructor(app, goTo) {
    Object.assign(this, { app, goTo });
    this.element = h("section.step", { "aria-label": "Step" });
  }

  close() {
    this.asked?.abort();
  }

  /** Show a step of a run, and return its details; nothing where another one was asked for meanwhile. */
  async show(id, number, run) {
    this.asked?.abort();
    const asked = (this.asked = new AbortController());
    try {
      const step = await this.app.api.step(id, number, asked.signal);
      if (asked.signal.aborted) return undefined;
      Object.assign(this, { id, number, run, details: step });
      this.#build();
      return step;
    } catch (error) {
      if (!asked.signal.aborted) fill(this.element, h("p.failure", { role: "alert" }, error.message));
      return undefined;
    }
  }

  #build() {
    const { details: step, number } = this;
    this.tabs = {
      Conversation: (number === 0 || step.kind === "agent" || step.messages?.length) && (() => this.#conversation()),
      Input: step.input !== null && (() => this.#input()),
      Output: (step.output !== null || step.error) && (() => [this.#value(step.output), this.#further()]),
      Attributes: () => this.#attributes(),
      Source: () => this.#source(),
    };
    const names = Object.keys(this.tabs).filter((name) => this.tabs[name]);
    const wanted = names.includes(chosen[step.kind]) ? chosen[step.kind] : names[0];
    this.bodyOf = h("div.body", { role: "tabpanel", tabindex: "0", id: "step-panel" });
    const tab = (name) =>
      button(name, () => this.#choose(name), { role: "tab", "data-name": name, "aria-controls": "step-panel" });
    this.tablist = h("div.tabs", { role: "tablist", "aria-label": "What of the step" }, names.map(tab));
    this.tablist.addEventListener("keydown", (event) => this.#tabKey(event, names));
    fill(this.element,
      h("h2", kindMark(step.kind), " ", h("b", step.name || "(unnamed)"), " ", statusMark(step.status, true), " ",
        facts(step.model !== step.name && step.model, step.duration_text,
          step.offset_text && `at ${step.offset_text}`)),
      step.error && errorView(step.error),
      h("div.tools", this.tablist, h("span.space"), this.#copy()), this.bodyOf);
    this.#choose(wanted);
  }

  #tabKey(event, names) {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    this.#choose(names[(names.indexOf(chosen[this.details.kind]) + move + names.length) % names.length]);
    this.tablist.querySelector("[aria-selected=true]").focus();
  }

  #choose(name) {
    chosen[this.details.kind] = name;
    for (const tab of this.tablist.children) {
      const isChosen = tab.dataset.name === name;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
    }
    fill(this.bodyOf, this.tabs[name]());
  }

  #conversation() {
    const { details: step } = this;
    if (step.kind !== "model") {
      return [conversationView(this.app, this.id, this.number, this.goTo, this.#context().more), this.#scores()];
    }
    const earlier = step.messages.slice(0, step.new_from);
    const view = (message) => messageParts(message.role, message.parts, this.#context(), message.name);
    const folded = earlier.length > 0 &&
      h("details", h("summary", plural(earlier.length, "earlier message")), earlier.map(view));
    return [folded, step.messages.slice(step.new_from).map(view), this.#facts(), this.#scores()];
  }

  #context() {
    const { app, id, number, goTo } = this;
    return { app, id, goTo, more: (path) => app.api.value(id, number, path) };
  }

  #value(value) {
    return valueView(value, this.#context());
  }

  #input() {
    const { input, output, kind } = this.details;
    const result = kind === "tool" && output !== null && [h("h3", "Result"), this.#value(output)];
    return [this.#value(input), result, this.#further()];
  }

  #further() {
    return [this.#facts(), this.#logs(), this.#scores()];
  }

  #facts() {
    const { details: step } = this;
    const notes = ["cut", "masked", "missing"].map((label) => [label, (step[label] ?? []).join(", ")]);
    const pairs = [...factsOf(step), ...notes].filter(([, text]) => text);
    return pairs.length > 0 && definitions("dl.facts", pairs);
  }

  #logs() {
    const lines = (this.details.logs ?? []).map((log) => {
      const name = /^(ERR|CRIT|FATAL)/i.test(log.severity) ? "div.error-text" : "div";
      return h(name, `${log.offset_text} ${[log.severity, log.logger].filter(Boolean).join(" ")}: ${log.text}`);
    });
    return lines.length > 0 && [h("h3", "Logs"), h("div.logs.mono", lines)];
  }

  #attributes() {
    const { attributes, resource } = this.details;
    return [this.#value(attributes), resource && [h("h3", "Resource"), this.#value(resource)], this.#further()];
  }

  #source() {
    const rows = this.details.source ?? [];
    const unknown = "Where the facts were read is not known here: the spans of this run are not at hand.";
    if (!rows.length) return h("p.faint", unknown);
    const cells = (tag, texts) => h("tr", texts.map((text) => h(tag, text ?? "")));
    return h("table.source-table", h("thead", cells("th", ["Fact", "Value", "Read from", "Span", ""])),
      h("tbody", rows.map((row) => cells("td", [row.fact, row.value, row.place, row.span, row.note]))));
  }

  #scores() {
    const given = (this.details.scores ?? []).map(({ name, value, label, source, explanation }) =>
      h("li", h("b", name), ` ${value ?? label ?? ""}`, source && h("span.faint", ` by ${source}`),
        explanation && `: ${explanation}`));
    return [given.length > 0 && [h("h3", "Scores"), h("ul", given)], this.app.about?.can_score && this.#scoreForm()];
  }

  /** Return the form that gives a score: a thumb and a word. */
  #scoreForm() {
    const word = h("input", { "aria-label": "Why", placeholder: "why (optional)", name: "explanation" });
    const answer = h("span", { role: "status" });
    const give = async (value) => {
      const { details: step, number } = this;
      try {
        const about = { step: number ? step.span_id : null, name: "helpful", explanation: word.value || null };
        await this.app.api.score(this.id, { ...about, value });
        answer.textContent = "Score kept";
        word.value = "";
      } catch (error) {
        answer.textContent = error.message;
      }
    };
    const thumbs = [["👍", "Helpful", true], ["👎", "Not helpful", false]].map(([thumb, label, value]) =>
      button(thumb, () => give(value), { "aria-label": label }));
    return h("div.score-form", { role: "group", "aria-label": "Give a score" }, thumbs, word, answer);
  }

  #copy() {
    const formats = this.app.api.formats(this.run, this.number), answer = h("span", { role: "status", class: "faint" });
    const copy = async (format) => {
      try {
        const isCopied = await copyText(await this.app.api.copy(this.id, format, this.number));
        answer.textContent = isCopied ? "Copied" : "Not copied";
      } catch (error) {
        answer.textContent = `Not copied: ${error.message}`;
      }
    };
    const buttons = formats.map((format) =>
      button(FORMATS[format], () => copy(format), { "aria-label": `Copy as ${FORMATS[format]}` }));
    return formats.length > 0 &&
      h("span.copy", { role: "group", "aria-label": "Copy" }, answer, h("span.faint", "Copy"), buttons);
  }
}

/** Return the facts of a step, each with its word, without those that it has as values. */
export function factsOf({ facts = [] }) {
  const others = facts.filter(({ label }) => !["in", "out", "error", "attributes"].includes(label));
  return others.map(({ label, text }) => [label, text]);
}

/** Put a text into the clipboard, and return whether it is there; if it is not, it is shown to be copied by hand. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyByHand(text); // without a secure context there is no clipboard, and a frame may be refused it
  }
}

/** Copy a text by selecting it in a dialog, which closes at once, or stays open where the browser refuses that too. */
function copyByHand(text) {
  const area = h("textarea", { readonly: true, rows: 12, cols: 60, "aria-label": "Text to copy" });
  const close = button("Close", () => dialog.close());
  const dialog = h("dialog", { "aria-label": "Copy", onclose: () => dialog.remove() },
    h("p", "The browser refuses to copy for this page: please copy the selected text with the keys."), area, close);
  area.value = text; // with the characters that a node shows as escapes
  document.body.append(dialog);
  dialog.showModal();
  area.select();
  const isCopied = document.execCommand("copy");
  if (isCopied) dialog.close();
  return isCopied;
}

function errorView(error) {
  return h("div.error-box", h("p.error-text", h("b", error.type), error.message && `: ${error.message}`),
    error.stacktrace && h("details", h("summary", "Stack trace"), h("pre", error.stacktrace)));
}

/** Return a value as text, a tree of JSON, or its beginning with what shows all of it. */
export function valueView(value, context) {
  if (value === null || value === undefined) return h("span.faint", "none");
  if (typeof value.json === "string") return h("pre", value.json === "" ? h("span.faint", "(empty text)") : value.json);
  if ("json" in value) return h("div.json.mono", jsonView(value.json, context, 0));
  const text = h("pre", value.text);
  const all = button(`Show all ${value.chars.toLocaleString("en")} characters`, async () => {
    fill(text, await context.more(value.path));
    all.remove();
  });
  return h("div", text, value.chars > value.text.length && all);
}

function jsonView(value, context, level) {
  if (value === null || typeof value !== "object") return scalarView(value);
  if (value.$media) return mediaChip(value.$media, context);
  const entries = Object.entries(value), isList = Array.isArray(value), brackets = isList ? "[]" : "{}";
  if (!entries.length) return h("span", brackets);
  const body = h("div.inner");
  const show = (from) => {
    const part = entries.slice(from, from + SHOWN_ITEMS).map(([key, item]) =>
      h("div", isList ? h("span.faint", `${key} `) : h("span.key", `${key}: `), jsonView(item, context, level + 1)));
    const rest = entries.length - from - SHOWN_ITEMS;
    const more = rest > 0 && button(`${rest} more`, () => {
      more.remove();
      show(from + SHOWN_ITEMS);
    });
    body.append(...part, ...(more ? [more] : []));
  };
  const open = level < UNFOLDED_LEVELS && entries.length <= SHOWN_ITEMS, [begin, end] = brackets;
  const details = h("details", { open }, h("summary", `${begin} ${entries.length} ${end}`), body);
  const first = () => body.childElementCount || show(0);
  details.open ? first() : details.addEventListener("toggle", first, { once: true });
  return details;
}

function scalarView(value) {
  if (typeof value !== "string") return h("span.scalar", String(value));
  if (value.length <= SHOWN_CHARS) return h("span.text", value);
  const text = h("span.text", value.slice(0, SHOWN_CHARS));
  const all = button(`… ${(value.length - SHOWN_CHARS).toLocaleString("en")} more characters`, () => {
    fill(text, value);
    all.remove();
  });
  return [text, all];
}
