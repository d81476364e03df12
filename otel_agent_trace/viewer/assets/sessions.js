// Sessions: a list, and one session with its turns as one conversation.

import { button, facts, fill, h, headRow, keyOf, plural, statusMark, whenText } from "./h.js";
import { VirtualList } from "./list.js";

const SESSION_ROW_PIXELS = 28;
const SESSION_COLUMNS = ["Session", "Ended", "Turns", "Failed", "Duration", "Tokens", "Cost"];

/** Show the sessions of the source, the newest first. */
export async function sessionsPage(root, route, app) {
  const { sessions } = await app.api.sessions(route.query);
  const address = (index) => app.href("sessions", sessions[index].session_id);
  const list = new VirtualList({
    rowHeight: SESSION_ROW_PIXELS, role: "grid", label: "Sessions",
    header: headRow("div.session-row", SESSION_COLUMNS.map((word) => ["", word])),
    draw: (index) => sessionRow(sessions[index], address(index)), onOpen: (index) => app.go(address(index)),
  });
  document.title = "Sessions";
  const count = h("div.tools", h("span", { role: "status" }, plural(sessions.length, "session")));
  fill(root, h("h1.unseen", "Sessions"), count, list.element);
  list.setCount(sessions.length);
  list.select(0, { quietly: true });
  list.element.focus();
  return list;
}

function sessionRow(session, href) {
  const cell = (name, ...children) => h(`span${name}`, { role: "gridcell" }, children);
  return h(`div.session-row${session.failed ? ".failed-row" : ""}`,
    cell(".cut", h("a", { href, tabindex: "-1" }, session.session_id), "  ", h("span.faint", session.question)),
    cell("", whenText(session.ended_at ?? session.started_at)), cell("", String(session.turns)),
    cell(".error-text", session.failed > 0 && String(session.failed)),
    cell("", session.duration_text), cell("", session.tokens_text), cell("", session.cost_text));
}

/** Show one session: totals, and its turns in order; the first one that failed is in view. */
export async function sessionPage(root, route, app) {
  const id = route.path.slice(1).join("/"), { session, turns, first_failed: failed } = await app.api.session(id);
  document.title = `Session ${id}`;
  const articles = turns.map((turn, index) => turnView(turn, index, app, index === failed));
  const toFailed = failed !== null &&
    button(`Turn ${failed + 1} failed first`, () => show(failed), { class: "link error-text" });
  fill(root,
    h("header.run-head", h("h1", "Session ", h("b", id), " ", facts(
      plural(turns.length, "turn"), session.failed && `${session.failed} failed`, session.duration_text,
      `${session.tokens_text} tokens`, session.cost_text !== "-" && session.cost_text)), toFailed),
    h("div.conversation.scrolled", { tabindex: "0", role: "feed", "aria-label": "Turns" }, articles));
  let current = failed ?? 0;
  const show = (index) => {
    const shown = Math.min(Math.max(index, 0), turns.length - 1);
    articles[current]?.removeAttribute("aria-current");
    current = shown;
    articles[shown]?.setAttribute("aria-current", "true");
    articles[shown]?.scrollIntoView({ block: "nearest" });
  };
  const nextFailed = () => {
    const next = turns.findIndex((turn, index) => index > current && turn.error);
    return next >= 0 ? next : (failed ?? current);
  };
  const open = () => turns[current] && app.go(app.href("runs", turns[current].run_id));
  const next = () => show(current + 1), previous = () => show(current - 1);
  const keys = {
    j: next, ArrowDown: next, k: previous, ArrowUp: previous,
    Home: () => show(0), End: () => show(turns.length - 1), e: () => show(nextFailed()), Enter: open,
  };
  show(current);
  return { key: (event) => keyOf(keys, event) };
}

function turnView(turn, index, app, isFirstFailed) {
  const spoken = (role, text, kind = "") => text &&
    h(`div.block.${role}`, h("div.role", role), h(`div.content.prose.plain${kind}`, text));
  const about = facts(
    turn.agent_name, turn.started_at && whenText(turn.started_at), turn.duration_text,
    plural(turn.steps ?? 0, "step"));
  return h(`article.turn${turn.error ? ".failed-row" : ""}`, { "aria-posinset": index + 1, "data-run": turn.run_id },
    h("p", statusMark(turn.status, true), " ", h("a", { href: app.href("runs", turn.run_id) }, `Turn ${index + 1}`),
      " ", about, isFirstFailed && h("b.error-text", " first failed turn")),
    spoken("user", turn.question), spoken("assistant", turn.answer), spoken("error", turn.error, ".error-text"));
}
