"use strict";

// Carries a bulk operation on, one step after the other, and shows how far it is. Without this script the form's button
// does the same, one step a click.
(function () {
  const root = document.getElementById("dtq-bulk");
  const form = document.getElementById("dtq-step");
  if (!root || !form) {
    return;
  }
  const bar = document.getElementById("dtq-progress");
  const summary = document.getElementById("dtq-summary");
  const status = document.getElementById("dtq-status");
  const RETRY_AFTER = 5000;
  let isRunning = false;

  function show(progress) {
    bar.value = progress.percent;
    summary.textContent = progress.summary;
  }

  function say(name, detail) {
    status.textContent = root.dataset[name] + (detail ? " " + detail : "");
  }

  async function step() {
    const response = await fetch(form.action, {
      method: "POST",
      body: new FormData(form),
      headers: { Accept: "application/json" },
      redirect: "manual",
    });
    if (response.type === "opaqueredirect" || response.status === 403) {
      return { isOver: true, isSignedOut: true };
    }
    const answer = await response.json();
    if (!response.ok) {
      throw new Error(answer.error || "");
    }
    return { isOver: answer.finished, progress: answer };
  }

  async function run() {
    say("textRunning");
    for (;;) {
      let told;
      try {
        told = await step();
      } catch (error) {
        const isOfBrowser = error instanceof SyntaxError || error instanceof TypeError;
        say("textTrouble", isOfBrowser ? "" : error.message);
        window.setTimeout(run, RETRY_AFTER);
        return;
      }
      if (told.progress) {
        show(told.progress);
      }
      if (told.isOver) {
        say(told.isSignedOut ? "textSignedOut" : "textFinished");
        root.dataset.finished = told.isSignedOut ? "no" : "yes";
        form.hidden = !told.isSignedOut;
        return;
      }
      say("textRunning");
    }
  }

  function start() {
    if (!isRunning) {
      isRunning = true;
      form.hidden = true;
      run();
    }
  }

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    start();
  });
  if (root.dataset.autostart === "yes") {
    start();
  }
})();
