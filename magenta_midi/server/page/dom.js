// Elements. Text from outside becomes `textContent`, never markup.

export const byId = (id) => document.getElementById(id);

/** Clears a canvas for drawing in CSS pixels: its context, width and height. */
export function blank(canvas) {
  const scale = Math.min(devicePixelRatio || 1, 2);
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

/**
 * Makes an element.
 *
 * @param {string} tag Its name.
 * @param {object} how `text`, `class`, `on` (type -> listener), `data`;
 *   everything else is an attribute (true: empty, false or null: absent).
 * @param {...(Node|string|null)} children In order; strings become text.
 */
export function make(tag, how = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(how)) {
    if (name === "text") element.textContent = value;
    else if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "on") {
      for (const [type, listener] of Object.entries(value)) {
        element.addEventListener(type, listener);
      }
    } else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Calls at most once in `ms`, always with the newest arguments. */
export function throttled(ms, call) {
  let newest = null;
  let timer = 0;
  return (...values) => {
    newest = values;
    if (timer) return;
    call(...newest);
    newest = null;
    timer = setTimeout(function again() {
      timer = 0;
      if (newest) {
        call(...newest);
        newest = null;
        timer = setTimeout(again, ms);
      }
    }, ms);
  };
}

/** Marks an element while files are dragged over it, and hands them over. */
export function dropTarget(element, take) {
  const over = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.stopPropagation();
    element.classList.add("drop");
  };
  element.addEventListener("dragenter", over);
  element.addEventListener("dragover", over);
  element.addEventListener("dragleave", () => {
    element.classList.remove("drop");
  });
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    event.stopPropagation();
    element.classList.remove("drop");
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) take(files);
  });
}

/** A button that opens the browser's choice of files. */
export function fileButton(text, take, many = false) {
  const input = make("input", {
    type: "file",
    accept: ".mid,.midi,audio/midi",
    multiple: many,
    hidden: true,
    on: {
      change: () => {
        const files = [...input.files];
        input.value = "";
        if (files.length) take(files);
      },
    },
  });
  const button = make("button", {
    type: "button",
    text,
    on: { click: () => input.click() },
  });
  return make("span", {}, button, input);
}

/** What the browser keeps between visits; nothing where it keeps nothing. */
export const kept = {
  get(name) {
    try {
      return localStorage.getItem(`magenta-midi.${name}`);
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`magenta-midi.${name}`, value);
    } catch {
      // A private window without storage: the choice lasts for this visit.
    }
  },
};
