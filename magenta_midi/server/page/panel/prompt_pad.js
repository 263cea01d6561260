// The pad: a point between up to six prompts gives each its weight.
import { dropTarget, fileButton, make, throttled } from "../dom.js";
import { number, words } from "../words.js";
import { get, upload } from "../play/rest.js";
import { slider } from "./fields.js";

const MAX = 6;
const RADIUS = 0.36; // of the pad's side
const STEP = 0.02;
const LEAST = 0.02; // a smaller weight is none
const HELD_MS = 900;

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Where the prompts lie: x and y from 0 to 1, the first one above. */
export function corners(count) {
  if (count === 1) return [[0.5, 0.5 - RADIUS]];
  return Array.from({ length: count }, (_, i) => {
    const turn = (2 * Math.PI * i) / count - (count === 2 ? Math.PI : 0);
    const angle = count === 2 ? turn : turn - Math.PI / 2;
    return [0.5 + RADIUS * Math.cos(angle), 0.5 + RADIUS * Math.sin(angle)];
  });
}

/** Weights of the corners for a point; their sum is 1. */
export function weightsAt([x, y], places) {
  const near = places.map(([cx, cy]) => {
    const square = (x - cx) ** 2 + (y - cy) ** 2;
    return 1 / (square + 1e-4) ** 1.25;
  });
  const sum = near.reduce((a, b) => a + b, 0);
  const shares = near.map((one) => one / sum);
  const kept = shares.map((share) => (share < LEAST ? 0 : share));
  const rest = kept.reduce((a, b) => a + b, 0);
  return kept.map((share) => Math.round((share / rest) * 100) / 100);
}

/** The point for weights that were set elsewhere. */
export function pointOf(weights, places) {
  const sum = weights.reduce((a, b) => a + b, 0);
  if (!sum) return [0.5, 0.5];
  return [0, 1].map((axis) =>
    places.reduce((at, place, i) => at + (weights[i] / sum) * place[axis], 0),
  );
}

/** The part "Prompts" of the sheet "Style". */
export function makePromptPad(app) {
  const names = new Map(); // id of an upload -> its file's name
  let prompts = [];
  let point = [0.5, 0.5];
  let movedAt = -Infinity;

  const shown = (prompt) =>
    prompt.startsWith("midi:")
      ? (names.get(prompt.slice(5)) ?? prompt)
      : prompt;
  const send = throttled(100, () => app.change("prompts", prompts));

  const pad = make("div", { class: "pad", id: "pad" });
  const handle = make("div", {
    class: "handle",
    id: "pad-handle",
    role: "slider",
    tabindex: 0,
    "aria-valuemin": 0,
    "aria-valuemax": 100,
  });
  const list = make("ul", { class: "list", id: "prompts" });
  const entry = make("input", {
    type: "text",
    id: "prompt-text",
    maxlength: 120,
    autocomplete: "off",
    data: { placeholder: "prompt.example", label: "prompt.text" },
  });
  const chips = make("div", { class: "chips" });

  const place = (weights) => {
    prompts = prompts.map(([prompt], i) => [prompt, weights[i]]);
    movedAt = performance.now();
    draw();
    send();
  };
  const moveTo = (x, y) => {
    if (prompts.length < 2) return;
    point = [clamp(x, 0.05, 0.95), clamp(y, 0.05, 0.95)];
    place(weightsAt(point, corners(prompts.length)));
  };

  const add = (prompt) => {
    const text = prompt.trim().replace(/\s+/g, " ");
    if (!text || prompts.some(([old]) => old === text)) return;
    if (prompts.length >= MAX) {
      app.notice(words("prompt.most", { count: MAX }), true);
      return;
    }
    prompts = [...prompts, [text, 1]];
    const places = corners(prompts.length);
    point =
      prompts.length === 1
        ? places[0]
        : pointOf(
            prompts.map(() => 1),
            places,
          );
    place(prompts.length === 1 ? [1] : weightsAt(point, places));
  };
  const remove = (index) => {
    prompts = prompts.filter((_, i) => i !== index);
    const places = corners(prompts.length);
    let weights = prompts.map(([, weight]) => weight);
    if (!weights.some(Boolean)) weights = weights.map(() => 1);
    point = pointOf(weights, places);
    place(weights);
  };
  const addFiles = async (files) => {
    for (const file of files.slice(0, MAX)) {
      try {
        const { id, name } = await upload(file);
        names.set(id, name);
        add(`midi:${id}`);
      } catch (error) {
        app.notice(error.message, true);
      }
    }
  };

  const draw = () => {
    const places = corners(prompts.length);
    const lines = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    lines.setAttribute("viewBox", "0 0 100 100");
    lines.setAttribute("aria-hidden", "true");
    const labels = prompts.map(([prompt, weight], i) => {
      const [x, y] = places[i];
      const line = document.createElementNS(lines.namespaceURI, "line");
      const ends = { x1: x, y1: y, x2: point[0], y2: point[1] };
      for (const [name, value] of Object.entries(ends)) {
        line.setAttribute(name, value * 100);
      }
      line.setAttribute("stroke-width", 0.4 + 2.6 * weight);
      line.setAttribute("stroke-opacity", 0.15 + 0.6 * weight);
      lines.append(line);
      const label = make("span", {
        class: "corner",
        text: shown(prompt),
        title: shown(prompt),
        "aria-hidden": "true",
      });
      label.style.left = `${clamp(x, 0.24, 0.76) * 100}%`;
      label.style.top = `${y * 100}%`;
      return label;
    });
    handle.style.left = `${point[0] * 100}%`;
    handle.style.top = `${point[1] * 100}%`;
    handle.hidden = prompts.length < 2;
    const focused = document.activeElement === handle;
    const empty = make("p", { class: "empty", text: words("prompt.empty") });
    pad.replaceChildren(
      ...(prompts.length ? [lines, ...labels, handle] : [empty]),
    );
    if (focused) handle.focus();
    handle.setAttribute("aria-label", words("prompt.pad"));
    const heaviest = Math.max(0, ...prompts.map(([, weight]) => weight));
    handle.setAttribute("aria-valuenow", Math.round(heaviest * 100));
    handle.setAttribute(
      "aria-valuetext",
      prompts
        .map(([prompt, weight]) => `${shown(prompt)} ${number(weight * 100)} %`)
        .join(", "),
    );
    list.replaceChildren(
      ...prompts.map(([prompt, weight], i) =>
        make(
          "li",
          {},
          make("span", { class: "name", text: shown(prompt) }),
          make("span", { class: "number", text: `${number(weight * 100)} %` }),
          make("button", {
            type: "button",
            class: "small",
            text: "×",
            "aria-label": words("prompt.remove", { prompt: shown(prompt) }),
            on: { click: () => remove(i) },
          }),
        ),
      ),
    );
  };

  const drag = (event) => {
    const box = pad.getBoundingClientRect();
    moveTo(
      (event.clientX - box.left) / box.width,
      (event.clientY - box.top) / box.height,
    );
  };
  pad.addEventListener("pointerdown", (event) => {
    if (prompts.length < 2 || event.button > 0) return;
    pad.setPointerCapture(event.pointerId);
    drag(event);
  });
  pad.addEventListener("pointermove", (event) => {
    if (pad.hasPointerCapture(event.pointerId)) drag(event);
  });
  handle.addEventListener("keydown", (event) => {
    const [dx, dy] = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    }[event.code] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    moveTo(point[0] + dx * STEP, point[1] + dy * STEP);
  });
  dropTarget(pad, addFiles);

  const form = make(
    "form",
    {
      class: "row tight",
      on: {
        submit: (event) => {
          event.preventDefault();
          add(entry.value);
          entry.value = "";
        },
      },
    },
    make("div", { class: "grow" }, entry),
    make("button", { type: "submit", data: { text: "prompt.add" } }),
    fileButton("", addFiles, true),
  );
  form.querySelector("span > button").dataset.text = "prompt.file";

  const offer = async () => {
    try {
      const { players, examples } = await get("/api/prompts");
      chips.replaceChildren(
        ...[...players, ...examples.slice(0, 6)].map((prompt) =>
          make("button", {
            type: "button",
            class: "small",
            text: prompt,
            on: { click: () => add(prompt) },
          }),
        ),
      );
      const { uploads } = await get("/api/uploads");
      for (const { id, name } of uploads) names.set(id, name);
      draw();
    } catch (error) {
      app.notice(error.message, true);
    }
  };

  const transition = slider(
    { name: "style_s", low: 0, high: 30, step: 1 },
    (value) => app.change("style_s", value),
  );

  app.addEventListener("controls", () => {
    const { controls } = app;
    transition.set(controls.style_s ?? 0);
    if (performance.now() - movedAt < HELD_MS) return;
    const next = (controls.prompts ?? []).slice(0, MAX);
    if (JSON.stringify(next) === JSON.stringify(prompts)) return;
    prompts = next.map(([prompt, weight]) => [prompt, weight]);
    point = pointOf(
      prompts.map(([, weight]) => weight),
      corners(prompts.length),
    );
    draw();
  });
  app.addEventListener("language", draw);
  draw();

  const none = make("p", { class: "help", data: { text: "prompt.none" } });
  none.hidden = true;
  app.addEventListener("info", () => {
    none.hidden = app.info.style !== false;
  });
  return {
    parts: [
      make("h2", { data: { text: "prompt.title" } }),
      none,
      pad,
      list,
      form,
      chips,
      transition.frame,
    ],
    shown: offer,
  };
}
