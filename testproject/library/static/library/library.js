// Ask how far the work is; when something has changed, fetch the page again and replace the part that shows the work.

const BUSY = 700; // milliseconds between two questions
const IDLE = 2500; // somebody may requeue a message in the admin

async function ask(live) {
  const answer = await fetch(live.dataset.progress, { cache: "no-store" });
  if (!answer.ok) return IDLE;
  const { version, busy } = await answer.json();
  if (version !== live.dataset.version) await refresh(live);
  await Promise.all(Array.from(live.querySelectorAll("[data-follow]"), follow));
  return busy ? BUSY : IDLE;
}

// The bars of single messages move by what the engine itself says of them.
async function follow(bar) {
  const answer = await fetch(bar.dataset.follow, { cache: "no-store" });
  const { progress } = answer.ok ? await answer.json() : {};
  if (!progress?.total) return;
  bar.max = progress.total;
  bar.value = progress.done;
}

async function refresh(live) {
  const answer = await fetch(location.href, { cache: "no-store" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.getElementById("live");
  const focused = document.activeElement?.id;
  live.replaceChildren(...fresh.childNodes);
  live.dataset.version = fresh.dataset.version;
  if (focused) document.getElementById(focused)?.focus();
}

async function watch(live) {
  for (;;) {
    const pause = document.hidden ? IDLE : await ask(live).catch(() => IDLE); // the server may be restarting
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

const live = document.getElementById("live");
if (live) watch(live);
