// The report of the runs that the filters select: figures with intervals, charts drawn by hand, marks that lead to the runs.

import { countText, dollarsText, durationText, fill, h, plural, svg } from "./h.js";

const METRIC_KEYS = ["", "agent", "model", "tool", "user", "session", "service", "version", "status"];
const WIDTH = 640, HEIGHT = 160, LEFT = 68, BOTTOM = 22;

/** Show the report. */
export async function metricsPage(root, route, app) {
  document.title = "Metrics";
  const { report, texts } = await app.api.metrics(await withBucket(route.query, app)), to = (filters) => app.href(`?${new URLSearchParams({ ...filtersOf(route.query), ...filters })}`);
  const by = h("select", { "aria-label": "By", onchange: () => {
    const query = new URLSearchParams(route.query);
    by.value ? query.set("by", by.value) : query.delete("by");
    app.go(`metrics?${query}`, { replace: true });
  } }, METRIC_KEYS.map((key) => h("option", { value: key, selected: key === (route.query.get("by") ?? "") }, key || "all runs")));
  const sample = report.sample && h("p", { class: "notice" }, `A sample: ${plural(report.sample.runs, "run")} were read, and stand for about ${countText(report.runs)}; figures weigh each run by 1 / its probability.`);
  fill(root, h("h1", { class: "unseen" }, "Metrics"), h("div", { class: "tools" }, h("label", {}, "By ", by), h("a", { href: to({}) }, "Show the runs")), h("div", { class: "report", tabindex: "0", role: "region", "aria-label": "Report" }, sample, figures(report), series(report.series ?? [], to), tables(report, texts, to)));
  return { close() {}, key: () => false };
}

/** Return the query with a width of buckets, that of the histogram of the same runs, unless it has one. */
async function withBucket(query, app) {
  if (query.has("bucket")) return query;
  const facets = await app.api.facets(filtersOf(query)).catch(() => ({})), [first] = facets.histogram ?? [];
  const seconds = first ? Math.round((Number(first.end_ns) - Number(first.start_ns)) / 1e9) : 0;
  return seconds ? new URLSearchParams([...query, ["bucket", `${seconds}s`]]) : query;
}

function filtersOf(query) {
  const filters = Object.fromEntries(query);
  delete filters.by;
  delete filters.bucket;
  return filters;
}

function percent(share) {
  return share === null || share === undefined ? "unknown" : `${(100 * share).toFixed(1)} %`;
}

function interval(bounds, text) {
  return bounds && (bounds[0] !== null || bounds[1] !== null) ? h("small", { class: "faint" }, ` ${bounds[0] === null ? "unknown" : text(bounds[0])} to ${bounds[1] === null ? "unknown" : text(bounds[1])}`) : null;
}

function figures(report) {
  const latency = report.latency ?? {}, cost = report.cost ?? {}, tokens = report.tokens ?? {};
  const rows = [
    ["Runs", countText(report.runs)], ["Success", [percent(report.success_rate), interval(report.success_interval, percent)]],
    ["Median", durationText(latency.p50_s)], ["95 % within", [durationText(latency.p95_s), interval(latency.p95_interval_s, durationText)]], ["99 % within", durationText(latency.p99_s)],
    ["Tokens", countText(tokens.total_tokens)], ["Cost", [dollarsText(cost.total_usd), interval(cost.total_interval_usd, dollarsText)]],
  ];
  return h("dl", { class: "figures" }, rows.map(([word, value]) => h("div", {}, h("dt", {}, word), h("dd", {}, value))), report.too_few && h("div", {}, h("dt", {}, "Note"), h("dd", {}, "too few runs for a firm statement")));
}

/** Draw runs and errors, the 95th percentile, tokens and cost of each stretch of time; each mark opens its runs. */
function series(buckets, to) {
  if (buckets.length < 2) return null;
  const window = (bucket, index) => to({ since: bucket.start ?? bucket.started_at, ...(buckets[index + 1] ? { until: buckets[index + 1].start ?? buckets[index + 1].started_at } : {}) });
  const charts = [
    ["Runs (errors marked)", (bucket) => bucket.runs, countText, (bucket) => bucket.errors], ["95 % within", (bucket) => bucket.latency?.p95_s, durationText],
    ["Tokens", (bucket) => bucket.tokens?.total_tokens, countText], ["Cost", (bucket) => bucket.cost_usd, dollarsText],
  ];
  return h("div", { class: "charts" }, charts.map(([title, value, text, bad]) => chart(title, buckets, value, text, window, bad)));
}

function chart(title, buckets, value, text, href, bad) {
  const values = buckets.map((bucket) => (typeof value(bucket) === "number" ? value(bucket) : null)), most = Math.max(...values.map((each) => each ?? 0));
  if (!most) return null;
  const step = (WIDTH - LEFT) / buckets.length, scale = (each) => ((HEIGHT - BOTTOM) * each) / most;
  const marks = values.map((each, index) => each !== null && svg("a", { href: href(buckets[index], index), "aria-label": `${buckets[index].start ?? ""}: ${text(each)}` },
    svg("title", {}, `${new Date(buckets[index].start ?? 0).toLocaleString()}: ${text(each)}`), svg("rect", { class: "hit", x: LEFT + index * step, y: 0, width: step, height: HEIGHT - BOTTOM }),
    svg("rect", { class: "value", x: LEFT + index * step + step * 0.1, y: HEIGHT - BOTTOM - scale(each), width: Math.max(step * 0.8, 1), height: scale(each) }),
    bad && bad(buckets[index]) > 0 && svg("rect", { class: "bad", x: LEFT + index * step + step * 0.1, y: HEIGHT - BOTTOM - scale(bad(buckets[index])), width: Math.max(step * 0.8, 1), height: scale(bad(buckets[index])) })));
  const label = (y, words, anchor = "end", x = LEFT - 4) => svg("text", { x, y, "text-anchor": anchor }, words);
  const day = (bucket) => (bucket?.start ? new Date(bucket.start).toLocaleString(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }) : "");
  return h("figure", {}, h("figcaption", {}, title), svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": title }, svg("line", { x1: LEFT, x2: WIDTH, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }), label(14, text(most)), label(HEIGHT - BOTTOM, "0"), label(HEIGHT - 4, day(buckets[0]), "start", LEFT), label(HEIGHT - 4, day(buckets.at(-1)), "end", WIDTH), marks));
}

function tables(report, texts, to) {
  const made = [table("Tools", report.tools, "tool", to, "calls"), table("Models", report.models, "model", to, "calls"), !report.by?.agent && table("Agents", report.agents, "agent", to, "runs")];
  const by = Object.entries(report.by ?? {}).map(([key, groups]) => table(`By ${key}`, groups, key, to, "runs"));
  const errors = [["Errors of runs", report.run_errors], ["Errors of steps", report.step_errors]].map(([title, counts]) => Object.keys(counts ?? {}).length > 0 && simple(title, Object.entries(counts), title === "Errors of runs" ? () => to({ status: "error" }) : () => to({ tool_error: "*" })));
  const messages = (report.error_messages ?? []).length > 0 && simple("Messages", report.error_messages.map((each) => [`${each.type}: ${each.message}`, each.count, each.message]), (message) => to({ text: message }));
  const scores = report.scores && Object.keys(report.scores).length > 0 && h("section", {}, h("h2", {}, "Scores"), h("table", {}, h("tbody", {}, Object.entries(report.scores).map(([name, score]) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: to({ score: name }) }, name)), h("td", {}, `mean ${score.mean ?? "-"}`), h("td", {}, score.count ?? ""))))));
  return h("div", { class: "tables" }, by, made, errors, messages, scores, (texts?.notes ?? []).map((note) => h("p", { class: "faint" }, note)));
}

/** Return a table of counts, of which each leads to runs; a row may have other words for that than its name. */
function simple(title, rows, href) {
  return h("section", {}, h("h2", {}, title), h("table", {}, h("tbody", {}, rows.map(([name, count, words]) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: href(words ?? name) }, name)), h("td", {}, countText(count)))))));
}

/** Return a table of tools, models, agents or groups, each row with a bar and a link to its runs. */
function table(title, items, filter, to, counted) {
  const rows = Object.entries(items ?? {});
  if (!rows.length) return null;
  const most = Math.max(...rows.map(([, item]) => item[counted] ?? 0), 1), failed = (item) => item.error_rate ?? (item.success_rate === null || item.success_rate === undefined ? null : 1 - item.success_rate);
  const linked = ["agent", "model", "tool", "user", "session", "service", "status"].includes(filter);
  const line = ([name, item]) => h("tr", {}, h("th", { scope: "row" }, linked && item[counted] ? h("a", { href: to({ [filter]: name }) }, name || "(none)") : name),
    h("td", {}, svg("svg", { class: "in-row", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { class: "value", x: 0, y: 0, height: 8, width: (100 * (item[counted] ?? 0)) / most })), countText(item[counted])),
    h("td", {}, failed(item) === null ? "-" : [percent(failed(item)), interval(item.error_rate_interval, percent)]), h("td", {}, durationText((item.latency ?? item).p50_s)), h("td", {}, durationText((item.latency ?? item).p95_s)), h("td", {}, countText(item.tokens?.total_tokens)), h("td", {}, dollarsText(item.cost_usd)));
  return h("section", {}, h("h2", {}, title), h("table", {}, h("thead", {}, h("tr", {}, [filter, counted, "failed", "p50", "p95", "tokens", "cost"].map((word) => h("th", { scope: "col" }, word)))), h("tbody", {}, rows.map(line))));
}
