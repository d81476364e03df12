// Start the page: the bar, the address, keys, the theme, and which module shows what.

import { button, fill, h, themeButton } from "./h.js";
import { follow, reader, signIn } from "./api.js";

const BASE_PATH = new URL("..", import.meta.url).pathname;
// loaded when they are first shown
const PAGES = {
  "": async () => (await import("./runs.js")).runsPage,
  runs: async () => (await import("./run.js")).runPage,
  sessions: async () => (await import("./sessions.js")).sessionsPage,
  session: async () => (await import("./sessions.js")).sessionPage,
  compare: async () => (await import("./compare.js")).comparePage,
  metrics: async () => (await import("./metrics.js")).metricsPage,
};
const KEYS = [
  ["/", "Search"], ["j k ↓ ↑", "Next and previous row"], ["Home End", "First and last row"], ["Enter", "Open"],
  ["Esc", "Back"], ["x", "Mark a run to compare"], ["e", "Next error"], ["n p", "Next and previous difference"],
  ["← →", "Fold and unfold"], ["?", "These keys"],
];

class App {
  constructor() {
    this.api = reader;
    this.listeners = new Set();
    this.main = h("main", { id: "main", tabindex: "-1" });
    this.announcer = h("div.unseen", { role: "status", "aria-live": "polite" });
    this.searchBox = h("input", {
      type: "search", id: "search", placeholder: "Search  /", "aria-label": "Search", "aria-keyshortcuts": "/",
      oninput: () => this.#search(), onkeydown: (event) => this.#searchKey(event),
    });
    this.liveDot = h("span.live", { role: "img", "aria-label": "not live", title: "not live" }, "●");
  }

  async start() {
    // whatever the address becomes later
    for (const link of document.querySelectorAll("link")) link.setAttribute("href", link.href);
    addEventListener("hashchange", () => location.reload()); // an address with a token, opened where the page is shown
    await signIn();
    const { is_live: isLive, changes } = (this.about = await this.api.about());
    document.body.append(this.#bar(), this.main, this.announcer, (this.help = this.#keysDialog()));
    addEventListener("popstate", () => this.#show());
    addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("click", (event) => this.#link(event));
    if (isLive) follow((type, data) => this.#announce(type, data), (isOpen) => this.#live(isOpen), changes);
    await this.#show();
  }

  /** Go to an address that `href` returned, with its query. */
  go(address, { replace = false } = {}) {
    this.hasMoved ||= !replace;
    history.replaceState({ scroll: this.page?.place?.() }, "");
    history[replace ? "replaceState" : "pushState"](null, "", address);
    return this.#show();
  }

  /** Change the query of the address without showing the page anew. */
  setQuery(query) {
    const words = query.toString();
    history.replaceState(history.state, "", location.pathname + (words ? `?${words}` : ""));
  }

  /** Return the address of a path within the page, with an id behind it. */
  href(path, id) {
    return BASE_PATH + (id === undefined ? path : `${path}/${encodeURIComponent(id)}`);
  }

  /** Call a function with the type and data of each announcement of the server; return one that ends it. */
  live(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Let readers of screens know. */
  announce(text) {
    this.announcer.textContent = text;
  }

  async #show() {
    this.page?.close?.();
    this.page = undefined;
    const path = decodePath(location.pathname.slice(BASE_PATH.length)), query = new URLSearchParams(location.search);
    const isOne = path.length > 1, names = { sessions: isOne ? "session" : "sessions", runs: isOne ? "runs" : "" };
    const name = names[path[0]] ?? path[0];
    const here = { session: "sessions", runs: "" }[name] ?? name;
    const root = h("div", { class: `page ${name || "list"}` });
    fill(this.main, root);
    for (const link of document.querySelectorAll("nav a")) {
      link.dataset.page === here ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    this.searchBox.value = query.get("text") ?? "";
    const shown = (this.showing = {});
    this.mayPass = false;
    try {
      if (!PAGES[name]) throw new Error(`There is no page ${location.pathname}`);
      const open = await PAGES[name]();
      if (this.showing !== shown) return;
      const page = await open(root, { path, query, state: history.state, isLeft: () => this.showing !== shown }, this);
      if (this.showing === shown) this.page = page;
      else page.close?.();
    } catch (error) {
      if (this.showing !== shown) return;
      this.mayPass = error.mayPass ?? error instanceof TypeError; // which stands for a server that is not there
      fill(root, failure(error));
    }
  }

  #bar() {
    const link = (page, word) => h("a", { href: this.href(page), "data-page": page }, word);
    const links = [link("", "Runs"), link("sessions", "Sessions"), link("metrics", "Metrics")];
    return h("header.bar",
      h("span.source", { title: this.about.source }, this.about.source), h("nav", { "aria-label": "Pages" }, links),
      this.searchBox, this.about.is_live && this.liveDot,
      button("?", () => this.help.showModal(), { "aria-label": "Keys" }), themeButton(localStorage));
  }

  #keysDialog() {
    const shown = (keys) => keys.split(" ").map((key) => [h("kbd", key), " "]);
    const rows = KEYS.map(([keys, what]) => h("tr", h("td", shown(keys)), h("td", what)));
    const close = button("Close", () => this.help.close());
    return h("dialog.keys", { "aria-label": "Keys" }, h("table", h("tbody", rows)), close);
  }

  #live(isLive) {
    this.liveDot.classList.toggle("on", isLive);
    this.liveDot.title = this.liveDot.ariaLabel = isLive ? "live" : "not live";
  }

  #announce(type, data) {
    if (type === "reset" && this.mayPass) return void this.#show();
    for (const listener of this.listeners) listener(type, data);
  }

  #search() {
    clearTimeout(this.searchTimer);
    this.searchTimer = setTimeout(() => {
      const text = this.searchBox.value;
      if (this.page?.search) this.page.search(text);
      else this.go(this.href(text ? `?${new URLSearchParams({ text })}` : ""));
    }, 150);
  }

  #searchKey(event) {
    if (event.key === "Escape") {
      this.searchBox.value = "";
      this.#search();
    } else if (event.key === "Enter" && this.page?.findsNext) return void this.page.search(this.searchBox.value, true);
    else if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    (this.main.querySelector(".list[tabindex]") ?? this.main).focus();
  }

  #key(event) {
    const isOfPage = !event.defaultPrevented && !event.target.closest("input, textarea, select, dialog");
    if (!isOfPage || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.page?.key?.(event)) event.preventDefault();
    else if (event.key === "/") {
      event.preventDefault();
      this.searchBox.focus();
      this.searchBox.select();
    } else if (event.key === "?") this.help.showModal();
    else if (event.key === "Escape" && location.pathname !== BASE_PATH) this.#back();
  }

  #back() {
    if (history.length > 1 && this.hasMoved) history.back();
    else this.go(this.href(""));
  }

  #link(event) {
    const link = event.target.closest("a[href]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const url = new URL(link.getAttribute("href"), location); // the property of a link in a picture is no text
    if (url.origin !== location.origin || !url.pathname.startsWith(BASE_PATH)) return;
    event.preventDefault();
    this.go(url.pathname + url.search);
  }
}

function decodePath(path) {
  return path.split("/").map(decodeURIComponent).filter((part, index) => part || index === 0);
}

function failure(error) {
  return h("p.failure", { role: "alert" }, error.message);
}

new App().start().catch((error) => document.body.append(failure(error)));
