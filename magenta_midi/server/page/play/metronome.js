// Clicks on the beats of the session, a bar of count-in included.

const AHEAD_MS = 180;
const EVERY_MS = 60;

export class Metronome {
  constructor(music, clock, sound) {
    Object.assign(this, { music, clock, sound });
    this.on = true;
    this.done = -Infinity; // seconds of the last click
    setInterval(() => this.#look(), EVERY_MS);
  }

  #look() {
    const { beat } = this.music;
    // A pulse that is only heard in the notes gets no clicks.
    if (!this.on || !this.sound.on || !beat || beat.source === "player") return;
    const beatS = 60 / beat.bpm;
    const now = this.clock.session();
    const until = now + AHEAD_MS / 1000;
    // After a new start the clock begins at 0 again.
    if (this.done > until + beatS) this.done = -Infinity;
    const first = Math.max(now - 0.01, this.done + beatS / 2);
    let index = Math.ceil((first - beat.start) / beatS);
    index = Math.max(index, -beat.perBar);
    for (; beat.start + index * beatS < until; index++) {
      const time = beat.start + index * beatS;
      this.sound.click(
        this.clock.browser(time),
        ((index % beat.perBar) + beat.perBar) % beat.perBar === 0,
      );
      this.done = time;
    }
  }
}
