// Fields of the panel: one for each kind of control.
import { make, throttled } from "../dom.js";
import { has, number, words } from "../words.js";

const SEND_MS = 70;
// An echo of the server does not move what is being dragged.
const HELD_MS = 700;

let fields = 0;

/** A label, its help if there is one, and an element below. */
function framed(name, fallback, element, output = null) {
  const id = `field-${++fields}`;
  element.id = id;
  const key = `control.${name}`;
  const label = make("label", { for: id, text: fallback });
  if (has(key)) {
    label.dataset.text = key;
    label.textContent = words(key);
  }
  const frame = make(
    "div",
    { class: "field", data: { control: name } },
    make("div", { class: "top" }, label, output),
    element,
  );
  if (has(`${key}.help`)) {
    const help = make("p", {
      class: "help",
      id: `${id}-help`,
      text: words(`${key}.help`),
      data: { text: `${key}.help` },
    });
    element.setAttribute("aria-describedby", help.id);
    frame.append(help);
  }
  return frame;
}

/**
 * A slider.
 *
 * @param {object} how `name`, `low`, `high`, `step`; `log`: equal ways are
 *   equal factors; `show(value)`: as text.
 * @param {(value: number) => void} change Takes each new value.
 * @returns `frame` and `set(value)`.
 */
export function slider(how, change) {
  const { name, low, high, log = false } = how;
  const inward = log ? Math.log2 : (value) => value;
  const outward = log ? (value) => 2 ** value : (value) => value;
  const step = log ? 0.05 : how.step;
  const digits = step >= 1 && !log ? 0 : 2;
  const show = how.show ?? ((value) => number(value, digits));
  const input = make("input", {
    type: "range",
    min: inward(low),
    max: inward(high),
    step,
  });
  const output = make("output");
  let movedAt = -Infinity;
  const send = throttled(SEND_MS, change);
  const write = (value) => {
    output.textContent = show(value);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  const read = () => {
    const value = outward(Number(input.value));
    return digits === 0 ? Math.round(value) : Math.round(value * 1000) / 1000;
  };
  input.addEventListener("input", () => {
    movedAt = performance.now();
    write(read());
    send(read());
  });
  const frame = framed(name, how.label ?? name, input, output);
  if (how.default !== undefined) {
    input.addEventListener("dblclick", () => {
      movedAt = performance.now();
      input.value = inward(how.default);
      write(how.default);
      send(how.default);
    });
  }
  return {
    frame,
    input,
    set(value) {
      if (performance.now() - movedAt < HELD_MS) return;
      input.value = inward(value);
      write(value);
    },
  };
}

/** A number that may be left out: its value is null then. */
export function numberField({ name, low, high, step }) {
  const input = make("input", { type: "number", min: low, max: high, step });
  return {
    frame: framed(name, name, input),
    input,
    get value() {
      if (input.value === "") return null;
      return Math.min(Math.max(Number(input.value), low), high);
    },
  };
}

/** A switch. */
export function toggle(name, change) {
  const input = make("input", {
    type: "checkbox",
    role: "switch",
    on: { change: () => change(input.checked) },
  });
  const frame = framed(name, name, input);
  frame.classList.add("check");
  const top = frame.querySelector(".top");
  frame.replaceChildren(input, top, ...[...frame.children].slice(2));
  return { frame, input, set: (value) => (input.checked = value) };
}

/** A choice among names; their words are `choice.CONTROL.NAME`. */
export function choice(name, choices, change) {
  const input = make("select", {
    on: { change: () => change(input.value) },
  });
  const option = (value) => {
    const key = `choice.${name}.${value}`;
    const known = has(key);
    return make("option", {
      value,
      text: known ? words(key) : value,
      data: known ? { text: key } : {},
    });
  };
  input.append(...choices.map(option));
  return {
    frame: framed(name, name, input),
    input,
    set(value) {
      if (![...input.options].some((one) => one.value === value)) {
        input.append(option(value));
      }
      input.value = value;
    },
  };
}

/** A line or a field of text. */
export function text(name, how = {}) {
  const input = make(how.long ? "textarea" : "input", {
    type: how.long ? null : (how.type ?? "text"),
    maxlength: how.most ?? 400,
    spellcheck: "false",
    autocomplete: "off",
    ...how.attributes,
  });
  if (has(`control.${name}.example`)) {
    input.placeholder = words(`control.${name}.example`);
    input.dataset.placeholder = `control.${name}.example`;
  }
  return { frame: framed(name, name, input), input };
}
