// The socket to the server: notes as binary frames, all else as JSON.
// What comes is dispatched as an event of the message's `type`, with the
// message as its `detail`; `notes`, `lost`, `found` and `over` are added.

const VERSION = 1;
const NOTES = 1;
const HEADER = 4;
const RECORD = 12;
const RESUME_MS = 30_000;
const PING_MS = 2000;
// These codes end the session; after all others it is taken up again.
const FINAL = { 1000: "ended", 4400: "version", 4409: "taken", 4503: "full" };
const KEY = "magenta-midi.key";

const later = (ms) => new Promise((done) => setTimeout(done, ms));

function keyBefore() {
  // A copied tab has a copy of the key, but only a reload may use it.
  const [visit] = performance.getEntriesByType("navigation");
  if (visit?.type !== "reload") return null;
  return sessionStorage.getItem(KEY);
}

export class Link extends EventTarget {
  /** @param {import("./clock.js").Clock} clock Is kept here. */
  constructor(clock) {
    super();
    this.clock = clock;
    this.socket = null;
    this.key = keyBefore();
    this.lostAt = null;
    this.timer = 0;
    this.start = undefined;
  }

  get open() {
    return this.socket?.readyState === WebSocket.OPEN;
  }

  /** Connects; a session that was lost less than 30 s ago goes on. */
  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/socket`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.gone = null;
    socket.addEventListener("open", () => {
      this.send("hello", {
        version: VERSION,
        ...(this.key ? { key: this.key } : {}),
        ...(this.start ? { start: this.start } : {}),
      });
    });
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", (event) => {
      if (socket === this.socket) this.#closed(event.code);
    });
  }

  /** Begins a session of its own, whatever was before. */
  connectAnew() {
    this.key = null;
    this.lostAt = null;
    this.connect();
  }

  send(type, fields = {}) {
    if (this.open) this.socket.send(JSON.stringify({ type, ...fields }));
  }

  change(name, value) {
    this.send("change", { name, value });
  }

  act(action) {
    this.send("act", { action });
  }

  /** Sends a MIDI message of the player, played at a browser's time in ms. */
  play(data, ms) {
    if (!this.open) return;
    const frame = new DataView(new ArrayBuffer(HEADER + RECORD));
    frame.setUint8(0, NOTES);
    frame.setUint8(1, 0);
    frame.setUint16(2, 1, true);
    const time = this.clock.known ? this.clock.session(ms) : NaN;
    frame.setFloat64(HEADER, time, true);
    frame.setUint8(HEADER + 8, data.length);
    data.forEach((byte, i) => frame.setUint8(HEADER + 9 + i, byte));
    this.socket.send(frame.buffer);
  }

  #receive(data) {
    if (data instanceof ArrayBuffer) {
      if (new DataView(data).getUint8(0) === NOTES) this.#notes(data);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "pong") {
      const now = performance.now();
      this.clock.exchange(message.t, message.now_s * 1000, now);
      return;
    }
    if (message.type === "welcome") this.#welcome(message);
    if (message.type === "restarted") {
      this.clock.forget();
      this.#pings();
    }
    // Pings are not answered before the session's clock runs.
    const { type, phase } = message;
    if (type === "status" && phase === "ready" && !this.clock.known) {
      this.#pings();
    }
    if (message.type === "full" || message.type === "ended") {
      this.gone = message;
    }
    this.#tell(message.type, message);
  }

  #welcome(message) {
    this.key = message.key;
    sessionStorage.setItem(KEY, message.key);
    this.lostAt = null;
    if (!message.resumed) this.clock.forget();
    this.#pings();
  }

  /** Several pings at once: the clock is known before the first note. */
  async #pings() {
    clearInterval(this.timer);
    const ping = () => this.send("ping", { t: performance.now() });
    this.timer = setInterval(ping, PING_MS);
    for (let i = 0; i < 5; i++) {
      ping();
      await later(60);
    }
  }

  #notes(data) {
    const view = new DataView(data);
    const part = view.getUint8(1);
    const count = view.getUint16(2, true);
    for (let i = 0; i < count; i++) {
      const at = HEADER + i * RECORD;
      const size = view.getUint8(at + 8);
      const bytes = new Uint8Array(data, at + 9, size);
      this.#tell("notes", {
        part,
        time: view.getFloat64(at, true),
        data: [...bytes],
      });
    }
  }

  async #closed(code) {
    clearInterval(this.timer);
    this.socket = null;
    if (code in FINAL || this.gone) {
      sessionStorage.removeItem(KEY);
      this.key = null;
      const why =
        this.gone?.type === "full" ? "full" : (FINAL[code] ?? "ended");
      this.#tell("over", { why, message: this.gone });
      return;
    }
    const first = this.lostAt === null;
    this.lostAt ??= performance.now();
    if (first) this.#tell("lost", {});
    const passed = performance.now() - this.lostAt;
    if (passed > RESUME_MS) {
      sessionStorage.removeItem(KEY);
      this.key = null;
      this.#tell("over", { why: "lost", message: null });
      return;
    }
    await later(Math.min(300 + passed / 4, 2000));
    if (!this.socket) this.connect();
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
