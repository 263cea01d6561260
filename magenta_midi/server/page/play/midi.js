// MIDI ports of the browser: keyboards in, a synthesizer or DAW out.

const MODEL_CHANNEL = 1; // channel 2, as in `jam`

export class Midi extends EventTarget {
  /** @param {import("./player_input.js").PlayerInput} input Is played. */
  constructor(input) {
    super();
    this.input = input;
    this.access = null;
    this.outputId = null;
    this.state = this.#possible();
    this.shut = new Set(); // ids of inputs that are not wanted
  }

  /** `insecure`, `missing`, `ask`, `denied` or `on`. */
  #possible() {
    if (navigator.requestMIDIAccess) return "ask";
    return isSecureContext ? "missing" : "insecure";
  }

  /** Opens the ports without a question, where that was allowed before. */
  async openIfAllowed() {
    if (this.state !== "ask") return;
    try {
      const { state } = await navigator.permissions.query({ name: "midi" });
      if (state === "granted") await this.open();
    } catch {
      // A browser that does not know this permission asks when it is opened.
    }
  }

  /** Asks for the ports; the browser may ask the player. */
  async open() {
    if (this.state !== "ask" && this.state !== "denied") return;
    try {
      this.access = await navigator.requestMIDIAccess({ sysex: false });
    } catch {
      this.state = "denied";
      this.#changed();
      return;
    }
    this.state = "on";
    this.access.addEventListener("statechange", ({ port }) => {
      // Chromium no longer lists a port that was pulled out.
      if (port?.type === "input" && port.state !== "connected") {
        port.onmidimessage = null;
        this.input.release(`midi ${port.id}`);
      }
      this.#listen();
    });
    this.#listen();
  }

  get inputs() {
    return this.#ports("inputs");
  }

  get outputs() {
    return this.#ports("outputs");
  }

  #ports(kind) {
    return [...(this.access?.[kind].values() ?? [])].filter(
      (port) => port.state === "connected",
    );
  }

  /** The keyboards, plugged in now or later, and what they held if not. */
  #listen() {
    for (const port of this.access.inputs.values()) {
      const source = `midi ${port.id}`;
      if (port.state !== "connected" || this.shut.has(port.id)) {
        port.onmidimessage = null;
        this.input.release(source);
      } else {
        port.onmidimessage = (event) => this.#message(source, event);
      }
    }
    this.#changed();
  }

  use(id, wanted) {
    if (wanted) this.shut.delete(id);
    else this.shut.add(id);
    this.#listen();
  }

  #message(source, { data, timeStamp }) {
    const [status, first, second] = data;
    const kind = status & 0xf0;
    const ms = timeStamp || performance.now();
    if (kind === 0x90 && second > 0) {
      this.input.noteOn(source, first, second, ms);
    } else if (kind === 0x80 || kind === 0x90) {
      this.input.noteOff(source, first, ms);
    } else if (kind === 0xb0 && first === 64) {
      this.input.pedal(source, second >= 64, ms);
    } else if (kind === 0xb0 && first >= 120) {
      this.input.release(source, ms);
    }
  }

  /** Chooses the output of the model's notes; null: none. */
  useOutput(id) {
    this.silence();
    this.outputId = id;
    this.#changed();
  }

  get #output() {
    const port = this.access?.outputs.get(this.outputId ?? "");
    return port?.state === "connected" ? port : null;
  }

  get hasOutput() {
    return this.#output !== null;
  }

  /** Sends a message of the model at a browser's time in ms. */
  send(data, ms) {
    const [status, ...rest] = data;
    this.#output?.send([(status & 0xf0) | MODEL_CHANNEL, ...rest], ms);
  }

  /** All notes off, also those that were to come. */
  silence() {
    const port = this.#output;
    if (!port) return;
    port.clear?.();
    for (const controller of [64, 123, 120]) {
      port.send([0xb0 | MODEL_CHANNEL, controller, 0]);
    }
  }

  #changed() {
    this.dispatchEvent(new Event("changed"));
  }
}
