// The report of the runs that the filters select: figures with intervals, charts by hand, marks that lead to the runs.

import { countText, dollarsText, durationText, fill, h, minuteText, plural, select, svg } from "./h.js";

const METRIC_KEYS = ["agent", "model", "tool", "user", "session", "service", "version", "status"];
const LINKED = METRIC_KEYS.filter((key) => key !== "version"); // for which there is a filter
const HEIGHT = 70;

/** Show the report. */
export async function metricsPage(root, route, app) {
  document.title = "Metrics";
  const { report, texts } = await app.api.metrics(await withBucket(route.query, app));
  const to = (filters) => app.href(`?${new URLSearchParams({ ...filtersOf(route.query), ...filters })}`);
  const by = select("By", [["", "all runs"], ...METRIC_KEYS], route.query.get("by") ?? "", (key) => {
    const query = new URLSearchParams(route.query);
    key ? query.set("by", key) : query.delete("by");
    app.go(app.href(`metrics?${query}`), { replace: true });
  });
  const weights = `stand for about ${countText(report.runs)}; figures weigh each run by 1 / its probability.`;
  const sample = report.sample &&
    h("p.notice", `A sample: ${plural(report.sample.runs, "run")} were read, and ${weights}`);
  const body = [sample, figures(report), series(report.series ?? [], to), tables(report, texts, to)];
  fill(root, h("h1.unseen", "Metrics"),
    h("div.tools", h("label", "By ", by), h("a", { href: to({}) }, "Show the runs")),
    h("div.report", { tabindex: "0", role: "region", "aria-label": "Report" }, body));
  return {};
}

/** Return the query with a width of buckets, that of the histogram of the same runs, unless it has one. */
async function withBucket(query, app) {
  if (query.has("bucket")) return query;
  const facets = await app.api.facets(filtersOf(query)).catch(() => ({})), [first] = facets.histogram ?? [];
  const seconds = first ? Math.round((Number(first.end_ns) - Number(first.start_ns)) / 1e9) : 0;
  return seconds ? new URLSearchParams([...query, ["bucket", `${seconds}s`]]) : query;
}

function filtersOf(query) {
  const { by, bucket, ...filters } = Object.fromEntries(query);
  return filters;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

/** Return a figure, with the interval in which the true one is. */
function figure(value, text, bounds) {
  const known = (number) => (number === null || number === undefined ? "unknown" : text(number));
  const isKnown = bounds?.some((bound) => bound !== null);
  return [known(value), isKnown && h("small.faint", ` ${known(bounds[0])} to ${known(bounds[1])}`)];
}

function figures(report) {
  const { latency = {}, cost = {}, tokens = {} } = report;
  const rows = [
    ["Runs", countText(report.runs)],
    ["Success", figure(report.success_rate, percent, report.success_interval)],
    ["Median", durationText(latency.p50_s)],
    ["95 % within", figure(latency.p95_s, durationText, latency.p95_interval_s)],
    ["99 % within", durationText(latency.p99_s)],
    ["Tokens", countText(tokens.total_tokens)],
    ["Cost", figure(cost.total_usd, dollarsText, cost.total_interval_usd)],
    ["Note", report.too_few && "too few runs for a firm statement"],
  ];
  const known = rows.filter(([, value]) => value);
  return h("dl.figures", known.map(([word, value]) => h("div", h("dt", word), h("dd", value))));
}

/** Draw runs and errors, the 95th percentile, tokens and cost of each stretch of time; each mark opens its runs. */
function series(buckets, to) {
  if (buckets.length < 2) return null;
  const start = (bucket) => bucket.start ?? bucket.started_at;
  const stretches = buckets.map((bucket, index) => ({
    bucket, start: start(bucket),
    href: to({ since: start(bucket), ...(buckets[index + 1] && { until: start(buckets[index + 1]) }) }),
  }));
  const charts = [
    ["Runs (errors marked)", countText, (bucket) => bucket.runs, (bucket) => bucket.errors],
    ["95 % within", durationText, (bucket) => bucket.latency?.p95_s],
    ["Tokens", countText, (bucket) => bucket.tokens?.total_tokens],
    ["Cost", dollarsText, (bucket) => bucket.cost_usd],
  ];
  return h("div.charts", charts.map((each) => chart(stretches, ...each)));
}

function chart(stretches, title, text, value, bad = () => 0) {
  const most = Math.max(...stretches.map(({ bucket }) => value(bucket) ?? 0));
  if (!most) return null;
  const bar = (name, index, count) => {
    const height = (HEIGHT * count) / most;
    return svg(name, { x: index + 0.1, y: HEIGHT - height, width: 0.8, height });
  };
  const marks = stretches.map(({ bucket, start, href }, index) => {
    if (typeof value(bucket) !== "number") return null;
    const words = text(value(bucket));
    return svg("a", { href, "aria-label": `${start}: ${words}` },
      svg("title", `${minuteText(start)}: ${words}`),
      svg("rect.hit", { x: index, y: 0, width: 1, height: HEIGHT }),
      bar("rect.value", index, value(bucket)), bad(bucket) > 0 && bar("rect.bad", index, bad(bucket)));
  });
  const labels = (...words) => h("span.labels", words.map((word) => h("span", word)));
  return h("figure", h("figcaption", title), labels(text(most), "0"),
    svg("svg", {
      viewBox: `0 0 ${stretches.length} ${HEIGHT}`, preserveAspectRatio: "none", role: "group", "aria-label": title,
    }, marks),
    labels(minuteText(stretches[0].start), minuteText(stretches.at(-1).start)));
}

function tables(report, texts, to) {
  const link = (filters, words) => h("a", { href: to(filters) }, words);
  const counts = (title, found) =>
    section(title, Object.entries(found ?? {}).map(([name, count]) => [name, countText(count)]));
  const messageOf = ({ type, message }) => {
    const text = searchedPart(message), words = `${type}: ${message}`;
    return text ? link({ text }, words) : words;
  };
  return h("div.tables",
    Object.entries(report.by ?? {}).map(([key, groups]) => table(`By ${key}`, groups, key, to, "runs")),
    table("Tools", report.tools, "tool", to, "calls"), table("Models", report.models, "model", to, "calls"),
    !report.by?.agent && table("Agents", report.agents, "agent", to, "runs"),
    counts("Errors of runs", report.run_errors),
    counts("Errors of steps", report.step_errors),
    section("Messages", (report.error_messages ?? []).map((each) => [messageOf(each), countText(each.count)])),
    section("Scores", Object.entries(report.scores ?? {}).map(([name, score]) =>
      [link({ score: name }, name), scoreFigures(score), countText(score.count)])),
    (texts?.notes ?? []).map((note) => h("p.faint", note)));
}

/** Return the longest part of a message of which ids and long numbers are `#` and the end may be `…`. */
function searchedPart(message) {
  const parts = message.split(/[#…]/).map((part) => part.trim());
  return parts.reduce((longest, part) => (part.length > longest.length ? part : longest));
}

/** Return the share of true scores, the mean of numbers, or both, with their intervals. */
function scoreFigures({ true_rate: share, true_interval, mean, mean_interval }) {
  const number = (value) => String(Number(value.toPrecision(4))), parts = [];
  if (typeof share === "number") parts.push("true ", figure(share, percent, true_interval));
  if (typeof mean === "number") parts.push(parts.length ? ", mean " : "mean ", figure(mean, number, mean_interval));
  return parts.length ? parts : "-";
}

/** Return a table with a title; nothing without rows. */
function section(title, rows, columns) {
  const head = columns && h("thead", h("tr", columns.map((word) => h("th", { scope: "col" }, word))));
  const lines = rows.map(([name, ...cells]) =>
    h("tr", h("th", { scope: "row" }, name), cells.map((cell) => h("td", cell))));
  return rows.length > 0 && h("section", h("h2", title), h("table", head, h("tbody", lines)));
}

/** Return a table of tools, models, agents or groups, each row with a bar and a link to its runs. */
function table(title, items, filter, to, counted) {
  const most = Math.max(...Object.values(items ?? {}).map((item) => item[counted] ?? 0), 1);
  const rows = Object.entries(items ?? {}).map(([name, item]) => {
    const count = item[counted], latency = item.latency ?? item;
    const failed = item.error_rate ?? (typeof item.success_rate === "number" ? 1 - item.success_rate : null);
    const bar = svg("svg.in-row", { viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect.value", { x: 0, y: 0, height: 8, width: (100 * (count ?? 0)) / most }));
    return [
      LINKED.includes(filter) && count ? h("a", { href: to({ [filter]: name }) }, name || "(none)") : name,
      [bar, countText(count)], failed === null ? "-" : figure(failed, percent, item.error_rate_interval),
      durationText(latency.p50_s), durationText(latency.p95_s), countText(item.tokens?.total_tokens),
      dollarsText(item.cost_usd),
    ];
  });
  return section(title, rows, [filter, counted, "failed", "p50", "p95", "tokens", "cost"]);
}
