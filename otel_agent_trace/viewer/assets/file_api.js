// A run as one document: the reader of its blocks, and the page made of the same modules as the viewer's.

import { fill, h, themeButton } from "./h.js";
import { runPage } from "./run.js";

const BLOCK_STEPS = 200;
const blocks = new Map();

/** Return what a block of the document holds: JSON, packed by gzip and written in base64. */
function block(name) {
  if (!blocks.has(name)) blocks.set(name, unpacked(document.getElementById(`block-${name}`)));
  return blocks.get(name);
}

async function unpacked(element) {
  if (!element) throw new Error("This is not in the document.");
  const bytes = Uint8Array.from(atob(element.textContent.trim()), (char) => char.charCodeAt(0));
  return JSON.parse(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text());
}

const stepsAround = async (number) => block(`steps-${Math.floor(number / BLOCK_STEPS)}`);

const fileReader = {
  async run(id, step) {
    const run = await block("run");
    return { ...run, selected: step ? run.columns.ids.indexOf(step) : null };
  },
  async rows(id, from, to) {
    const found = [];
    for (let number = from; number < to; number += BLOCK_STEPS - (number % BLOCK_STEPS)) {
      found.push(...(await stepsAround(number)).rows);
    }
    return found.filter((row) => row.number >= from && row.number < to);
  },
  step: async (id, number) => (await stepsAround(number)).steps[number % BLOCK_STEPS],
  async conversation(id, step, from) {
    if (!step) return block(`conversation-${from}`);
    const { depth } = (await block("run")).columns, found = [];
    let end = step + 1;
    while (end < depth.length && depth[end] > depth[step]) end++;
    for (let next = 0; next !== null; ) {
      const part = await block(`conversation-${next}`);
      found.push(...part.blocks.filter((each) => each.step >= step && each.step < end));
      next = part.next;
    }
    return { blocks: found, next: null };
  },
  formats: ({ head }, number) => [...(number === 0 ? ["markdown"] : []), ...(head.command ? ["command"] : [])],
  copy: async (id, format) => (format === "markdown" ? block("markdown") : (await block("run")).head.command),
  value: (id, step, path) => block(`value-${path.startsWith("@") ? path : `@${step}.${path}`}`),
  async media(id, digest) {
    const { type, data } = await block(`media-${digest}`);
    return new Blob([Uint8Array.from(atob(data), (char) => char.charCodeAt(0))], { type });
  },
  /** Return the number of the next step, from one on, in which a text occurs; null without any. */
  async find(id, text, from) {
    const count = (await block("run")).columns.kind.length, wanted = text.toLowerCase();
    for (let offset = 0; offset < count; offset++) {
      const number = (from + offset) % count, { steps } = await stepsAround(number);
      if (JSON.stringify(steps[number % BLOCK_STEPS]).toLowerCase().includes(wanted)) return { number };
    }
    return { number: null };
  },
};

/** The page around the run: what the modules of pages expect of `app.js`. */
function documentApp() {
  const announcer = h("div.unseen", { role: "status", "aria-live": "polite" });
  document.body.append(announcer);
  return {
    api: fileReader, about: { can_score: false, can_list: false }, live: () => () => {}, href: () => "#",
    announce: (text) => (announcer.textContent = text),
    setQuery(query) {
      // the frame of a notebook has no address
      if (location.protocol !== "about:") history.replaceState(null, "", `#${query}`);
    },
  };
}

async function startDocument() {
  const search = h("input", {
    type: "search", placeholder: "Search  /", "aria-label": "Search", "aria-keyshortcuts": "/",
  });
  const main = h("main", { id: "main" }, h("div.page.runs")), query = new URLSearchParams(location.hash.slice(1));
  document.body.append(h("header.bar", h("span.source", document.title), search, themeButton()), main);
  const page = await runPage(main.firstChild, { path: ["runs", ""], query }, documentApp());
  search.addEventListener("keydown", (event) => event.key === "Enter" && page.search(search.value, true));
  search.addEventListener("change", () => page.search(search.value));
  addEventListener("keydown", (event) => {
    const isOfPage = !event.defaultPrevented && !event.target.closest("input, textarea, dialog");
    if (!isOfPage || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/") search.focus();
    else if (!page.key(event)) return;
    event.preventDefault();
  });
}

startDocument().catch((error) => fill(document.body, h("p.failure", { role: "alert" }, error.message)));
