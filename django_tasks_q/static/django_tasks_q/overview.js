"use strict";

// Keeps the overview fresh: asks for its data while somebody looks at it, and fills it in as text. Rows are reused where
// they stand, so that the keyboard's place is not lost.
(function () {
  const page = document.querySelector(".dtq-overview[data-source]");
  if (!page) {
    return;
  }
  const every = Number(page.dataset.refresh);
  const at = document.getElementById("dtq-at");
  const trouble = document.getElementById("dtq-trouble");
  let timer = null;
  let isAsking = false;
  let isOver = false;

  function each(element, selector, act) {
    if (element.matches(selector)) {
      act(element);
    }
    element.querySelectorAll(selector).forEach(act);
  }

  function setText(element, text) {
    if (element.textContent !== text) {
      element.textContent = text;
    }
  }

  function fill(element, row) {
    each(element, "[data-field]", function (cell) {
      setText(cell, row[cell.dataset.field] || "");
    });
    each(element, "[data-href]", function (link) {
      const address = row[link.dataset.href] || "";
      // Only pages of this site: the server makes no other addresses.
      if (address.startsWith("/") && !address.startsWith("//")) {
        link.setAttribute("href", address);
      } else {
        link.removeAttribute("href");
      }
    });
    each(element, "[data-from-level]", function (target) {
      target.dataset.level = row.level || "";
    });
    each(element, "[data-from-state]", function (target) {
      target.dataset.state = row.state || "";
    });
    each(element, "[data-from-id]", function (target) {
      target.dataset.card = row.id || "";
    });
  }

  function show(name, rows) {
    const list = page.querySelector('[data-list="' + name + '"]');
    const template = page.querySelector('template[data-row="' + name + '"]');
    const empty = page.querySelector('[data-empty="' + name + '"]');
    rows.forEach(function (row, index) {
      let element = list.children[index];
      if (!element) {
        element = template.content.firstElementChild.cloneNode(true);
        list.append(element);
      }
      fill(element, row);
    });
    while (list.children.length > rows.length) {
      list.lastElementChild.remove();
    }
    if (empty) {
      empty.hidden = rows.length > 0;
    }
  }

  async function ask() {
    const response = await fetch(page.dataset.source, {
      headers: { Accept: "application/json" },
      redirect: "manual",
    });
    if (response.type === "opaqueredirect" || response.status === 403) {
      isOver = true;
      trouble.textContent = page.dataset.textSignedOut;
      return;
    }
    if (!response.ok) {
      throw new Error(String(response.status));
    }
    const data = await response.json();
    ["warnings", "cards", "queues", "workers", "dead_letters", "running"].forEach(function (name) {
      show(name, data[name]);
    });
    setText(at, data.at);
    setText(trouble, "");
  }

  async function refresh() {
    if (isAsking || isOver) {
      return;
    }
    isAsking = true;
    try {
      await ask();
    } catch {
      setText(trouble, page.dataset.textStale + " " + at.textContent + ".");
    }
    isAsking = false;
    plan();
  }

  function plan() {
    window.clearTimeout(timer);
    if (!isOver && !document.hidden) {
      timer = window.setTimeout(refresh, every);
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
