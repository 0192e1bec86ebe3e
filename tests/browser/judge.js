// What a strict judge of accessibility finds on the page that he looks at. Evaluated as one expression, a list of functions.
({
  // Names of whatever people use or hear of: controls, links, buttons, pictures.
  names() {
    const found = [];
    const text = (element) => (element ? element.textContent.trim() : "");
    const labelled = (element) =>
      element.getAttribute("aria-label")?.trim() ||
      (element.getAttribute("aria-labelledby") || "").split(/\s+/).some((id) => text(document.getElementById(id)));
    const pictured = (element) => [...element.querySelectorAll("img[alt], svg title")].some((one) => one.alt || text(one));
    const tell = (element, what) => found.push(`${what}: ${element.outerHTML.slice(0, 160)}`);

    for (const one of document.querySelectorAll("input, select, textarea, progress")) {
      if (["hidden", "submit", "button"].includes(one.type)) {
        continue;
      }
      if (!labelled(one) && ![...(one.labels || [])].some((label) => text(label) || pictured(label))) {
        tell(one, "no label");
      }
    }
    for (const one of document.querySelectorAll("a[href], button, summary")) {
      if (!text(one) && !labelled(one) && !pictured(one)) {
        tell(one, "no name");
      }
    }
    for (const one of document.querySelectorAll("img:not([alt])")) {
      tell(one, "no alternative text");
    }
    return found;
  },

  // Order: one first heading, no level left out, no id twice, a language, a landmark.
  structure() {
    const found = [];
    const levels = [...document.querySelectorAll("#content h1, #content h2, #content h3, main h1, main h2, main h3")];
    let last = 0;
    for (const level of new Set(levels)) {
      const depth = Number(level.tagName[1]);
      if (depth > last + 1) {
        found.push(`a level of headings is left out before: ${level.outerHTML.slice(0, 120)}`);
      }
      last = depth;
    }
    if (document.querySelectorAll("main h1").length !== 1) {
      found.push(`first headings: ${document.querySelectorAll("main h1").length}`);
    }
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    const twice = ids.filter((id, index) => ids.indexOf(id) !== index);
    found.push(...new Set(twice.map((id) => `an id is there twice: ${id}`)));
    if (!document.documentElement.lang) {
      found.push("no language");
    }
    return found;
  },

  // Whatever is wider than the window, so that the whole page scrolls sideways.
  width() {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) {
      return [];
    }
    const wide = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > width + 1);
    return wide.slice(0, 3).map((one) => `${one.getBoundingClientRect().right} px: ${one.outerHTML.slice(0, 120)}`);
  },

  // Text of ours that has too little contrast with what is behind it (4.5, large text 3).
  contrast() {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
      return [red, green, blue, alpha / 255];
    };
    const luminance = (colour) => {
      const [red, green, blue] = colour.map((part) => {
        const share = part / 255;
        return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const behind = (element) => {
      for (let one = element; one; one = one.parentElement) {
        const [red, green, blue, alpha] = rgba(getComputedStyle(one).backgroundColor);
        if (alpha > 0.99) {
          return [red, green, blue];
        }
      }
      return [255, 255, 255];
    };
    const found = new Set();
    for (const one of document.querySelectorAll("main [class*='dtq'], main [class*='dtq'] *")) {
      const hasText = [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!hasText || !one.checkVisibility()) {
        continue;
      }
      const style = getComputedStyle(one);
      const [light, dark] = [luminance(rgba(style.color).slice(0, 3)), luminance(behind(one))].sort((a, b) => b - a);
      const ratio = (light + 0.05) / (dark + 0.05);
      const size = parseFloat(style.fontSize);
      if (ratio < (size >= 24 || (size >= 18.5 && style.fontWeight >= 600) ? 3 : 4.5)) {
        found.add(`${ratio.toFixed(2)}: ${style.color} ${one.outerHTML.slice(0, 100)}`);
      }
    }
    return [...found];
  },

  // Whether whoever has the keyboard sees where it is; null where it is nowhere.
  focus() {
    const one = document.activeElement;
    if (!one || one === document.body) {
      return null;
    }
    const look = () => {
      const parts = [one, ...one.querySelectorAll("*")].map((part) => {
        const style = getComputedStyle(part);
        const outline = style.outlineStyle === "none" ? "" : `${style.outlineWidth} ${style.outlineColor}`;
        return [outline, style.boxShadow, style.borderColor, style.backgroundColor, style.color, style.textDecoration];
      });
      const box = one.getBoundingClientRect();
      return JSON.stringify([parts, box.width, box.height]);
    };
    const focused = look();
    one.blur();
    const isSeen = look() !== focused;
    one.focus();
    return { isSeen, text: one.outerHTML.slice(0, 160) };
  },
})
