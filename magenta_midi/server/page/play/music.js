// What both have played lately, and what the model plans to play.
// All times are seconds of the session.

export const PLAYER = 0;
export const MODEL = 1;

const KEPT_S = 40;
const MAX_NOTES = 4000;
const SAME_NOTE_S = 0.04;
const FADE_S = 0.25;

class Part {
  constructor() {
    this.notes = [];
    this.held = new Map();
    this.pedal = [];
  }

  noteOn(key, velocity, time) {
    this.noteOff(key, time);
    const note = { key, velocity, start: time, end: null };
    this.notes.push(note);
    this.held.set(key, note);
  }

  noteOff(key, time) {
    const note = this.held.get(key);
    if (!note) return;
    note.end = Math.max(time, note.start);
    this.held.delete(key);
  }

  pedalTo(down, time) {
    const last = this.pedal.at(-1);
    const isDown = last !== undefined && last.end === null;
    if (down && !isDown) this.pedal.push({ start: time, end: null });
    if (!down && isDown) last.end = Math.max(time, last.start);
  }

  release(time) {
    for (const key of [...this.held.keys()]) this.noteOff(key, time);
    this.pedalTo(false, time);
  }

  /** Drops what was never to sound: begun after a time, or ends it there. */
  cut(time) {
    this.notes = this.notes.filter((note) => note.start < time);
    for (const note of this.notes) {
      if (note.end === null || note.end > time) note.end = time;
    }
    this.held.clear();
    this.pedalTo(false, time);
  }

  forget(before) {
    const old = (span) => span.end !== null && span.end < before;
    while (this.notes.length && old(this.notes[0])) this.notes.shift();
    while (this.pedal.length && old(this.pedal[0])) this.pedal.shift();
    while (this.notes.length > MAX_NOTES) this.notes.shift();
  }
}

export class Music {
  constructor() {
    this.parts = [new Part(), new Part()];
    this.plan = [];
    this.leaving = [];
    this.chords = [];
    this.chord = "";
    this.beat = null;
    this.replying = false;
    this.heard = 0;
  }

  /** Takes a MIDI message of a part at a time; false: it is of no use here. */
  message(part, data, time) {
    const [status, first, second] = data;
    const kind = status & 0xf0;
    const played = this.parts[part];
    if (kind === 0x90 && second > 0) {
      played.noteOn(first, second, time);
      this.heard += 1;
    } else if (kind === 0x80 || kind === 0x90) played.noteOff(first, time);
    else if (kind === 0xb0 && first === 64) played.pedalTo(second >= 64, time);
    else if (kind === 0xb0 && first >= 120) played.release(time);
    else return false;
    return true;
  }

  /**
   * Takes a new plan; notes that stay keep their place in the fade.
   *
   * @param {Array<[number, number, number]>} notes Key, onset and duration.
   * @param {number} now The time.
   */
  setPlan(notes, now) {
    const before = this.plan;
    this.plan = notes.map(([key, start, duration]) => {
      const index = before.findIndex(
        (note) =>
          note &&
          note.key === key &&
          Math.abs(note.start - start) < SAME_NOTE_S,
      );
      const since = index < 0 ? now : before[index].since;
      if (index >= 0) before[index] = null;
      return { key, start, end: start + duration, since };
    });
    for (const note of before) {
      if (note && note.start > now) this.leaving.push({ ...note, gone: now });
    }
    this.leaving = this.leaving.filter((note) => now - note.gone < FADE_S);
  }

  /** Takes the name of the chord that sounds now; "" changes nothing. */
  setChord(name, now) {
    if (!name || this.chord === name) return;
    this.chord = name;
    this.chords.push({ name, time: now });
  }

  /** Bar and beat at a time, from 1; null without a beat. */
  place(time) {
    if (!this.beat) return null;
    const { bpm, perBar, start } = this.beat;
    const beats = ((time - start) * bpm) / 60;
    const bar = Math.floor(beats / perBar);
    return { bar: bar + 1, beat: Math.floor(beats - bar * perBar) + 1 };
  }

  /** Keys that sound at a time, with the parts that hold them. */
  *sounding(time) {
    for (const part of [PLAYER, MODEL]) {
      const { notes } = this.parts[part];
      for (let i = notes.length - 1; i >= 0; i--) {
        const { key, start, end } = notes[i];
        if (start <= time && (end === null || end > time)) yield [part, key];
        else if (start < time - KEPT_S) break;
      }
    }
  }

  /** Whether there is nothing that moves. */
  get still() {
    const empty = ({ notes, pedal }) => !notes.length && !pedal.length;
    return (
      this.parts.every(empty) &&
      !this.plan.length &&
      !this.leaving.length &&
      !this.chords.length &&
      !this.beat
    );
  }

  forget(now) {
    for (const part of this.parts) part.forget(now - KEPT_S);
    while (this.chords.length && this.chords[0].time < now - KEPT_S) {
      this.chords.shift();
    }
  }
}
