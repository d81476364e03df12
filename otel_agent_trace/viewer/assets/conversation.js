// A run as one conversation: who spoke, what was called with what result, what was shown before left out.

import { button, fill, h, kindMark, plural, statusMark } from "./h.js";
import { valueView } from "./step.js";

const FOLDED_LINES = 6;
const MARKDOWN_CHARS = 150_000; // longer texts are shown as they are

/** Return the conversation of a run, or of a sub-agent's step in it, loaded as far as it is asked for. */
export function conversationView(app, id, step, goTo, more) {
  const context = { app, id, goTo, more }, blocks = h("div.conversation");
  const next = button("Later messages", () => load(next.from), { hidden: true });
  const load = async (from) => {
    next.disabled = true;
    try {
      const answer = await app.api.conversation(id, step, from);
      blocks.append(...answer.blocks.flatMap((block) => blockView(block, context)));
      Object.assign(next, { from: answer.next, hidden: answer.next === null, disabled: false });
      if (!blocks.childElementCount) fill(blocks, h("p.faint", "No messages were recorded."));
    } catch (error) {
      blocks.append(h("p.failure", error.message));
    }
  };
  load(0);
  return [blocks, next];
}

function blockView(block, context) {
  if (!block.tool && !block.parts?.length && !block.repeated) return [];
  const repeated = block.repeated > 0 && h("p.faint", `${plural(block.repeated, "message")} shown before`);
  const { role, parts, name, tool } = block;
  const body = tool ? callView(block, context) : messageParts(role, parts, context, name, block);
  body.classList.add(`level-${Math.min(block.depth ?? 0, 6)}`);
  return repeated ? h("div", repeated, body) : body;
}

/** Return a call of a tool or of a sub-agent, whose own conversation follows. */
function callView({ role, tool }, context) {
  const link = button(tool.name, () => context.goTo(tool.step), { class: "link" });
  return h("article", { class: `block ${role}` }, h("div.role", kindMark(role), ` ${role}`),
    h("div.content", h("p", link, " ", statusMark(tool.status, true), " ", h("span.faint", tool.duration_text)),
      tool.arguments && valueView(tool.arguments, context),
      tool.result && [h("p.faint", "returned"), folding(valueView(tool.result, context))]));
}

/** Return a message: the role beside its parts. `block` says which step it is of, and whether it begins folded. */
export function messageParts(role, parts, context, name, block) {
  const isOfStep = typeof block?.step === "number", show = () => context.goTo(block.step);
  const goTo = isOfStep && [" ", h("button.link", { type: "button", title: "Show the step", onclick: show }, "↗")];
  const views = (parts ?? []).map((part) => partView(part, context));
  return h("article", { class: `block ${role}` }, h("div.role", role, name && h("small", ` ${name}`), block?.prefilled && h("small", " prefilled"), goTo),
    h("div.content", block?.folded || role === "system" ? folding(views) : views));
}

function partView(part, context) {
  if (part.chars) return valueView(part, context); // a text of which this is only the beginning
  if (part.type === "reasoning") return h("details.reasoning", h("summary", "reasoning"), textWithRaw(part.text ?? ""));
  if (part.type === "text") return textWithRaw(part.text ?? "");
  if (part.type === "media") return mediaChip(part.media ?? {}, context);
  const word = { tool_call: "calls", tool_result: "result of" }[part.type] ?? part.type;
  return h("div.part", h("p.faint", `${word} `, h("b", part.name ?? part.id ?? "")),
    part.value && folding(valueView(part.value, context)));
}

/** Return something of which at most six lines are shown at first. */
function folding(...children) {
  const body = h("div.folding", children);
  const unfold = button("Show more", () => {
    body.classList.add("whole");
    unfold.remove();
  });
  const wrapper = h("div", body);
  requestAnimationFrame(() => body.scrollHeight > body.clientHeight + 2 && wrapper.append(unfold));
  return wrapper;
}

/** Return a chip for media; a picture is fetched and shown when it is clicked. */
export function mediaChip(media, context) {
  const { type = "media", name, bytes } = media;
  const word = [type, name, bytes !== undefined && plural(bytes, "byte")].filter(Boolean).join(" · ");
  const isPicture = /^image\/(png|jpeg|gif|webp|avif|bmp)$/.test(media.type ?? "") && media.digest;
  if (!isPicture) return h("span.chip", word);
  const place = h("span");
  const show = button(`${word} · show`, async () => {
    try {
      const url = URL.createObjectURL(await context.app.api.media(context.id, media.digest));
      fill(place, h("img.picture", { src: url, alt: name ?? type, onload: () => URL.revokeObjectURL(url) }));
    } catch (error) {
      show.textContent = error.message;
    }
  }, { class: "chip" });
  place.append(show);
  return place;
}

/** Return a text with its simple Markdown as elements, and a switch to the raw text. */
function textWithRaw(text) {
  if (text.length > MARKDOWN_CHARS || !/[*`#\[|>-]/.test(text)) return h("div.prose.plain", text);
  const shown = h("div.prose", markdown(text));
  if (shown.textContent.replace(/\s/g, "") === text.replace(/\s/g, "")) return h("div.prose.plain", text);
  const raw = button("Raw", () => {
    const isRaw = raw.getAttribute("aria-pressed") !== "true";
    raw.setAttribute("aria-pressed", String(isRaw));
    shown.classList.toggle("plain", isRaw);
    fill(shown, isRaw ? text : markdown(text));
  }, { class: "raw", "aria-pressed": "false" });
  return h("div.with-raw", raw, shown);
}

/** Return Markdown as elements: headings, lists, code, emphasis. Links only show where they lead; no HTML is made. */
function markdown(text) {
  return text.split(/^```.*$/m).map((part, index) => {
    if (index % 2) return h("pre", part.replace(/^\n|\n$/g, ""));
    return part.split(/\n{2,}/).filter((block) => block.trim()).map(paragraph);
  });
}

function paragraph(block) {
  const lines = block.replace(/^\n+|\s+$/g, "").split("\n"), heading = /^(#{1,6})\s+(.*)$/.exec(lines[0]);
  if (heading && lines.length === 1) return h("p.heading", inline(heading[2]));
  if (lines.every((line) => /^\s*([-*]|\d+[.)])\s/.test(line))) {
    return h("ul", lines.map((line) => h("li", inline(line.replace(/^\s*[-*]\s/, "")))));
  }
  return h("p", lines.map((line, index) => [index > 0 && h("br"), inline(line)]));
}

function inline(text) {
  return text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*|\[[^\]\n]*\]\([^)\s]*\))/).map((part) => {
    if (/^`.+`$/.test(part)) return h("code", part.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(part)) return h("b", part.slice(2, -2));
    const link = /^\[([^\]]*)\]\(([^)]*)\)$/.exec(part);
    return link ? h("span.target", link[1], h("span.faint", ` (${link[2]})`)) : part;
  });
}
