// What the player plays, from whichever keys: no key is down twice.

export class PlayerInput {
  /** @param {(data: number[], ms: number) => void} send Takes MIDI. */
  constructor(send) {
    this.send = send;
    this.holders = new Map(); // key -> sources that hold it
    this.pedals = new Set();
  }

  noteOn(source, key, velocity, ms = performance.now()) {
    if (key < 0 || key > 127) return;
    let holders = this.holders.get(key);
    if (!holders) this.holders.set(key, (holders = new Set()));
    if (holders.size) this.send([0x80, key, 0], ms);
    holders.add(source);
    this.send([0x90, key, Math.max(1, Math.min(127, velocity))], ms);
  }

  noteOff(source, key, ms = performance.now()) {
    const holders = this.holders.get(key);
    if (!holders?.delete(source)) return;
    if (!holders.size) this.send([0x80, key, 0], ms);
  }

  pedal(source, down, ms = performance.now()) {
    const before = this.pedals.size > 0;
    if (down) this.pedals.add(source);
    else this.pedals.delete(source);
    const after = this.pedals.size > 0;
    if (after !== before) this.send([0xb0, 64, after ? 127 : 0], ms);
  }

  /** Lifts all that a source holds; without one, all that is held. */
  release(source = null, ms = performance.now()) {
    for (const [key, holders] of this.holders) {
      for (const holder of [...holders]) {
        if (source === null || holder === source) this.noteOff(holder, key, ms);
      }
    }
    for (const holder of [...this.pedals]) {
      if (source === null || holder === source) this.pedal(holder, false, ms);
    }
  }
}
