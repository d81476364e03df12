// Ask the server, and follow what it announces, by one stream for all pages of a browser, which allows six a host.

const BASE = new URL("..", import.meta.url);
const POLL_MS = 2000;

/** Indicate an answer that is no success; the message is for people. It may pass if it is of a server that ends. */
export class ApiError extends Error {
  constructor(message, mayPass) {
    super(message);
    this.mayPass = mayPass;
  }
}

async function ask(path, query, options) {
  const url = new URL(`api/${path}`, BASE);
  url.search = new URLSearchParams(query ?? {});
  const answer = await fetch(url, options);
  if (answer.ok) return answer;
  const failed = await answer.json().catch(() => ({}));
  throw new ApiError(failed.error ?? `${answer.status} ${answer.statusText}`, answer.status >= 500);
}

const post = (path, data) =>
  ask(path, {}, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data) });
const json = async (path, query, options) => (await ask(path, query, options)).json();
const text = async (path, query) => (await ask(path, query)).text();
const of = (id) => `runs/${encodeURIComponent(id)}`;

/** What pages are made of; `file_api.js` has the same functions for a document on its own. */
export const reader = {
  about: () => json("about"),
  runs: (query, signal) => json("runs", query, { signal }),
  facets: (query, signal) => json("facets", query, { signal }),
  run: (id, step) => json(of(id), step ? { step } : {}),
  rows: (id, from, to, signal) => json(`${of(id)}/rows`, { from, to }, { signal }),
  step: (id, number, signal) => json(`${of(id)}/steps/${number}`, {}, { signal }),
  find: (id, text, from) => json(`${of(id)}/find`, { text, from }),
  conversation: (id, step, from) => json(`${of(id)}/conversation`, { step, from }),
  /** Return the formats in which a step of a run can be copied. */
  formats: ({ head }) => ["json", "markdown", ...(head.command ? ["command"] : [])],
  copy: (id, format, step) => text(`${of(id)}/copy`, { format, step }),
  value: (id, step, path) => text(`${of(id)}/value`, { step, path }),
  media: async (id, digest) => (await ask(`${of(id)}/media/${encodeURIComponent(digest)}`)).blob(),
  score: (id, score) => post(`${of(id)}/scores`, score),
  sessions: (query) => json("sessions", query),
  session: (id) => json(`sessions/${encodeURIComponent(id)}`),
  compare: (a, b) => json("compare", { a, b }),
  metrics: (query) => json("metrics", query),

  /** Call `onLine` with each line of a search, until it is over or `signal` ends it. */
  async search(query, onLine, signal) {
    const stream = (await ask("search", query, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (let part; !(part = await stream.read()).done; ) {
      const lines = (rest + part.value).split("\n");
      rest = lines.pop();
      lines.filter(Boolean).forEach((line) => onLine(JSON.parse(line)));
    }
  },
};

/** Exchange the token in the fragment of the address for a cookie, and take it out of the address. */
export async function signIn() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token === null) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  await post("login", { token });
}

/**
 * Call `onEvent(type, data)` for each change that the server announces, and `onState(isLive)`. After "reset" anything
 * may have changed, since `changes` as `about` has them. One page of a browser keeps the stream and passes on what
 * comes; if it is closed, another one does.
 */
export function follow(onEvent, onState, changes) {
  if (!navigator.locks) return poll(onEvent, onState, changes);
  const name = `otel-agent-trace ${BASE}`, channel = new BroadcastChannel(name);
  let source, hasFollowed = false;
  const take = (type, data) => (type === "state" ? onState(data) : onEvent(type, data));
  const tell = (type, data) => {
    channel.postMessage({ type, data });
    take(type, data);
  };
  const tellState = () => tell("state", source?.readyState === EventSource.OPEN);
  channel.onmessage = ({ data: { type, data } }) => {
    if (type === "asked") return source && tellState();
    hasFollowed = true;
    take(type, data);
  };
  channel.postMessage({ type: "asked" });
  navigator.locks.request(name, () => new Promise(() => {
    source = new EventSource(new URL("api/events", BASE));
    for (const type of ["run", "runs", "reset"]) {
      source.addEventListener(type, ({ data }) => tell(type, JSON.parse(data)));
    }
    source.onerror = tellState;
    source.onopen = () => {
      tellState();
      if (hasFollowed) tell("reset", {}); // of what came while nobody had the stream
    };
  }));
}

/** Look now and then whether anything has changed, as pages do without a secure context, which have no locks. */
function poll(onEvent, onState, changes) {
  setInterval(async () => {
    if (document.hidden) return;
    const before = changes;
    changes = await reader.about().then((about) => about.changes, () => undefined);
    onState(changes !== undefined);
    if (changes !== undefined && changes !== before) onEvent("reset", {});
  }, POLL_MS);
}
