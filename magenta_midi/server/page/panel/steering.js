// The controls of the server's table, as fields.
import { make } from "../dom.js";
import { words } from "../words.js";
import { choice, slider, toggle } from "./fields.js";

// In this order; a control that is not named comes last, under "more".
export const FIRST = [
  ...["guidance", "temperature", "density", "loudness", "register", "pedal"],
  ...["solo", "muted"],
];
// These have a place of their own.
const ELSEWHERE = new Set([
  ...["mode", "prompts", "style_s", "adapter", "adapters", "tempo", "groove"],
  ...["tightness", "free", "chords", "chord_weight", "harmony"],
]);
const NAMES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];

export const keyName = (key) => `${NAMES[key % 12]}${Math.floor(key / 12) - 1}`;

/** The field of one control; null where its kind has none here. */
export function fieldOf(control, change) {
  const { name, kind } = control;
  const send = (value) => change(name, value);
  if (kind === "toggle") return toggle(name, send);
  if (kind === "choice") return choice(name, control.choices, send);
  if (kind === "number") {
    return slider(
      {
        name,
        low: control.low,
        high: control.top ?? control.high,
        step: control.whole ? 1 : Math.min(control.step, 0.05),
        default: control.default,
        log: name === "density",
      },
      send,
    );
  }
  if (kind === "register") return registerField(control, send);
  return null;
}

function registerField(control, change) {
  const { low, high, least } = control;
  let now = [low, high];
  const end = (name, other) =>
    slider({ name, low, high, step: 1, show: keyName }, (value) => {
      const index = other === 1 ? 0 : 1;
      const next = [...now];
      next[index] = value;
      if (next[1] - next[0] < least) {
        next[other] = index === 0 ? value + least : value - least;
      }
      if (next[0] < low || next[1] > high) return;
      now = next;
      change(now);
    });
  const lowest = end("register_low", 1);
  const highest = end("register_high", 0);
  return {
    frame: make("div", { class: "field" }, lowest.frame, highest.frame),
    set(value) {
      now = [...value];
      lowest.set(value[0]);
      highest.set(value[1]);
    },
  };
}

/** The sheet "Play". */
export function makeSteering(app) {
  const sheet = make("div");
  const fields = new Map();
  const act = (action) =>
    make("button", {
      type: "button",
      text: words(`act.${action}`),
      title: words(`act.${action}.help`),
      data: { text: `act.${action}`, title: `act.${action}.help` },
      on: { click: () => app.link.act(action) },
    });
  const build = (controls) => {
    fields.clear();
    const shown = controls.filter(({ name }) => !ELSEWHERE.has(name));
    const place = ({ name }) => FIRST.indexOf(name);
    const [main, more] = [[], []];
    for (const control of shown) {
      const field = fieldOf(control, (name, value) => app.change(name, value));
      if (!field) continue;
      field.set(control.default);
      fields.set(control.name, field);
      (place(control) < 0 ? more : main).push([place(control), field.frame]);
    }
    main.sort((a, b) => a[0] - b[0]);
    sheet.replaceChildren(
      make("div", { class: "row tight" }, act("end"), act("bookmark")),
      ...main.map(([, frame]) => frame),
    );
    if (more.length) {
      const inner = make("div", { class: "sheet" });
      inner.append(...more.map(([, frame]) => frame));
      sheet.append(
        make(
          "details",
          {},
          make("summary", {
            text: words("play.more"),
            data: { text: "play.more" },
          }),
          inner,
        ),
      );
    }
    show(app.controls);
  };
  const show = (values) => {
    for (const [name, field] of fields) {
      if (values?.[name] !== undefined) field.set(values[name]);
    }
  };
  app.addEventListener("table", () => build(app.table));
  app.addEventListener("controls", () => show(app.controls));
  return { name: "play", sheet };
}
