// Sessions: a list, and one session with its turns as one conversation.

import { fill, h, plural, statusMark, whenText } from "./h.js";
import { VirtualList } from "./list.js";

const SESSION_ROW_PIXELS = 28;

/** Show the sessions of the source, the newest first. */
export async function sessionsPage(root, route, app) {
  const { sessions } = await app.api.sessions(route.query);
  const address = (session) => `sessions/${encodeURIComponent(session.session_id)}`;
  const header = h("div", { class: "session-row head", role: "row" }, ["Session", "Ended", "Turns", "Failed", "Duration", "Tokens", "Cost"].map((word) => h("span", { role: "columnheader" }, word)));
  const list = new VirtualList({
    rowHeight: SESSION_ROW_PIXELS, role: "grid", label: "Sessions", header,
    draw: (index) => sessionRow(sessions[index], app.href(address(sessions[index]))), onOpen: (index) => app.go(address(sessions[index])),
  });
  document.title = "Sessions";
  fill(root, h("h1", { class: "unseen" }, "Sessions"), h("div", { class: "tools" }, h("span", { role: "status" }, plural(sessions.length, "session"))), list.element);
  list.setCount(sessions.length);
  list.select(0, { quietly: true });
  list.element.focus();
  return { close: () => list.close(), key: (event) => list.key(event) };
}

function sessionRow(session, href) {
  const cell = (...children) => h("span", { role: "gridcell" }, children);
  return h("div", { class: `session-row${session.failed ? " failed-row" : ""}` },
    h("span", { role: "gridcell", class: "cut" }, h("a", { href, tabindex: "-1" }, session.session_id), " ", h("span", { class: "faint" }, session.question ?? "")),
    cell(whenText(session.ended_at ?? session.started_at)), cell(String(session.turns)), h("span", { role: "gridcell", class: session.failed ? "error-text" : "" }, session.failed ? String(session.failed) : ""),
    cell(session.duration_text), cell(session.tokens_text), cell(session.cost_text));
}

/** Show one session: totals, and its turns in order; the first one that failed is in view. */
export async function sessionPage(root, route, app) {
  const id = route.path.slice(1).join("/"), { session, turns, first_failed: failed } = await app.api.session(id);
  document.title = `Session ${id}`;
  const articles = turns.map((turn, index) => turnView(turn, index, app, index === failed));
  const totals = [plural(turns.length, "turn"), session.failed && `${session.failed} failed`, session.duration_text, `${session.tokens_text} tokens`, session.cost_text !== "-" && session.cost_text];
  fill(root, h("header", { class: "run-head" }, h("h1", {}, "Session ", h("b", {}, id), " ", h("span", { class: "faint" }, totals.filter(Boolean).join(" · "))),
    failed !== null && h("button", { type: "button", class: "link error-text", onclick: () => show(failed) }, `Turn ${failed + 1} failed first`)),
  h("div", { class: "conversation scrolled", tabindex: "0", role: "feed", "aria-label": "Turns" }, articles));
  let current = failed ?? 0;
  const show = (index) => {
    if (!articles[index]) return;
    articles[current]?.removeAttribute("aria-current");
    current = index;
    articles[index].setAttribute("aria-current", "true");
    articles[index].scrollIntoView({ block: "nearest" });
  };
  show(current);
  const moves = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
  const key = (event) => {
    if (event.key in moves) show(Math.min(Math.max(current + moves[event.key], 0), turns.length - 1));
    else if (event.key === "Home") show(0);
    else if (event.key === "End") show(turns.length - 1);
    else if (event.key === "e") show(turns.findIndex((turn, index) => index > current && turn.error) >= 0 ? turns.findIndex((turn, index) => index > current && turn.error) : (failed ?? current));
    else if (event.key === "Enter" && turns[current]) app.go(`runs/${encodeURIComponent(turns[current].run_id)}`);
    else return false;
    return true;
  };
  return { close() {}, key };
}

function turnView(turn, index, app, isFirstFailed) {
  const spoken = (role, text, kind = "") => text && h("div", { class: `block ${role}` }, h("div", { class: "role" }, role), h("div", { class: `content prose plain ${kind}` }, text));
  return h("article", { class: `turn${turn.error ? " failed-row" : ""}`, "aria-posinset": index + 1, "data-run": turn.run_id },
    h("p", {}, statusMark(turn.status, true), " ", h("a", { href: app.href(`runs/${encodeURIComponent(turn.run_id)}`) }, `Turn ${index + 1}`), " ",
      h("span", { class: "faint" }, [turn.agent_name, turn.started_at && whenText(turn.started_at), turn.duration_text, plural(turn.steps ?? 0, "step")].filter(Boolean).join(" · ")), isFirstFailed && h("b", { class: "error-text" }, " first failed turn")),
    spoken("user", turn.question), spoken("assistant", turn.answer), spoken("error", turn.error, "error-text"));
}
