// Music without playing: from a file, or from nothing; and a file continued
// in the running session.
import { dropTarget, fileButton, make } from "../dom.js";
import { number, words } from "../words.js";
import { lines, upload } from "../play/rest.js";
import { MODEL } from "../play/music.js";
import { Playback, drawSmall } from "../play/playback.js";
import { numberField, slider } from "./fields.js";

const [LOWEST, HIGHEST] = [21, 108]; // keys of a piano
const AHEAD_S = 2.5; // of music before it begins to sound
// What may be asked for: name, lowest, highest, step.
const ASKED = [
  ["density", 0, 100, 0.5],
  ["loudness", 1, 127, 1],
  ["pedal", 0, 1, 0.05],
  ["tempo", 20, 400, 1],
  ["low", 0, 127, 1],
  ["high", 0, 127, 1],
];

/** The adapters that play now; of a blend each with its scale. */
function playingAdapters(controls) {
  const choice = controls?.adapters?.[controls.adapter - 1] ?? "";
  return choice ? choice.split(" + ") : [];
}

export function makeGenerating(app) {
  let file = null; // of an upload: id, name, seconds
  let stopping = null;
  let seconds = 20;

  const chosen = make("p", { class: "help" });
  const picture = make("canvas", { class: "thumb", "aria-hidden": "true" });
  const state = make("p", { class: "help", role: "status" });
  const length = slider(
    { name: "generate_seconds", low: 4, high: 120, step: 2 },
    (value) => (seconds = value),
  );
  length.set(seconds);
  const asked = Object.fromEntries(
    ASKED.map(([name, low, high, step]) => [
      name,
      numberField({ name: `generate_${name}`, low, high, step }),
    ]),
  );
  const asking = make(
    "details",
    { id: "generate-ask" },
    make("summary", { data: { text: "generate.ask" } }),
    make(
      "div",
      { class: "sheet" },
      make("p", { class: "help", data: { text: "generate.ask.help" } }),
      ...Object.values(asked).map(({ frame }) => frame),
    ),
  );
  const targets = () => {
    const found = {};
    for (const name of ["density", "loudness", "pedal", "tempo"]) {
      if (asked[name].value !== null) found[name] = asked[name].value;
    }
    const ends = [asked.low.value, asked.high.value];
    if (ends.some((end) => end !== null)) {
      const [low, high] = [ends[0] ?? LOWEST, ends[1] ?? HIGHEST];
      found.register = [Math.round(low), Math.round(high)];
    }
    return found;
  };

  const take = async ([first]) => {
    try {
      file = await upload(first);
      draw();
    } catch (error) {
      app.notice(error.message, true);
    }
  };
  const zone = make(
    "div",
    { class: "dropzone", id: "continue" },
    make("p", { data: { text: "file.drop" } }),
    fileButton("", take),
  );
  zone.querySelector("span > button").dataset.text = "file.choose";
  dropTarget(zone, take);

  const goOn = make("button", {
    type: "button",
    id: "continue-this",
    data: { text: "file.continue", title: "file.continue.help" },
    on: { click: () => app.playIn({ upload: file.id }) },
  });
  const begin = make("button", { type: "button", id: "generate" });
  const downloads = make("div", { class: "row tight help" });

  const draw = () => {
    const { name, seconds: lasts } = file ?? {};
    chosen.hidden = goOn.hidden = file === null;
    if (file) {
      chosen.textContent = words("file.chosen", {
        name,
        seconds: number(lasts),
      });
    }
    begin.textContent = words(stopping ? "generate.stop" : "generate.begin");
    begin.classList.toggle("main", !stopping);
  };

  const run = async () => {
    const { controls } = app;
    const notes = [];
    stopping = new AbortController();
    downloads.replaceChildren();
    picture.hidden = false;
    draw();
    await app.sound.wake();
    const playback = new Playback(app.sound);
    playback.whole = false;
    const body = {
      seconds,
      ...(file ? { upload: file.id } : {}),
      prompts: controls?.prompts ?? [],
      adapters: playingAdapters(controls),
      guidance: controls?.guidance,
      temperature: controls?.temperature,
      ...targets(),
    };
    let until = 0;
    const show = () => {
      const at = playback.playing ? playback.seconds : null;
      drawSmall(picture, notes, seconds, app.roll.colors, at);
      if (stopping || playback.playing) requestAnimationFrame(show);
    };
    show();
    try {
      for await (const line of lines("/api/generate", body, stopping.signal)) {
        if (line.type === "error") throw new Error(line.text);
        if (line.type === "chunk") {
          const found = line.notes.map((note) => [MODEL, ...note]);
          const pedals = (line.pedals ?? []).map((one) => [MODEL, ...one]);
          notes.push(...found);
          playback.add(found, pedals);
          until = line.from_s + line.seconds;
          if (!playback.playing && until >= Math.min(AHEAD_S, seconds)) {
            playback.start();
          }
          state.textContent = words("generate.chunk", {
            seconds: number(until),
          });
        } else if (line.type === "done") finish(line, playback);
        else if (line.type !== "begin") {
          state.textContent = words(`generate.${line.type}`);
        }
      }
    } catch (error) {
      playback.stop();
      state.textContent =
        error.name === "AbortError" ? words("generate.ended") : error.message;
    }
    stopping = null;
    playback.whole = true;
    draw();
  };
  const finish = ({ id, notes }, playback) => {
    state.textContent = words("generate.done", { notes: number(notes) });
    if (!playback.playing) playback.start();
    const link = (name, kind) =>
      make("a", {
        href: `/api/generated/${encodeURIComponent(id)}/${name}`,
        download: name,
        text: kind,
      });
    downloads.replaceChildren(
      make("span", { text: words("take.download") }),
      link("music.mid", "MIDI"),
      link("music.wav", "WAV"),
    );
  };
  begin.addEventListener("click", () => {
    if (stopping) stopping.abort();
    else run();
  });
  picture.hidden = true;
  draw();
  app.addEventListener("language", draw);
  return {
    parts: [
      make("h2", { data: { text: "file.title" } }),
      zone,
      chosen,
      goOn,
      make("hr"),
      make("h2", { data: { text: "generate.title" } }),
      make("p", { class: "help", data: { text: "generate.help" } }),
      length.frame,
      asking,
      begin,
      picture,
      state,
      downloads,
      make("hr"),
    ],
  };
}
