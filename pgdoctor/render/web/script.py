"""The page's only script: it brings the page up to date in place. The server allows it by its hash."""

#: Loads the same page and puts its main part into this one. What is open stays open, what is looked at stays where it
#: is; nothing is touched while somebody marks text, and nothing is asked for while the tab is hidden.
SCRIPT = """
"use strict";
(() => {
  const EVERY = 2000, PATIENCE = 5000;
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  const said = document.createElement("span");
  const button = document.createElement("button");
  let paused = false, timer = 0, request = null, last = new Date();

  button.type = "button";
  button.id = "pause";
  live.replaceChildren(said, button);

  const clock = (moment) => moment.toLocaleTimeString([], { hour12: false });

  function tell() {
    live.className = paused ? "paused" : "running";
    said.textContent = (paused ? "paused at " : stale.hidden ? "live, " : "as of ") + clock(last);
    button.textContent = paused ? "Go on" : "Pause";
  }

  function anchor() {
    if (scrollY === 0) return null;
    for (const each of main.querySelectorAll("[id]")) {
      const top = each.getBoundingClientRect().top;
      if (top >= 0) return { id: each.id, top };
    }
    return null;
  }

  function show(fresh) {
    const open = new Map();
    for (const each of main.querySelectorAll("details[id]")) open.set(each.id, each.open);
    const active = main.contains(document.activeElement) && document.activeElement;
    const focused = active && (active.id || active.closest("details[id]")?.id);
    const held = anchor();
    document.title = fresh.title;
    document.querySelector("link[rel=icon]").href = fresh.querySelector("link[rel=icon]").href;
    main.replaceChildren(...fresh.getElementById("main").childNodes);
    for (const [id, was] of open) {
      const now = document.getElementById(id);
      if (now) now.open = was;
    }
    const kept = held && document.getElementById(held.id);
    if (kept) scrollBy(0, kept.getBoundingClientRect().top - held.top);
    const focus = focused && document.getElementById(focused);
    if (focus) (focus.querySelector("summary") || focus).focus({ preventScroll: true });
  }

  function lost(why) {
    stale.textContent = `The agent does not answer (${why}): what you see is of ${clock(last)}.`;
    stale.hidden = false;
    document.body.className = "old";
  }

  function ended(act) {
    request = null;
    act();
    tell();
    plan();
  }

  function arrived(answer) {
    const fresh = answer.response;
    if (answer.status !== 200 || !fresh || !fresh.getElementById("main")) return lost(`status ${answer.status}`);
    last = new Date();
    stale.hidden = true;
    document.body.className = "";
    if (!paused && getSelection().isCollapsed) show(fresh);
  }

  function ask() {
    if (request) return;
    const asked = request = new XMLHttpRequest();
    asked.open("GET", location.href);
    asked.responseType = "document";
    asked.timeout = PATIENCE;
    asked.onload = () => ended(() => arrived(asked));
    asked.onerror = () => ended(() => lost("no connection"));
    asked.ontimeout = () => ended(() => lost("no answer in time"));
    asked.send();
  }

  function plan() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(ask, EVERY);
  }

  button.onclick = () => {
    paused = !paused;
    tell();
    if (!paused) ask();
    plan();
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden && !paused) ask();
  });
  tell();
  plan();
})();
"""
