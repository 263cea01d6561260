// The session's clock as this browser reads it.

const KEPT = 24;

/** Time of the session from the browser's own, by exchanges of messages. */
export class Clock {
  constructor() {
    this.samples = [];
    this.offset = null;
  }

  /**
   * Takes one exchange.
   *
   * @param {number} sent When it left here, ms of `performance.now()`.
   * @param {number} server The server's time when it answered, ms.
   * @param {number} received When the answer came here, ms.
   */
  exchange(sent, server, received) {
    const trip = received - sent;
    this.samples.push({ trip, offset: server - (sent + received) / 2 });
    if (this.samples.length > KEPT) this.samples.shift();
    // The quickest exchange waited least on the way: its offset is the best.
    const best = this.samples.reduce((a, b) => (b.trip < a.trip ? b : a));
    // Moved slowly once it is known, so that no note jumps.
    if (this.offset === null || Math.abs(best.offset - this.offset) > 50) {
      this.offset = best.offset;
    } else this.offset += (best.offset - this.offset) * 0.2;
  }

  get known() {
    return this.offset !== null;
  }

  /** Session's seconds of a browser's time in ms. */
  session(ms = performance.now()) {
    return (ms + (this.offset ?? 0)) / 1000;
  }

  /** Browser's ms of a session's time in seconds. */
  browser(seconds) {
    return seconds * 1000 - (this.offset ?? 0);
  }

  /** Time from here to the server and back, ms: p50 and p99. */
  get trips() {
    return this.samples.map(({ trip }) => trip);
  }

  forget() {
    this.samples = [];
    this.offset = null;
  }
}
