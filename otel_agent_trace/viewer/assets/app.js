// Start the page: the bar, the address, keys, the theme, and which module shows what.

import { button, fill, h } from "./h.js";
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
const THEMES = ["auto", "light", "dark"];
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
    this.announcer = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
    this.searchBox = h("input", {
      type: "search", id: "search", placeholder: "Search  /", "aria-label": "Search", "aria-keyshortcuts": "/",
      oninput: () => this.#search(), onkeydown: (event) => this.#searchKey(event),
    });
    this.liveDot = h("span", { class: "live", role: "img", "aria-label": "not live", title: "not live" }, "●");
  }

  async start() {
    for (const link of document.querySelectorAll("link")) link.setAttribute("href", link.href); // stays, whatever the address
    await signIn();
    this.about = await this.api.about();
    this.#theme(localStorage.getItem("theme") ?? "auto");
    document.body.append(this.#bar(), this.main, this.announcer, (this.help = this.#keysDialog()));
    addEventListener("popstate", () => this.#show());
    addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("click", (event) => this.#link(event));
    if (this.about.is_live) follow((type, data) => this.#announce(type, data), (isLive) => this.#live(isLive));
    await this.#show();
  }

  /** Go to an address within the page: `path` as `runs/ID`, with its query. */
  go(path, { replace = false } = {}) {
    const place = { scroll: this.page?.place?.() };
    history.replaceState(place, "");
    history[replace ? "replaceState" : "pushState"](null, "", BASE_PATH + path);
    return this.#show();
  }

  /** Change the query of the address without showing the page anew. */
  setQuery(query) {
    const words = query.toString();
    history.replaceState(history.state, "", location.pathname + (words ? `?${words}` : ""));
  }

  /** Return the address of a path within the page. */
  href(path) {
    return BASE_PATH + path;
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

  /** Return whether a page is still the one that is shown, for what comes later. */
  isShown(page) {
    return this.page === page;
  }

  async #show() {
    this.page?.close?.();
    this.page = undefined;
    const path = decodePath(location.pathname.slice(BASE_PATH.length)), query = new URLSearchParams(location.search);
    const name = path[0] === "sessions" && path.length > 1 ? "session" : path[0] === "runs" && path.length < 2 ? "" : path[0];
    const root = h("div", { class: `page ${name || "list"}` });
    fill(this.main, root);
    for (const link of document.querySelectorAll("nav a")) {
      const isHere = link.dataset.page === (name === "session" ? "sessions" : name === "runs" ? "" : name);
      link.toggleAttribute("data-here", isHere);
      isHere ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
    }
    this.searchBox.value = query.get("text") ?? "";
    const shown = (this.showing = {});
    try {
      if (!PAGES[name]) throw new Error(`There is no page ${location.pathname}`);
      const open = await PAGES[name]();
      if (this.showing !== shown) return;
      const page = await open(root, { path, query, state: history.state, isLeft: () => this.showing !== shown }, this);
      if (this.showing === shown) this.page = page;
      else page.close?.();
    } catch (error) {
      if (this.showing === shown) fill(root, failure(error));
    }
  }

  #bar() {
    const link = (path, page, word) => h("a", { href: this.href(path), "data-page": page }, word);
    this.themeButton = button("theme", () => this.#theme(THEMES[(THEMES.indexOf(this.theme) + 1) % THEMES.length]));
    this.#theme(this.theme);
    return h(
      "header", { class: "bar" },
      h("span", { class: "source", title: this.about.source }, this.about.source),
      h("nav", { "aria-label": "Pages" }, link("", "", "Runs"), link("sessions", "sessions", "Sessions"), link("metrics", "metrics", "Metrics")),
      this.searchBox, this.about.is_live && this.liveDot,
      button("?", () => this.help.showModal(), { "aria-label": "Keys", class: "quiet" }), this.themeButton,
    );
  }

  #keysDialog() {
    const rows = KEYS.map(([keys, what]) => h("tr", {}, h("td", {}, keys.split(" ").map((key) => [h("kbd", {}, key), " "])), h("td", {}, what)));
    const dialog = h("dialog", { class: "keys", "aria-label": "Keys" }, h("table", {}, h("tbody", {}, rows)), button("Close", () => dialog.close()));
    return dialog;
  }

  #theme(theme) {
    this.theme = THEMES.includes(theme) ? theme : "auto";
    localStorage.setItem("theme", this.theme);
    document.documentElement.dataset.theme = this.theme;
    if (this.themeButton) {
      this.themeButton.textContent = { auto: "◐", light: "○", dark: "●" }[this.theme];
      this.themeButton.title = `Theme: ${this.theme}`;
      this.themeButton.setAttribute("aria-label", `Theme: ${this.theme}`);
    }
  }

  #live(isLive) {
    const word = isLive ? "live" : "not live";
    this.liveDot.classList.toggle("on", isLive);
    this.liveDot.title = word;
    this.liveDot.setAttribute("aria-label", word);
  }

  #announce(type, data) {
    for (const listener of this.listeners) listener(type, data);
  }

  #search() {
    clearTimeout(this.searchTimer);
    this.searchTimer = setTimeout(() => {
      const text = this.searchBox.value;
      if (this.page?.search) this.page.search(text);
      else this.go(text ? `?${new URLSearchParams({ text })}` : "");
    }, 150);
  }

  #searchKey(event) {
    if (event.key === "Escape") {
      this.searchBox.value = "";
      this.#search();
    } else if (event.key === "Enter" && this.page?.findsNext) return void this.page.search(this.searchBox.value, true);
    else if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    (this.main.querySelector(".list") ?? this.main).focus();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
    if (event.defaultPrevented) return;
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
    else this.go("");
  }

  #link(event) {
    const link = event.target.closest("a[href]");
    if (!link || link.target || link.hasAttribute("download") || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const url = new URL(link.href);
    if (url.origin !== location.origin || !url.pathname.startsWith(BASE_PATH)) return;
    event.preventDefault();
    this.hasMoved = true;
    this.go(url.pathname.slice(BASE_PATH.length) + url.search);
  }
}

function decodePath(path) {
  return path.split("/").map(decodeURIComponent).filter((part, index) => part || index === 0);
}

function failure(error) {
  return h("p", { class: "failure", role: "alert" }, error.message);
}

new App().start().catch((error) => document.body.append(failure(error)));
