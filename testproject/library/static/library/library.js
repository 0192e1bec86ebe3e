// While the workers are busy: fetch the page again every second and replace the part that shows their work.

const live = () => document.getElementById("live");

async function update() {
  const response = await fetch(location.href);
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  live().replaceWith(page.getElementById("live"));
}

async function watch() {
  while (live().dataset.busy) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    await update().catch(() => {}); // the server may be restarting: try again
  }
}

watch();
