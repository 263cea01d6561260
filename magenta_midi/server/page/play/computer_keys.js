// The computer's keyboard as two rows of piano keys, by place and not by
// letter: it plays the same in every language.

const LOWER = [
  ...["KeyZ", "KeyS", "KeyX", "KeyD", "KeyC", "KeyV", "KeyG", "KeyB"],
  ...["KeyH", "KeyN", "KeyJ", "KeyM", "Comma", "KeyL", "Period"],
  ...["Semicolon", "Slash"],
];
const UPPER = [
  ...["KeyQ", "Digit2", "KeyW", "Digit3", "KeyE", "KeyR", "Digit5", "KeyT"],
  ...["Digit6", "KeyY", "Digit7", "KeyU", "KeyI", "Digit9", "KeyO"],
  ...["Digit0", "KeyP", "BracketLeft", "Equal", "BracketRight"],
];
const SIGNS = {
  Comma: ",",
  Period: ".",
  Semicolon: ";",
  Slash: "/",
  BracketLeft: "[",
  BracketRight: "]",
  Equal: "=",
};
const SOURCE = "computer";
// Letters belong to these while they have the focus.
const TYPED =
  "input:not([type=range]):not([type=checkbox]):not([type=radio])," +
  "textarea,select,[contenteditable]";
// And arrows and the space bar to these.
const MOVED = `${TYPED},input,button,summary,a,[role=tab],[role=slider]`;

export class ComputerKeys extends EventTarget {
  /** @param {import("./player_input.js").PlayerInput} input Is played. */
  constructor(input) {
    super();
    this.input = input;
    this.base = 48;
    this.velocity = 76;
    this.down = new Map(); // code -> key that it plays
    this.commands = {};
    addEventListener("keydown", (event) => this.#keydown(event));
    addEventListener("keyup", (event) => this.#keyup(event));
    addEventListener("blur", () => this.release());
  }

  release() {
    this.down.clear();
    this.input.release(SOURCE);
  }

  /** MIDI key -> letter, as the keys lie now. */
  get letters() {
    const found = new Map();
    const add = (codes, first) =>
      codes.forEach((code, i) => {
        const sign = SIGNS[code] ?? code.replace(/^(Key|Digit)/, "");
        if (!found.has(first + i)) found.set(first + i, sign.toLowerCase());
      });
    add(UPPER, this.base + 12);
    add(LOWER, this.base);
    return found;
  }

  shift(octaves) {
    const base = this.base + 12 * octaves;
    if (base < 12 || base > 84) return;
    this.base = base;
    this.dispatchEvent(new Event("moved"));
  }

  #key(code) {
    const upper = UPPER.indexOf(code);
    if (upper >= 0) return this.base + 12 + upper;
    const lower = LOWER.indexOf(code);
    return lower < 0 ? null : this.base + lower;
  }

  #keydown(event) {
    const { code, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const element = target instanceof Element ? target : null;
    if (element?.matches(TYPED)) return;
    const key = this.#key(code);
    if (key !== null) {
      event.preventDefault();
      if (event.repeat || this.down.has(code)) return;
      this.down.set(code, key);
      this.input.noteOn(SOURCE, key, this.velocity, event.timeStamp);
      return;
    }
    if (code === "ShiftLeft" || code === "ShiftRight") {
      if (!event.repeat) this.input.pedal(SOURCE, true, event.timeStamp);
      return;
    }
    const command = this.commands[code];
    if (!command || (code !== "Escape" && element?.matches(MOVED))) return;
    event.preventDefault();
    if (!event.repeat) command();
  }

  #keyup(event) {
    const { code } = event;
    if (code === "ShiftLeft" || code === "ShiftRight") {
      this.input.pedal(SOURCE, false, event.timeStamp);
    }
    const key = this.down.get(code);
    if (key === undefined) return;
    this.down.delete(code);
    // Another of its codes may hold the same key: the rows overlap.
    if ([...this.down.values()].includes(key)) return;
    this.input.noteOff(SOURCE, key, event.timeStamp);
  }
}
