"use strict";

// Keeps the page of a message that has not ended fresh: asks how far it is while somebody looks at it. What has changed
// is taken from the page itself, fetched once more: the bar alone, or everything when the message is in another state.
(function () {
  const page = document.querySelector(".dtq-message[data-source]");
  if (!page) {
    return;
  }
  const EVERY = 1000;
  const HOW_FAR = ".dtq-how-far";
  let known = null;
  let timer = null;
  let isAsking = false;
  let isOver = false;

  async function fetched(address) {
    const response = await fetch(address, { redirect: "manual", cache: "no-store" });
    if (response.type === "opaqueredirect" || response.status === 403 || response.status === 404) {
      isOver = true; // signed out, or nothing is left to look at
    }
    return response.ok ? response.text() : null;
  }

  async function ask() {
    const told = await fetched(page.dataset.source);
    if (told === null || told === known) {
      return;
    }
    const text = await fetched(window.location.href);
    if (text === null) {
      return;
    }
    show(new DOMParser().parseFromString(text, "text/html").querySelector(".dtq-message"), JSON.parse(told));
    known = told;
  }

  function show(fresh, told) {
    const bar = page.querySelector(HOW_FAR);
    const freshBar = fresh.querySelector(HOW_FAR);
    if (bar && freshBar && told.state === page.dataset.state) {
      bar.replaceChildren(...freshBar.childNodes);
    } else if (known !== null || told.state !== page.dataset.state || freshBar) {
      page.replaceChildren(...fresh.childNodes);
    }
    page.dataset.state = told.state;
    isOver = told.is_over;
  }

  async function refresh() {
    if (isAsking || isOver) {
      return;
    }
    isAsking = true;
    try {
      await ask();
    } catch {
      // The server is away for a moment; what is shown was true before.
    }
    isAsking = false;
    plan();
  }

  function plan() {
    window.clearTimeout(timer);
    if (!isOver && !document.hidden) {
      timer = window.setTimeout(refresh, EVERY);
    }
  }

  document.addEventListener("visibilitychange", function () {
    if (document.hidden) {
      window.clearTimeout(timer);
    } else {
      refresh();
    }
  });
  plan();
})();
