// Plays saved or generated notes through the page's sound.
import { blank } from "../dom.js";
import { MODEL } from "./music.js";
import { PLAYED_BACK } from "./sound.js";

const AHEAD_S = 0.4;
const EVERY_MS = 120;

let current = null;

export class Playback {
  /**
   * @param {import("./sound.js").Sound} sound Plays it.
   * @param {() => void} ended Called once at the end.
   */
  constructor(sound, ended = () => {}) {
    this.sound = sound;
    this.ended = ended;
    this.waiting = []; // [seconds, part, data], in order
    this.lastS = 0;
    this.whole = true;
    this.startMs = 0;
    this.timer = 0;
    this.used = new Set();
  }

  get playing() {
    return this.timer !== 0;
  }

  /** Seconds since the music's start. */
  get seconds() {
    return (performance.now() - this.startMs) / 1000;
  }

  /**
   * Adds music, also while it plays.
   *
   * @param {Array} notes `[part, key, velocity, onset_s, duration_s]` each.
   * @param {Array} pedals `[part, time_s, down]` each.
   */
  add(notes, pedals = []) {
    for (const [part, key, velocity, onset, duration] of notes) {
      this.waiting.push([onset, part, [0x90, key, velocity]]);
      this.waiting.push([onset + duration, part, [0x80, key, 0]]);
      this.lastS = Math.max(this.lastS, onset + duration);
    }
    for (const [part, time, down] of pedals) {
      this.waiting.push([time, part, [0xb0, 64, down ? 127 : 0]]);
    }
    // At one time: note-offs before note-ons.
    this.waiting.sort((a, b) => a[0] - b[0] || a[2][0] - b[2][0]);
  }

  /** @param {number} from Seconds into the music. */
  start(from = 0) {
    current?.stop(); // one at a time
    current = this;
    this.waiting = this.waiting.filter(([time]) => time >= from);
    this.startMs = performance.now() - from * 1000 + 60;
    this.timer = setInterval(() => this.#look(), EVERY_MS);
    this.#look();
  }

  /** Waits again where what comes next is not there yet. */
  shiftTo(seconds) {
    this.startMs = performance.now() - seconds * 1000;
  }

  #look() {
    const until = this.seconds + AHEAD_S;
    while (this.waiting.length && this.waiting[0][0] < until) {
      const [time, part, data] = this.waiting.shift();
      this.used.add(part + PLAYED_BACK);
      this.sound.play(part + PLAYED_BACK, data, this.startMs + time * 1000);
    }
    const over = this.seconds > this.lastS + 0.5;
    if (this.whole && !this.waiting.length && over) this.stop();
  }

  stop() {
    if (!this.playing) return;
    clearInterval(this.timer);
    this.timer = 0;
    if (current === this) current = null;
    for (const part of this.used) this.sound.silence(part);
    this.ended();
  }
}

/** Draws notes small, with a line where the playback is. */
export function drawSmall(canvas, notes, seconds, colors, at = null) {
  const { context, width, height } = blank(canvas);
  const keys = notes.map(([, key]) => key);
  const low = Math.min(48, ...keys) - 1;
  const high = Math.max(84, ...keys) + 1;
  const row = height / (high - low + 1);
  for (const [part, key, velocity, onset, duration] of notes) {
    context.fillStyle = part === MODEL ? colors.model : colors.player;
    context.globalAlpha = 0.4 + 0.6 * (velocity / 127);
    context.fillRect(
      (onset / seconds) * width,
      (high - key) * row,
      Math.max((duration / seconds) * width, 1.5),
      Math.max(row, 1.5),
    );
  }
  if (at !== null) {
    context.globalAlpha = 1;
    context.fillStyle = colors.ink;
    context.fillRect((at / seconds) * width, 0, 1.5, height);
  }
}
