// The moving piano roll: past on the left of the now-line, plan on its right.
import { MODEL, PLAYER } from "./music.js";

const GUTTER = 34; // where the keys are named
const CHORDS = 30; // height of the lane of chords and bars
const PEDAL = 20; // height of both pedal lanes
const NOW_SHARE = 0.7;
const LEAST_KEYS = 40;
const BLACK = new Set([1, 3, 6, 8, 10]);
const FADE_S = 0.25;
const COLORS = [
  "player",
  "model",
  "roll",
  "roll-black",
  "roll-line",
  "roll-bar",
  "ink",
  "soft",
];

export class Roll {
  /**
   * @param {HTMLCanvasElement} canvas Fills its parent.
   * @param {import("./music.js").Music} music What is drawn.
   */
  constructor(canvas, music) {
    this.canvas = canvas;
    this.music = music;
    this.context = canvas.getContext("2d", { alpha: false });
    this.ground = document.createElement("canvas");
    this.low = 48;
    this.high = 88;
    this.groundOf = "";
    this.frames = [];
    this.calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    this.readColors();
    this.#resize();
  }

  readColors() {
    const style = getComputedStyle(document.documentElement);
    this.colors = {};
    for (const name of COLORS) {
      this.colors[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.font = style.getPropertyValue("--font");
    this.groundOf = "";
  }

  /** Frames a second over the last two seconds. */
  get rate() {
    const { frames } = this;
    if (frames.length < 2) return 0;
    return ((frames.length - 1) * 1000) / (frames.at(-1) - frames[0]);
  }

  #resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.scale = Math.min(devicePixelRatio || 1, 2);
    this.width = Math.max(clientWidth, 100);
    this.height = Math.max(clientHeight, 100);
    this.canvas.width = Math.round(this.width * this.scale);
    this.canvas.height = Math.round(this.height * this.scale);
    this.nowX = Math.round(GUTTER + (this.width - GUTTER) * NOW_SHARE);
    // Ten seconds on a desk, five on a phone.
    this.perSecond = Math.max(62, (this.width - GUTTER) / 10);
    this.groundOf = "";
  }

  #row() {
    return (this.height - CHORDS - PEDAL) / (this.high - this.low + 1);
  }

  #y(key) {
    return CHORDS + (this.high - key) * this.#row();
  }

  /** Draws the picture of a time, in seconds of the session. */
  draw(now, at = performance.now()) {
    this.frames.push(at);
    while (this.frames[0] < at - 2000) this.frames.shift();
    this.#follow(now);
    const { context, colors, scale } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.#drawGround();
    context.drawImage(this.ground, 0, 0);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.save();
    context.beginPath();
    context.rect(GUTTER, 0, this.width - GUTTER, this.height);
    context.clip();
    this.#drawBars(now);
    this.#drawTurn();
    this.#drawPedals(now);
    this.#drawPlan(now);
    for (const part of [PLAYER, MODEL]) this.#drawNotes(part, now);
    this.#drawChords(now);
    context.restore();
    context.fillStyle = this.music.replying ? colors.model : colors.ink;
    context.fillRect(this.nowX - 1, CHORDS, 2, this.height - CHORDS);
  }

  /** Moves the range of keys, slowly, to what is in sight. */
  #follow(now) {
    const from = now - (this.nowX - GUTTER) / this.perSecond;
    let low = 56;
    let high = 80;
    const see = (key) => {
      if (key < low) low = key;
      if (key > high) high = key;
    };
    for (const part of this.music.parts) {
      for (const note of part.notes) {
        if (note.end === null || note.end > from) see(note.key);
      }
    }
    for (const note of this.music.plan) see(note.key);
    low -= 3;
    high += 3;
    const spare = LEAST_KEYS - (high - low + 1);
    if (spare > 0) {
      low -= Math.floor(spare / 2);
      high += Math.ceil(spare / 2);
    }
    const ease = this.calm ? 1 : 0.12;
    const move = (value, aim) =>
      Math.abs(aim - value) < 0.02 ? aim : value + (aim - value) * ease;
    this.low = move(this.low, Math.max(low, 0));
    this.high = move(this.high, Math.min(high, 127));
  }

  /** Rows and names of keys: drawn anew only where they moved. */
  #drawGround() {
    const state = [
      this.low,
      this.high,
      this.canvas.width,
      this.canvas.height,
    ].join();
    if (state === this.groundOf) return;
    this.groundOf = state;
    const { ground, colors, scale, width, height } = this;
    if (
      ground.width !== this.canvas.width ||
      ground.height !== this.canvas.height
    ) {
      ground.width = this.canvas.width;
      ground.height = this.canvas.height;
    }
    const context = ground.getContext("2d", { alpha: false });
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.fillStyle = colors.roll;
    context.fillRect(0, 0, width, height);
    const row = this.#row();
    const bottom = height - PEDAL;
    context.font = `11px ${this.font}`;
    context.textBaseline = "middle";
    context.textAlign = "right";
    for (let key = Math.floor(this.low); key <= Math.ceil(this.high); key++) {
      const y = this.#y(key);
      if (BLACK.has(key % 12)) {
        context.fillStyle = colors["roll-black"];
        context.fillRect(GUTTER, y, width - GUTTER, row);
      }
      if (key % 12 === 0 && y + row < bottom && y > CHORDS) {
        context.fillStyle = colors["roll-line"];
        context.fillRect(GUTTER, Math.round(y + row) - 1, width - GUTTER, 1);
        context.fillStyle = colors.soft;
        context.fillText(`C${key / 12 - 1}`, GUTTER - 8, y + row / 2);
      }
    }
    context.fillStyle = colors.roll;
    context.fillRect(0, 0, width, CHORDS);
    context.fillRect(0, bottom, width, PEDAL);
    context.fillStyle = colors["roll-line"];
    context.fillRect(0, CHORDS - 1, width, 1);
    context.fillRect(0, bottom, width, 1);
  }

  #drawBars(now) {
    const { beat } = this.music;
    if (!beat) return;
    const { context, colors, perSecond } = this;
    const beatS = 60 / beat.bpm;
    const from = now - (this.nowX - GUTTER) / perSecond;
    const until = now + (this.width - this.nowX) / perSecond;
    let index = Math.ceil((from - beat.start) / beatS);
    context.font = `11px ${this.font}`;
    context.textBaseline = "middle";
    context.textAlign = "left";
    for (; beat.start + index * beatS < until; index++) {
      const x = Math.round(
        this.nowX + (beat.start + index * beatS - now) * perSecond,
      );
      const inBar = ((index % beat.perBar) + beat.perBar) % beat.perBar;
      context.fillStyle = inBar ? colors["roll-line"] : colors["roll-bar"];
      const top = inBar ? CHORDS : 0;
      context.fillRect(x, top, 1, this.height - PEDAL - top);
      if (inBar === 0) {
        const bar = Math.floor(index / beat.perBar) + 1;
        if (bar > 0) {
          context.fillStyle = colors.soft;
          context.fillText(String(bar), x + 5, 10);
        }
      }
    }
  }

  /** The side of the plan takes the model's color in its turn. */
  #drawTurn() {
    if (!this.music.replying) return;
    const { context, colors } = this;
    context.globalAlpha = 0.06;
    context.fillStyle = colors.model;
    context.fillRect(
      this.nowX,
      CHORDS,
      this.width - this.nowX,
      this.height - CHORDS,
    );
    context.globalAlpha = 1;
  }

  #drawPedals(now) {
    const { context, colors } = this;
    const height = 6;
    this.music.parts.forEach((part, index) => {
      context.fillStyle = index === PLAYER ? colors.player : colors.model;
      context.globalAlpha = 0.55;
      const y = this.height - PEDAL + 3 + index * (height + 2);
      for (const { start, end } of part.pedal) {
        const left = this.nowX + (start - now) * this.perSecond;
        const right = this.nowX + ((end ?? now) - now) * this.perSecond;
        if (right > GUTTER && right > left) {
          context.fillRect(left, y, right - left, height);
        }
      }
    });
    context.globalAlpha = 1;
  }

  #drawPlan(now) {
    const { context, colors } = this;
    context.fillStyle = colors.model;
    context.strokeStyle = colors.model;
    context.lineWidth = 1;
    const paint = (note, strength) => {
      if (strength <= 0) return;
      const box = this.#box(note.key, note.start, note.end, now);
      if (!box) return;
      context.globalAlpha = 0.22 * strength;
      context.beginPath();
      context.roundRect(...box, 3);
      context.fill();
      context.globalAlpha = 0.6 * strength;
      context.stroke();
    };
    for (const note of this.music.plan) {
      if (note.start < now) continue;
      paint(note, this.calm ? 1 : Math.min(1, (now - note.since) / FADE_S));
    }
    for (const note of this.music.leaving) {
      paint(note, this.calm ? 0 : 1 - (now - note.gone) / FADE_S);
    }
    context.globalAlpha = 1;
  }

  #drawNotes(part, now) {
    const { context, colors } = this;
    context.fillStyle = part === PLAYER ? colors.player : colors.model;
    for (const { key, velocity, start, end } of this.music.parts[part].notes) {
      // A note that is fixed but has not begun is shown shorter than it is.
      const box = this.#box(key, start, end ?? Math.max(now, start + 0.1), now);
      if (!box) continue;
      const sounds = start <= now && (end === null || end > now);
      context.globalAlpha = sounds ? 1 : 0.35 + 0.6 * (velocity / 127);
      context.beginPath();
      context.roundRect(...box, Math.min(3, box[3] / 2));
      context.fill();
      if (sounds && !this.calm) {
        context.globalAlpha = 0.25;
        context.beginPath();
        context.arc(this.nowX, box[1] + box[3] / 2, box[3] * 1.1 + 3, 0, 7);
        context.fill();
      }
    }
    context.globalAlpha = 1;
  }

  #box(key, start, end, now) {
    const left = this.nowX + (start - now) * this.perSecond;
    const right = this.nowX + (end - now) * this.perSecond;
    if (right < GUTTER || left > this.width) return null;
    const row = this.#row();
    const space = row > 6 ? 1 : 0;
    return [
      left,
      this.#y(key) + space,
      Math.max(right - left - 1, 3),
      Math.max(row - 2 * space, 3),
    ];
  }

  #drawChords(now) {
    const { context, colors, music } = this;
    context.font = `600 13px ${this.font}`;
    context.textBaseline = "middle";
    context.textAlign = "left";
    let free = Infinity;
    // From the newest back: an older name gives way to a newer one.
    for (let i = music.chords.length - 1; i >= 0; i--) {
      const { name, time } = music.chords[i];
      const x = this.nowX + (time - now) * this.perSecond + 5;
      if (x < GUTTER - 60) break;
      const width = context.measureText(name).width;
      if (x + width > free) continue;
      context.fillStyle = x > this.nowX ? colors.soft : colors.ink;
      context.fillText(name, x, 21);
      free = x - 8;
    }
  }
}
