// Brings the page up to date in place: loads the same page and puts its main part into this one. Open parts
// stay open, and the scroll position stays. Nothing changes while text is selected; a hidden tab loads nothing.
"use strict";
(() => {
  const INTERVAL_MS = 2000;
  const TIMEOUT_MS = 5000;
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  const news = document.getElementById("news");
  const icon = document.querySelector("link[rel=icon]");
  const status = document.createElement("span");
  const button = document.createElement("button");
  let paused = false;
  let timer = 0;
  let request = null;
  let loadedAt = new Date();

  button.type = "button";
  button.id = "pause";
  live.replaceChildren(status, button);

  const formatTime = (moment) => moment.toLocaleTimeString([], { hour12: false });

  function showStatus() {
    live.className = paused ? "paused" : "running";
    status.textContent = (paused ? "paused at " : stale.hidden ? "live, " : "as of ") + formatTime(loadedAt);
    button.textContent = paused ? "Resume" : "Pause";
  }

  // The first element with an id below the upper edge of the window; null: the page is not scrolled.
  function findAnchor() {
    if (scrollY === 0) return null;
    for (const element of main.querySelectorAll("[id]")) {
      const top = element.getBoundingClientRect().top;
      if (top >= 0) return { id: element.id, top };
    }
    return null;
  }

  function replaceMain(fresh) {
    const wasOpen = new Map();
    for (const details of main.querySelectorAll("details[id]")) wasOpen.set(details.id, details.open);
    const active = main.contains(document.activeElement) && document.activeElement;
    const focusedId = active && (active.id || active.closest("details[id]")?.id);
    const anchor = findAnchor();
    main.replaceChildren(...fresh.getElementById("main").childNodes);
    for (const [id, open] of wasOpen) {
      const details = document.getElementById(id);
      if (details) details.open = open;
    }
    const anchored = anchor && document.getElementById(anchor.id);
    if (anchored) scrollBy(0, anchored.getBoundingClientRect().top - anchor.top);
    const focused = focusedId && document.getElementById(focusedId);
    if (focused) (focused.querySelector("summary") || focused).focus({ preventScroll: true });
  }

  function showLost(why) {
    stale.textContent = `The agent does not answer (${why}): this page shows the state of ${formatTime(loadedAt)}.`;
    stale.hidden = false;
    document.body.className = "old";
    document.title = "NO ANSWER · pgdoctor";
    icon.href = icon.href.replace(/fill='[^']*'/, "fill='%23d3302f'");
  }

  function showAnswer(answer) {
    const fresh = answer.response;
    if (answer.status !== 200 || !fresh || !fresh.getElementById("main")) return showLost(`status ${answer.status}`);
    loadedAt = new Date();
    stale.hidden = true;
    document.body.className = "";
    // A screen reader says it when it changes, and only then.
    if (document.title !== fresh.title) news.textContent = fresh.title;
    document.title = fresh.title;
    icon.href = fresh.querySelector("link[rel=icon]").href;
    if (!paused && getSelection().isCollapsed) replaceMain(fresh);
  }

  function finishRequest(show) {
    request = null;
    show();
    showStatus();
    scheduleLoad();
  }

  function loadPage() {
    if (request) return;
    const sent = new XMLHttpRequest();
    request = sent;
    sent.open("GET", location.href);
    sent.responseType = "document";
    sent.timeout = TIMEOUT_MS;
    sent.onload = () => finishRequest(() => showAnswer(sent));
    sent.onerror = () => finishRequest(() => showLost("no connection"));
    sent.ontimeout = () => finishRequest(() => showLost("no answer in time"));
    sent.send();
  }

  function scheduleLoad() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(loadPage, INTERVAL_MS);
  }

  // Copies by a selection: `navigator.clipboard` is missing where the page does not come over https.
  function copyText(pressed) {
    const source = document.getElementById(pressed.dataset.copy);
    if (!source) return;
    const selection = getSelection();
    selection.selectAllChildren(source);
    // Else the selection stays, to be copied by hand.
    if (document.execCommand("copy")) {
      selection.removeAllRanges();
      pressed.textContent = "Copied";
    } else {
      pressed.textContent = "Press Ctrl+C";
    }
  }

  document.documentElement.classList.add("scripted");
  main.addEventListener("click", (event) => {
    const pressed = event.target.closest("button.copy");
    if (pressed) copyText(pressed);
  });
  button.onclick = () => {
    paused = !paused;
    showStatus();
    if (!paused) loadPage();
    scheduleLoad();
  };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden && !paused) loadPage();
  });
  showStatus();
  scheduleLoad();
})();
