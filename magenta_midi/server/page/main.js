// The page: its parts, and what passes between them.
import { byId, dropTarget, make } from "./dom.js";
import {
  fill,
  firstLanguage,
  has,
  number,
  said,
  useLanguage,
  words,
} from "./words.js";
import { Clock } from "./play/clock.js";
import { ComputerKeys } from "./play/computer_keys.js";
import { Link } from "./play/link.js";
import { Metronome } from "./play/metronome.js";
import { Midi } from "./play/midi.js";
import { MODEL, Music, PLAYER } from "./play/music.js";
import { Piano } from "./play/piano.js";
import { PlayerInput } from "./play/player_input.js";
import { Roll } from "./play/roll.js";
import { Sound } from "./play/sound.js";
import { get, upload } from "./play/rest.js";
import { makeAdapters } from "./panel/adapters.js";
import { makeGenerating } from "./panel/generating.js";
import { makeMine } from "./panel/mine.js";
import { makePromptPad } from "./panel/prompt_pad.js";
import { makeSetup } from "./panel/setup.js";
import { keyName, makeSteering } from "./panel/steering.js";
import { makeTabs } from "./panel/tabs.js";
import { makeTakes } from "./panel/takes.js";
import { makeTime } from "./panel/time.js";

const NOTICE_MS = 7000;
const FACTS_MS = 100;
const STILL_MS = 200;
const ECHO_MS = 2000;
const MAX_AHEAD_MS = 120;
const KEPT_LATE = 60;
const NARROW = "(max-width: 760px)";

/** All that the parts of the page share; dispatches what is new. */
class App extends EventTarget {
  constructor() {
    super();
    this.clock = new Clock();
    this.music = new Music();
    this.link = new Link(this.clock);
    this.sound = new Sound();
    this.roll = new Roll(byId("roll"), this.music);
    this.input = new PlayerInput((data, ms) => this.#played(data, ms));
    this.piano = new Piano(byId("piano"), this.input);
    this.keys = new ComputerKeys(this.input);
    this.midi = new Midi(this.input);
    this.metronome = new Metronome(this.music, this.clock, this.sound);
    this.info = {};
    this.table = [];
    this.controls = null;
    this.figures = null;
    this.meter = null;
    this.phase = "connecting";
    this.turn = "player";
    this.busy = 0;
    this.demoWanted = false;
    this.playingIn = false;
    this.aheadMs = 20;
    this.browserMs = [];
    this.late = [];
    this.echoes = [];
    this.fill = fill;
  }

  // Notes.

  /** The player's own message: sounds at once, is drawn, and is sent. */
  #played(data, ms) {
    const now = performance.now();
    this.sound.wake();
    this.sound.play(PLAYER, data, now);
    this.link.play(data, ms);
    this.music.message(PLAYER, data, this.clock.session(ms));
    this.browserMs.push(now - ms);
    if (this.browserMs.length > 200) this.browserMs.shift();
    this.echoes.push({ sent: now, data });
    hideWelcome();
  }

  /** Whether a message of the player is one that was sent from here. */
  #isEcho(data) {
    const now = performance.now();
    this.echoes = this.echoes.filter(({ sent }) => now - sent < ECHO_MS);
    const index = this.echoes.findIndex(
      (one) => one.data[0] >> 4 === data[0] >> 4 && one.data[1] === data[1],
    );
    if (index >= 0) this.echoes.splice(index, 1);
    return index >= 0;
  }

  /** A message from the server, of either part. */
  received({ part, time, data }) {
    if (part === PLAYER && this.#isEcho(data)) return;
    const due = this.clock.browser(time);
    this.#keepLate(performance.now() - due);
    this.music.message(part, data, time);
    const at = due + this.aheadMs;
    if (part === MODEL && this.midi.hasOutput) this.midi.send(data, at);
    else this.sound.play(part, data, at);
    if (part === PLAYER) hideWelcome();
  }

  /** All sound as late as nine of ten came lately: so they keep time. */
  #keepLate(late) {
    this.late.push(Math.max(late, 0));
    if (this.late.length > KEPT_LATE) this.late.shift();
    const sorted = [...this.late].sort((a, b) => a - b);
    const usual = sorted[Math.floor(0.9 * (sorted.length - 1))];
    const aim = Math.min(usual + 2, MAX_AHEAD_MS);
    this.aheadMs += (aim - this.aheadMs) * (aim > this.aheadMs ? 0.5 : 0.05);
  }

  silence() {
    this.midi.silence();
    for (const part of [PLAYER, MODEL]) {
      this.sound.silence(part);
      this.music.parts[part].cut(this.clock.session());
    }
  }

  // What the panel asks for.

  change(name, value) {
    this.link.change(name, value);
    if (this.controls) this.controls = { ...this.controls, [name]: value };
  }

  /** Begins a new engine in the same session; the take so far is saved. */
  startAnew(start) {
    this.input.release();
    const { adapters = this.controls?.adapters ?? [] } = start;
    this.link.send("start", {
      ...(adapters.length ? { adapters } : {}),
      ...start,
    });
    this.say(words("status.starting"));
  }

  /** Plays music in as the player's. */
  playIn(what) {
    this.sound.wake();
    this.link.send("play", what);
    hideWelcome();
    if (matchMedia(NARROW).matches) showPanel(false);
  }

  async useLanguage(language) {
    try {
      localStorage.setItem("magenta-midi.language", language);
    } catch {
      // It lasts for this visit.
    }
    await useLanguage(language);
    this.dispatchEvent(new Event("language"));
    drawTurn();
    drawProgress();
  }

  // Words to the player.

  /** A line that is shown for some seconds, and read by screen readers. */
  notice(given, warning = false) {
    const text = said(given);
    const line = make("p", { class: warning ? "warning" : "", text });
    const notices = byId("notices");
    notices.append(line);
    while (notices.children.length > 3) notices.firstChild.remove();
    setTimeout(() => line.remove(), NOTICE_MS);
    this.say(text);
  }

  say(text) {
    byId("status").textContent = text;
  }

  tell(type) {
    this.dispatchEvent(new Event(type));
  }
}

let app;

// The bar above.

function drawTurn() {
  const { phase, controls, turn } = app;
  const mode = controls?.mode ?? "call-response";
  let who = "none";
  let key = `phase.${phase}`;
  if (phase === "lost") key = "turn.lost";
  else if (phase === "ready") {
    if (mode === "simultaneous") [who, key] = ["both", "turn.both"];
    else if (mode === "listen") [who, key] = ["player", "turn.listen"];
    else [who, key] = [turn, `turn.${turn}`];
  }
  const text = words(key, app.progress ?? {});
  if (byId("turn-text").textContent === text) return;
  byId("turn").dataset.who = who;
  byId("turn-text").textContent = text;
  if (mode === "call-response" && phase === "ready") app.say(text);
}

function drawFacts() {
  const { beat } = app.music;
  const place = app.music.place(app.clock.session());
  byId("fact-tempo").textContent = beat ? number(beat.bpm) : "–";
  byId("fact-bar").textContent =
    place && place.bar >= 0 ? `${place.bar}.${place.beat}` : "–";
  const { chart, chord, key } = app;
  byId("fact-chord").textContent =
    (chart ? [chart.now, chart.next].filter(Boolean).join(" → ") : chord) ||
    "–";
  byId("fact-key").textContent = key ? keyWords(key) : "–";
}

/** "C major" in the words of the language. */
function keyWords(key) {
  const [tonic, scale] = key.split(" ");
  const name = `key.${scale}`;
  return has(name) ? words(name, { tonic }) : key;
}

function drawModes() {
  const modes = byId("modes");
  const control = app.table.find(({ name }) => name === "mode");
  modes.replaceChildren(
    ...(control?.choices ?? []).map((mode) => {
      const input = make("input", {
        type: "radio",
        name: "mode",
        value: mode,
        on: { change: () => app.change("mode", mode) },
      });
      input.checked = app.controls?.mode === mode;
      return make(
        "label",
        {},
        input,
        make("span", { data: { text: `choice.mode.${mode}` } }),
      );
    }),
  );
  fill(modes);
}

// The first visit.

function hideWelcome() {
  byId("welcome").hidden = true;
}

function drawProgress() {
  const { phase, progress } = app;
  const waiting = ["connecting", "loading", "compiling", "restarting"];
  const box = byId("progress");
  box.hidden = !waiting.includes(phase);
  if (box.hidden) return;
  const bar = byId("progress-bar");
  if (progress?.total) bar.value = progress.done / progress.total;
  else bar.removeAttribute("value");
  const key = app.demoWanted ? "welcome.soon" : `phase.${phase}`;
  byId("progress-text").textContent = words(key, progress ?? {});
}

/** A phrase is played in for the player, also while the model still loads. */
function playDemo() {
  app.sound.wake();
  app.demoWanted = !app.link.open || app.info.phrases === undefined;
  if (app.demoWanted) {
    drawProgress();
    return;
  }
  // The engine answers by itself what was played before it was ready.
  if (app.phase !== "ready") app.notice(words("welcome.later"));
  const [phrase] = app.info.phrases;
  app.playIn({ phrase });
}

// Where the session cannot go on.

function showGate(why, message) {
  app.phase = "over";
  drawTurn();
  drawProgress();
  const button = byId("gate-button");
  byId("gate-title").textContent = words(`gate.${why}.title`);
  byId("gate-text").textContent = words(`gate.${why}`, {
    sessions: message?.sessions ?? "",
  });
  button.textContent = words(`gate.${why}.button`);
  byId("gate").hidden = false;
  app.say(words(`gate.${why}.title`));
  button.focus();
}

function leaveGate() {
  byId("gate").hidden = true;
  app.phase = "connecting";
  drawProgress();
  app.sound.wake();
  app.link.connectAnew();
}

// The panel.

function showPanel(open) {
  byId("room").dataset.panel = open ? "open" : "closed";
  byId("panel-toggle").setAttribute("aria-expanded", String(open));
}

function makePanel() {
  const prompts = makePromptPad(app);
  const adapters = makeAdapters(app);
  app.adapters = adapters;
  const style = {
    name: "style",
    sheet: make("div", {}, ...prompts.parts, ...adapters.parts),
    shown: () => {
      prompts.shown();
      adapters.shown();
    },
  };
  const generating = makeGenerating(app);
  const takes = makeTakes(app);
  const takesSheet = {
    name: "takes",
    sheet: make("div", {}, ...generating.parts, ...takes.parts),
    shown: takes.shown,
  };
  makeTabs(byId("tabs"), byId("sheets"), [
    makeSteering(app),
    style,
    makeTime(app),
    takesSheet,
    makeMine(app, takes),
    makeSetup(app),
  ]);
  fill(byId("panel"));
  const toggle = byId("panel-toggle");
  toggle.addEventListener("click", () =>
    showPanel(toggle.getAttribute("aria-expanded") !== "true"),
  );
  showPanel(!matchMedia(NARROW).matches);
}

// What the server sends.

function listen() {
  const on = (type, call) =>
    app.link.addEventListener(type, ({ detail }) => call(detail));
  on("welcome", (message) => {
    byId("gate").hidden = true;
    app.controls = message.controls;
    app.meter = message.meter;
    app.phase = message.phase;
    if (!message.resumed) Object.assign(app.music, new Music());
    if (message.resumed) app.notice(words("status.resumed"));
    app.tell("welcome");
    app.tell("controls");
    drawModes();
    drawTurn();
    drawProgress();
    if (app.demoWanted) playDemo();
  });
  on("playing", ({ playing }) => {
    app.playingIn = playing;
  });
  on("restarted", (message) => {
    app.silence();
    Object.assign(app.music, new Music());
    app.echoes = [];
    app.meter = message.meter;
    app.tell("takes");
  });
  on("status", (message) => {
    if (message.phase === "ended") return;
    app.phase = message.phase;
    app.progress = message;
    drawProgress();
    drawTurn();
    if (message.phase !== "ready") return;
    app.say(words("status.ready"));
  });
  on("state", (state) => {
    const now = app.clock.session();
    app.turn = state.turn;
    app.busy = state.busy;
    app.chart = state.chart;
    app.chord = state.chord;
    app.key = state.key;
    const { beat } = state;
    app.music.replying = state.turn === "model";
    app.music.beat = beat?.bpm
      ? {
          bpm: beat.bpm,
          perBar: beat.beats_per_bar,
          start: beat.start_s,
          source: beat.source,
        }
      : null;
    app.music.setPlan(state.plan, now);
    app.music.setChord(state.chart?.now ?? state.chord, now);
    if (app.phase !== "ready") app.phase = "ready";
    drawTurn();
  });
  on("figures", (figures) => {
    app.figures = figures;
    app.tell("figures");
  });
  on("controls", (message) => {
    app.controls = message.controls;
    app.tell("controls");
    for (const input of byId("modes").querySelectorAll("input")) {
      input.checked = input.value === app.controls.mode;
    }
    drawTurn();
  });
  on("notes", (notes) => app.received(notes));
  on("notice", ({ text, warning }) => app.notice(text, warning));
  on("error", ({ text }) => app.notice(text, true));
  on("lost", () => {
    app.phase = "lost";
    app.silence();
    app.notice(words("status.lost"), true);
    drawTurn();
  });
  on("over", ({ why, message }) => {
    app.silence();
    const reason = message?.reason;
    showGate(why === "ended" && reason in REASONS ? reason : why, message);
  });
}

const REASONS = { idle: 1, lost: 1, failed: 1, closing: 1 };

function listenToPlayer() {
  byId("demo").addEventListener("click", playDemo);
  byId("gate-button").addEventListener("click", leaveGate);
  byId("hand-over").addEventListener("click", () => app.link.act("hand_over"));
  const panic = () => {
    app.link.act("panic");
    app.input.release();
    app.silence();
  };
  byId("panic").addEventListener("click", panic);
  const shift = (octaves) => {
    app.keys.shift(octaves);
    app.piano.shift(octaves);
  };
  byId("octave-down").addEventListener("click", () => shift(-1));
  byId("octave-up").addEventListener("click", () => shift(1));
  const louder = (by) => {
    const velocity = Math.max(20, Math.min(120, app.keys.velocity + by));
    app.keys.velocity = velocity;
    app.notice(words("keys.velocity", { velocity }));
  };
  app.keys.commands = {
    ArrowLeft: () => shift(-1),
    ArrowRight: () => shift(1),
    ArrowUp: () => louder(8),
    ArrowDown: () => louder(-8),
    Space: () => app.link.act("hand_over"),
    Escape: panic,
  };
  // Where there are no letters to press, the octaves are named.
  const octaves = new Map();
  for (let key = 24; key <= 108; key += 12) octaves.set(key, keyName(key));
  const label = () => {
    const touch = matchMedia("(pointer: coarse)").matches;
    app.piano.label(touch ? octaves : app.keys.letters);
  };
  app.keys.addEventListener("moved", label);
  label();
  for (const type of ["pointerdown", "keydown"]) {
    addEventListener(type, () => app.sound.wake(), { capture: true });
  }
  addEventListener("pagehide", () => {
    app.input.release();
    app.midi.silence();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) app.input.release();
  });
  dropTarget(byId("stage"), async ([file]) => {
    try {
      const { id, name } = await upload(file);
      app.notice(words("file.continuing", { name }));
      app.playIn({ upload: id });
    } catch (error) {
      app.notice(error.message, true);
    }
  });
  // A file that misses its place must not replace the page.
  for (const type of ["dragover", "drop"]) {
    addEventListener(type, (event) => event.preventDefault());
  }
}

function animate() {
  let drawnAt = 0;
  let factsAt = 0;
  let forgotAt = 0;
  const frame = (at) => {
    const now = app.clock.session();
    // Where nothing moves, a picture now and then is enough.
    if (!app.music.still || at - drawnAt > STILL_MS) {
      drawnAt = at;
      app.roll.draw(now, at);
      app.piano.mark(app.music.sounding(now));
    }
    if (at - factsAt > FACTS_MS) {
      factsAt = at;
      drawFacts();
    }
    if (at - forgotAt > 2000) {
      forgotAt = at;
      app.music.forget(now);
    }
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

async function readTables() {
  try {
    const [info, { controls }] = await Promise.all([
      get("/api/info"),
      get("/api/controls"),
    ]);
    app.info = info;
    app.table = controls;
    app.tell("info");
    app.tell("table");
    drawModes();
    if (app.demoWanted) playDemo();
  } catch (error) {
    app.notice(error.message, true);
  }
}

async function begin() {
  await useLanguage(firstLanguage());
  app = new App();
  makePanel();
  listen();
  listenToPlayer();
  drawTurn();
  drawProgress();
  animate();
  app.sound.load().catch((error) => app.notice(error.message, true));
  app.midi.openIfAllowed();
  app.link.connect();
  readTables();
}

begin();
