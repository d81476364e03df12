// A run as one document: the reader of its blocks, and the page made of the same modules as the viewer's.

import { fill, h, themeButton } from "./h.js";
import { runPage } from "./run.js";
import { factsOf } from "./step.js";

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

/** Return the run with all its steps, as far as the document has them. */
async function wholeRun() {
  const { run_id, head: { question, answer, command, ...head }, columns: { depth } } = await block("run"), steps = [];
  for (let number = 1; number < depth.length; number++) {
    steps.push({ depth: depth[number], ...(await wholeStep(number)) });
  }
  return { run_id, ...head, ...(await wholeStep(0)), steps };
}

/** Return a step as the document has it, without where its facts were read. */
async function wholeStep(number) {
  const { source, new_from, facts, ...step } = await fileReader.step("", number);
  return { ...(await whole(step, number)), facts: Object.fromEntries(factsOf({ facts })) };
}

/** Return the data of a step with its values in place of what stands for them: their JSON, or the path of a cut one. */
async function whole(data, number) {
  if (data === null || typeof data !== "object") return data;
  if ("json" in data) return data.json;
  if ("path" in data) {
    const text = await fileReader.value("", number, data.path);
    return data.type ? { type: data.type, text } : text;
  }
  const entries = await Promise.all(Object.entries(data).map(async ([key, item]) => [key, await whole(item, number)]));
  return Array.isArray(data) ? entries.map(([, item]) => item) : Object.fromEntries(entries);
}

const fileReader = {
  async run(id, step) {
    const run = await block("run"), number = step ? run.columns.ids.indexOf(step) : -1;
    return { ...run, selected: number < 0 ? null : number };
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
  formats: (run, number) => ["json", ...(number === 0 ? ["markdown"] : [])],
  async copy(id, format, number) {
    if (format === "markdown") return block("markdown");
    return JSON.stringify(await (number === 0 ? wholeRun() : wholeStep(number)), null, 2);
  },
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
