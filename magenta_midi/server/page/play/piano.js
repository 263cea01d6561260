// The piano below: mouse, pen and fingers.
import { make } from "../dom.js";

const LOWEST = 21;
const HIGHEST = 108;
const BLACK = [1, 3, 6, 8, 10];
const BLACK_SHARE = 0.6; // width of a black key against a white one
const BLACK_HEIGHT = 0.62;

const isBlack = (key) => BLACK.includes(key % 12);

function whiteKeys(low, high) {
  let count = 0;
  for (let key = low; key <= high; key++) if (!isBlack(key)) count += 1;
  return count;
}

export class Piano {
  /**
   * @param {HTMLElement} element Filled with keys.
   * @param {import("./player_input.js").PlayerInput} input Is played.
   */
  constructor(element, input) {
    this.element = element;
    this.input = input;
    this.keys = new Map();
    this.letters = new Map();
    this.fingers = new Map();
    this.first = 60;
    this.marked = new Map();
    new ResizeObserver(() => this.build()).observe(element);
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of ["pointerup", "pointercancel", "lostpointercapture"]) {
      element.addEventListener(type, (event) => this.#up(event));
    }
    element.addEventListener("contextmenu", (event) => event.preventDefault());
  }

  /** Moves the keys in sight by octaves. */
  shift(octaves) {
    this.first += 12 * octaves;
    this.build();
  }

  /** Shows letters of the computer's keyboard on their keys. */
  label(letters) {
    this.letters = letters;
    for (const [key, element] of this.keys) {
      element.firstChild.textContent = letters.get(key) ?? "";
    }
  }

  build() {
    const width = this.element.clientWidth;
    const touch = matchMedia("(pointer: coarse)").matches;
    const least = touch ? 38 : 22;
    const whole = width / 52 >= least;
    this.element.parentElement.dataset.whole = String(whole);
    if (whole) {
      this.low = LOWEST;
      this.high = HIGHEST;
    } else {
      const octaves = Math.max(1, Math.floor(width / least / 7));
      const top = HIGHEST - octaves * 12;
      this.first = Math.max(24, Math.min(this.first, top));
      this.low = this.first;
      this.high = this.first + octaves * 12;
    }
    this.whites = whiteKeys(this.low, this.high);
    this.keys.clear();
    this.marked.clear();
    const elements = [];
    let white = 0;
    for (let key = this.low; key <= this.high; key++) {
      const black = isBlack(key);
      const letter = make("span", { class: "letter" });
      letter.textContent = this.letters.get(key) ?? "";
      const element = make(
        "div",
        { class: `key ${black ? "black" : "white"}`, "aria-hidden": "true" },
        letter,
      );
      element.dataset.key = key;
      const each = 100 / this.whites;
      const left = black
        ? white * each - (each * BLACK_SHARE) / 2
        : white * each;
      element.style.left = `${left}%`;
      element.style.width = `${black ? each * BLACK_SHARE : each}%`;
      if (!black) white += 1;
      this.keys.set(key, element);
      elements.push(element);
    }
    this.element.replaceChildren(...elements);
  }

  /** Marks the keys that sound: pairs of part and key. */
  mark(sounding) {
    const now = new Map();
    for (const [part, key] of sounding) {
      now.set(key, (now.get(key) ?? 0) | (1 << part));
    }
    for (const key of new Set([...now.keys(), ...this.marked.keys()])) {
      const who = now.get(key) ?? 0;
      if (who === (this.marked.get(key) ?? 0)) continue;
      const element = this.keys.get(key);
      element?.classList.toggle("player", (who & 1) !== 0);
      element?.classList.toggle("model", (who & 2) !== 0);
    }
    this.marked = now;
  }

  /** Key and velocity at a point; the lower on the key, the louder. */
  #at(event) {
    const box = this.element.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width;
    const y = (event.clientY - box.top) / box.height;
    if (x < 0 || x >= 1 || y < 0 || y > 1) return null;
    const white = x * this.whites;
    if (y < BLACK_HEIGHT) {
      const edge = Math.round(white);
      if (Math.abs(white - edge) < BLACK_SHARE / 2) {
        const above = this.#white(edge);
        const key = above === null ? this.high + 1 : above;
        if (key - 1 > this.low && isBlack(key - 1)) {
          return [key - 1, this.#velocity(y / BLACK_HEIGHT)];
        }
      }
    }
    const key = this.#white(Math.floor(white));
    return key === null ? null : [key, this.#velocity(y)];
  }

  #velocity(depth) {
    return Math.round(48 + 62 * Math.min(1, Math.max(0, depth)));
  }

  #white(index) {
    let count = -1;
    for (let key = this.low; key <= this.high; key++) {
      if (!isBlack(key)) count += 1;
      if (count === index) return key;
    }
    return null;
  }

  #down(event) {
    if (event.button > 0) return;
    event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    const found = this.#at(event);
    if (!found) return;
    this.fingers.set(event.pointerId, found[0]);
    this.input.noteOn(`p${event.pointerId}`, ...found, event.timeStamp);
  }

  /** A finger that slides plays each key that it comes to. */
  #move(event) {
    if (!this.fingers.has(event.pointerId)) return;
    const before = this.fingers.get(event.pointerId);
    const found = this.#at(event);
    const key = found?.[0] ?? null;
    if (key === before) return;
    const source = `p${event.pointerId}`;
    if (before !== null) this.input.noteOff(source, before, event.timeStamp);
    if (found) this.input.noteOn(source, ...found, event.timeStamp);
    this.fingers.set(event.pointerId, key);
  }

  #up(event) {
    if (!this.fingers.has(event.pointerId)) return;
    this.fingers.delete(event.pointerId);
    this.input.release(`p${event.pointerId}`);
  }
}
