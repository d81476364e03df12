// Ask the server, and follow what it announces: one stream for all pages of a browser, as it allows six connections a host.

const BASE = new URL("..", import.meta.url);
const POLL_MS = 2000;

/** Indicate an answer that is no success; the message is for people. */
export class ApiError extends Error {}

async function ask(path, query, options) {
  const url = new URL(`api/${path}`, BASE);
  url.search = new URLSearchParams(query ?? {});
  const answer = await fetch(url, options);
  if (answer.ok) return answer;
  const failed = await answer.json().catch(() => ({}));
  throw new ApiError(failed.error ?? `${answer.status} ${answer.statusText}`);
}

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
  copy: (id, format, step) => text(`${of(id)}/copy`, { format, step }),
  value: (id, step, path) => text(`${of(id)}/value`, { step, path }),
  media: async (id, digest) => (await ask(`${of(id)}/media/${encodeURIComponent(digest)}`)).blob(),
  score: (id, score) => json(`${of(id)}/scores`, {}, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(score) }),
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
  if (!token) return;
  history.replaceState(history.state, "", location.pathname + location.search);
  await ask("login", {}, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }) });
}

/** Call `onEvent(type, data)` for each change that the server announces, and `onState(isLive)`, until the returned function is called. */
export function follow(onEvent, onState) {
  if (!navigator.locks || !globalThis.BroadcastChannel) return poll(onEvent);
  const channel = new BroadcastChannel(`otel-agent-trace ${BASE}`), ended = new AbortController();
  channel.onmessage = ({ data }) => (data.type === "state" ? onState(data.data) : onEvent(data.type, data.data));
  const tell = (type, data) => {
    channel.postMessage({ type, data });
    channel.onmessage({ data: { type, data } });
  };
  navigator.locks.request(`otel-agent-trace ${BASE}`, { signal: ended.signal }, () => lead(tell, ended.signal)).catch(() => {});
  return () => {
    ended.abort();
    channel.close();
  };
}

/** Keep the stream of this browser, and pass on what comes, until `signal` ends it. */
function lead(tell, signal) {
  const source = new EventSource(new URL("api/events", BASE));
  for (const type of ["run", "runs"]) source.addEventListener(type, (event) => tell(type, JSON.parse(event.data)));
  source.onopen = () => tell("state", true);
  source.onerror = () => tell("state", false);
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => {
      source.close();
      resolve();
    }),
  );
}

/** Without a secure context there are no locks: look every two seconds. */
function poll(onEvent) {
  const timer = setInterval(() => onEvent("poll", {}), POLL_MS);
  return () => clearInterval(timer);
}
