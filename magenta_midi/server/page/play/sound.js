// The piano of the page: the server's samples, played by Web Audio.
import { get } from "./rest.js";
import { MODEL, PLAYER } from "./music.js";

/** Added to a part's number for what is played back. */
export const PLAYED_BACK = 2;

const MAX_TONES = 72;
const FIRST_UNDAMPED = 90;
const MIDDLE = 60;
const QUICK_S = 0.012;
const WAKING_MS = 300;

/** One sounding key. */
class Tone {
  constructor(source, gain, part, key) {
    Object.assign(this, { source, gain, part, key });
    this.down = true;
  }

  end(time, tau) {
    const { gain, source } = this;
    gain.gain.cancelScheduledValues(time);
    gain.gain.setTargetAtTime(0, time, tau);
    source.stop(time + tau * 8);
  }
}

export class Sound {
  constructor() {
    this.context = new AudioContext({ latencyHint: "interactive" });
    this.samples = new Map();
    this.tones = new Set();
    this.velocity = 90;
    this.wokenMs = -Infinity;
    const limiter = new DynamicsCompressorNode(this.context, {
      threshold: -8,
      ratio: 12,
      attack: 0.002,
      release: 0.12,
      knee: 4,
    });
    this.master = new GainNode(this.context, { gain: 0.9 });
    this.master.connect(limiter).connect(this.context.destination);
    // Of live play, then of what is played back, in the same order.
    this.parts = [PLAYER, MODEL, PLAYER, MODEL].map(() => this.#bus());
    this.pedals = this.parts.map(() => false);
    this.clicks = this.#bus(0.5);
  }

  #bus(volume = 0.8) {
    const gain = new GainNode(this.context, { gain: volume });
    gain.connect(this.master);
    return { gain, volume, muted: false };
  }

  get on() {
    return this.context.state === "running";
  }

  /** Delay of the sound card, ms; 0 where the browser reports none. */
  get delayMs() {
    const { baseLatency, outputLatency } = this.context;
    return 1000 * ((baseLatency || 0) + (outputLatency || 0));
  }

  /** Browsers allow sound from the first key press or click on. */
  async wake() {
    this.wokenMs = performance.now();
    if (this.context.state !== "running") await this.context.resume();
  }

  /** Loads the samples; those of the middle first. */
  async load(wait = (ms) => new Promise((done) => setTimeout(done, ms))) {
    let piano = await get("/api/piano");
    while (!piano.ready) {
      await wait(400);
      piano = await get("/api/piano");
    }
    this.velocity = piano.velocity;
    const near = ({ key }) => Math.abs(key - MIDDLE);
    const samples = [...piano.samples].sort((a, b) => near(a) - near(b));
    const queue = samples.values();
    const fetchNext = async () => {
      for (const { key, url } of queue) {
        let answer = await fetch(url);
        for (let tries = 0; answer.status === 429 && tries < 8; tries++) {
          await wait(1000);
          answer = await fetch(url);
        }
        if (!answer.ok) continue;
        const bytes = await answer.arrayBuffer();
        this.samples.set(key, await this.context.decodeAudioData(bytes));
      }
    };
    await Promise.all([fetchNext(), fetchNext(), fetchNext(), fetchNext()]);
  }

  setVolume(bus, volume, muted) {
    Object.assign(bus, { volume, muted });
    const aim = muted ? 0 : volume;
    bus.gain.gain.setTargetAtTime(aim, this.context.currentTime, 0.015);
  }

  /** Volume of a part, live and played back. */
  setPartVolume(part, volume, muted) {
    this.setVolume(this.parts[part], volume, muted);
    this.setVolume(this.parts[part + PLAYED_BACK], volume, muted);
  }

  /** Time of the sound for a browser's time in ms; never in the past. */
  #when(ms) {
    const wait = Math.max(0, ms - performance.now()) / 1000;
    return this.context.currentTime + wait;
  }

  /** Plays a MIDI message of a part at a browser's time in ms. */
  play(part, data, ms = performance.now()) {
    const [status, first, second] = data;
    const kind = status & 0xf0;
    const time = this.#when(ms);
    if (kind === 0x90 && second > 0) {
      // While the clock of the sound stands still, all notes would be kept and
      // sound at once later; those of a key press that wakes it may wait.
      if (!this.on && performance.now() - this.wokenMs > WAKING_MS) return;
      this.#noteOn(part, first, second, time);
    }
    else if (kind === 0x80 || kind === 0x90) this.#noteOff(part, first, time);
    else if (kind === 0xb0 && first === 64) {
      this.#pedal(part, second >= 64, time);
    } else if (kind === 0xb0 && first >= 120) this.silence(part);
  }

  #noteOn(part, key, velocity, time) {
    const sample = this.#nearest(key);
    if (sample === null) return;
    for (const tone of this.tones) {
      if (tone.part === part && tone.key === key) this.#drop(tone, time, 0.03);
    }
    const { context } = this;
    const source = new AudioBufferSourceNode(context, {
      buffer: this.samples.get(sample),
      playbackRate: 2 ** ((key - sample) / 12),
    });
    // A softer key is darker as well.
    const softer = Math.max(0, this.velocity - velocity) / this.velocity;
    const filter = new BiquadFilterNode(context, {
      type: "lowpass",
      Q: 0.1,
      frequency: Math.min(
        context.sampleRate / 2,
        18_000 * 2 ** (-4.2 * softer) + 3 * 440 * 2 ** ((key - 69) / 12),
      ),
    });
    const level = Math.min(1.6, (velocity / this.velocity) ** 1.6);
    const gain = new GainNode(context, { gain: level });
    source.connect(filter).connect(gain).connect(this.parts[part].gain);
    const tone = new Tone(source, gain, part, key);
    this.tones.add(tone);
    source.addEventListener("ended", () => {
      this.tones.delete(tone);
      gain.disconnect();
    });
    source.start(time);
    if (this.tones.size > MAX_TONES) {
      this.#drop(this.tones.values().next().value, time, QUICK_S);
    }
  }

  #nearest(key) {
    let best = null;
    for (const sample of this.samples.keys()) {
      if (best === null || Math.abs(sample - key) < Math.abs(best - key)) {
        best = sample;
      }
    }
    return best;
  }

  #noteOff(part, key, time) {
    for (const tone of this.tones) {
      if (tone.part !== part || tone.key !== key || !tone.down) continue;
      tone.down = false;
      if (!this.pedals[part]) this.#damp(tone, time);
    }
  }

  #damp(tone, time) {
    if (tone.key < FIRST_UNDAMPED) {
      this.#drop(tone, time, tone.key < 48 ? 0.11 : 0.07);
    }
  }

  #drop(tone, time, tau) {
    tone.end(time, tau);
    this.tones.delete(tone);
  }

  #pedal(part, down, time) {
    this.pedals[part] = down;
    if (down) return;
    for (const tone of this.tones) {
      if (tone.part === part && !tone.down) this.#damp(tone, time);
    }
  }

  /** Ends every tone of a part at once, those to come as well. */
  silence(part) {
    this.pedals[part] = false;
    for (const tone of [...this.tones]) {
      if (tone.part === part) {
        this.#drop(tone, this.context.currentTime, QUICK_S);
      }
    }
  }

  /** One click of the metronome. */
  click(ms, first) {
    const time = this.#when(ms);
    const { context } = this;
    const tone = new OscillatorNode(context, {
      frequency: first ? 1600 : 1100,
    });
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setValueAtTime(0.5, time);
    gain.gain.setTargetAtTime(0, time, 0.008);
    tone.connect(gain).connect(this.clicks.gain);
    tone.addEventListener("ended", () => gain.disconnect());
    tone.start(time);
    tone.stop(time + 0.08);
  }
}
