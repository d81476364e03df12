// The step that is selected: its conversation, input, output, attributes, and where each fact was read.

import { button, fill, h, kindMark, statusMark } from "./h.js";
import { conversationView, mediaChip, messageParts } from "./conversation.js";

const SHOWN_CHARS = 2000; // of a string within a value, until it is unfolded
const SHOWN_ITEMS = 100; // of a list or an object, until more are asked for
const UNFOLDED_LEVELS = 2;
const chosen = { agent: "Conversation", model: "Conversation", tool: "Input", retrieval: "Input", other: "Input" };

/** The pane beside the tree: one step in tabs. The tab is remembered for each kind of step. */
export class StepPane {
  constructor(app, goTo) {
    Object.assign(this, { app, goTo });
    this.element = h("section", { class: "step", "aria-label": "Step" });
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
      if (!asked.signal.aborted) fill(this.element, h("p", { class: "failure", role: "alert" }, error.message));
      return undefined;
    }
  }

  #build() {
    const { details: step, number } = this;
    this.tabs = { Conversation: () => this.#conversation(), Input: () => this.#value("input"), Output: () => this.#value("output"), Attributes: () => this.#attributes(), Source: () => this.#source() };
    const has = { Conversation: number === 0 || step.kind === "agent" || step.messages?.length, Input: step.input !== null, Output: step.output !== null || step.error, Attributes: true, Source: true };
    const names = Object.keys(this.tabs).filter((name) => has[name]);
    const wanted = names.includes(chosen[step.kind]) ? chosen[step.kind] : names[0];
    this.bodyOf = h("div", { class: "body", role: "tabpanel", tabindex: "0", id: "step-panel" });
    this.tablist = h("div", { class: "tabs", role: "tablist", "aria-label": "What of the step" },
      names.map((name) => button(name, () => this.#choose(name), { role: "tab", "data-name": name, "aria-controls": "step-panel" })));
    this.tablist.addEventListener("keydown", (event) => this.#tabKey(event, names));
    fill(this.element,
      h("h2", {}, kindMark(step.kind), " ", h("b", {}, step.name || "(unnamed)"), " ", statusMark(step.status, true), " ",
        h("span", { class: "faint" }, [step.model !== step.name && step.model, step.duration_text, step.offset_text && `at ${step.offset_text}`].filter(Boolean).join(" · "))),
      step.error && errorView(step.error),
      h("div", { class: "tools" }, this.tablist, h("span", { class: "space" }), this.#copy()), this.bodyOf);
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

  #more() {
    return (path) => this.app.api.value(this.id, this.number, path);
  }

  #conversation() {
    const { details: step } = this;
    if (step.kind !== "model") return [conversationView(this.app, this.id, this.number, this.goTo, this.#more()), this.#scores()];
    const earlier = step.messages.slice(0, step.new_from), view = (message) => messageParts(message.role, message.parts, this.#context(), message.name);
    const folded = earlier.length > 0 && h("details", {}, h("summary", {}, `${earlier.length} earlier message${earlier.length === 1 ? "" : "s"}`), earlier.map(view));
    return [folded, step.messages.slice(step.new_from).map(view), this.#facts(), this.#scores()];
  }

  #context() {
    return { app: this.app, id: this.id, goTo: this.goTo, more: this.#more() };
  }

  #value(name) {
    const { details: step } = this;
    return [
      valueView(step[name], this.#context()), name === "input" && step.kind === "tool" && step.output !== null && [h("h3", {}, "Result"), valueView(step.output, this.#context())],
      this.#facts(), this.#logs(), this.#scores(),
    ];
  }

  #facts() {
    const { details: step } = this;
    const notes = [["cut", step.cut], ["masked", step.masked], ["missing", step.missing]].filter(([, paths]) => paths?.length).map(([label, paths]) => ({ label, text: paths.join(", "), tone: "warning" }));
    const facts = [...(step.facts ?? []).filter(({ label }) => !["in", "out", "error", "attributes"].includes(label)), ...notes];
    return facts.length > 0 && h("dl", { class: "facts" }, facts.map(({ label, text }) => [h("dt", {}, label), h("dd", {}, text)]));
  }

  #logs() {
    const logs = this.details.logs ?? [];
    return logs.length > 0 && [h("h3", {}, "Logs"), h("div", { class: "logs mono" }, logs.map((log) => h("div", { class: /^(ERR|CRIT|FATAL)/i.test(log.severity) ? "error-text" : "" }, `${log.offset_text} ${[log.severity, log.logger].filter(Boolean).join(" ")}: ${log.text}`)))];
  }

  #attributes() {
    const { details: step } = this;
    return [valueView(step.attributes, this.#context()), step.resource && [h("h3", {}, "Resource"), valueView(step.resource, this.#context())], this.#facts(), this.#scores(), this.#logs()];
  }

  #source() {
    const rows = this.details.source ?? [];
    if (!rows.length) return h("p", { class: "faint" }, "Where the facts were read is not known here: the spans of this run are not at hand.");
    const cells = (tag, texts) => h("tr", {}, texts.map((text) => h(tag, {}, text ?? "")));
    return h("table", { class: "source-table" }, h("thead", {}, cells("th", ["Fact", "Value", "Read from", "Span", ""])), h("tbody", {}, rows.map((row) => cells("td", [row.fact, row.value, row.place, row.span, row.note]))));
  }

  #scores() {
    const { details: step } = this;
    const given = (step.scores ?? []).map((score) => h("li", {}, h("b", {}, score.name), ` ${score.value ?? score.label ?? ""}`, score.source && h("span", { class: "faint" }, ` by ${score.source}`), score.explanation && `: ${score.explanation}`));
    return [given.length > 0 && [h("h3", {}, "Scores"), h("ul", {}, given)], this.app.about?.can_score && this.#scoreForm()];
  }

  /** Return the form that gives a score: a thumb and a word. */
  #scoreForm() {
    const word = h("input", { "aria-label": "Why", placeholder: "why (optional)", name: "explanation" });
    const answer = h("span", { role: "status" });
    const give = async (value) => {
      const { details: step, number } = this;
      try {
        await this.app.api.score(this.id, { step: number ? step.span_id : null, name: "helpful", value, explanation: word.value || null });
        answer.textContent = "Score kept";
        word.value = "";
      } catch (error) {
        answer.textContent = error.message;
      }
    };
    return h("div", { class: "score-form", role: "group", "aria-label": "Give a score" }, button("👍", () => give(true), { "aria-label": "Helpful" }), button("👎", () => give(false), { "aria-label": "Not helpful" }), word, answer);
  }

  #copy() {
    const answer = h("span", { role: "status", class: "faint" });
    const copy = async (format) => {
      try {
        await navigator.clipboard.writeText(await this.app.api.copy(this.id, format, this.number));
        answer.textContent = "Copied";
      } catch (error) {
        answer.textContent = `Not copied: ${error.message}`;
      }
    };
    const formats = { JSON: "json", Markdown: "markdown", command: "command" };
    return h("span", { class: "copy", role: "group", "aria-label": "Copy" }, answer, h("span", { class: "faint" }, "Copy"), Object.entries(formats).map(([word, format]) => button(word, () => copy(format), { "aria-label": `Copy as ${word}` })));
  }
}

function errorView(error) {
  return h("div", { class: "error-box" }, h("p", { class: "error-text" }, h("b", {}, error.type), error.message && `: ${error.message}`),
    error.stacktrace && h("details", {}, h("summary", {}, "Stack trace"), h("pre", {}, error.stacktrace)));
}

/** Return a value as text, a tree of JSON, or its beginning with what shows all of it. */
export function valueView(value, context) {
  if (value === null || value === undefined) return h("span", { class: "faint" }, "none");
  if ("json" in value) return typeof value.json === "string" ? textView(value.json) : h("div", { class: "json mono" }, jsonView(value.json, context, 0));
  const text = h("pre", {}, value.text);
  const all = button(`Show all ${value.chars.toLocaleString("en")} characters`, async () => {
    fill(text, await context.more(value.path));
    all.remove();
  });
  return h("div", {}, text, value.chars > value.text.length && all);
}

function textView(text) {
  return h("pre", {}, text === "" ? h("span", { class: "faint" }, "(empty text)") : text);
}

function jsonView(value, context, level) {
  if (value === null || typeof value !== "object") return scalarView(value);
  if (value.$media) return mediaChip(value.$media, context);
  const entries = Object.entries(value), isList = Array.isArray(value), brackets = isList ? "[]" : "{}";
  if (!entries.length) return h("span", {}, brackets);
  const body = h("div", { class: "inner" });
  const show = (from) => {
    const part = entries.slice(from, from + SHOWN_ITEMS).map(([key, item]) => h("div", {}, h("span", { class: isList ? "faint" : "key" }, isList ? `${key} ` : `${key}: `), jsonView(item, context, level + 1)));
    const rest = entries.length - from - SHOWN_ITEMS;
    const more = rest > 0 && button(`${rest} more`, () => {
      more.remove();
      show(from + SHOWN_ITEMS);
    });
    body.append(...part, ...(more ? [more] : []));
  };
  const details = h("details", { open: level < UNFOLDED_LEVELS && entries.length <= SHOWN_ITEMS }, h("summary", {}, isList ? `[ ${entries.length} ]` : `{ ${entries.length} }`), body);
  const first = () => body.childElementCount || show(0);
  details.open ? first() : details.addEventListener("toggle", first, { once: true });
  return details;
}

function scalarView(value) {
  if (typeof value !== "string") return h("span", { class: "scalar" }, String(value));
  if (value.length <= SHOWN_CHARS) return h("span", { class: "text" }, value);
  const text = h("span", { class: "text" }, value.slice(0, SHOWN_CHARS));
  const all = button(`… ${(value.length - SHOWN_CHARS).toLocaleString("en")} more characters`, () => {
    fill(text, value);
    all.remove();
  });
  return [text, all];
}
