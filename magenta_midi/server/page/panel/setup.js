// Sound, MIDI ports, language, light and dark, and the figures of latency.
import { kept, make } from "../dom.js";
import { LANGUAGES, language, number, words } from "../words.js";
import { MODEL, PLAYER } from "../play/music.js";
import { slider } from "./fields.js";

const THEMES = ["auto", "light", "dark"];

/** p50 and p99 of numbers; null without any. */
export function percentiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  if (!sorted.length) return { p50: null, p99: null };
  const at = (share) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
  return { p50: at(0.5), p99: at(0.99) };
}

function volumeOf(app, part, name) {
  const muted = make("button", {
    type: "button",
    class: "small",
    "aria-pressed": "false",
    data: { text: "sound.mute" },
  });
  const bus = app.sound.parts[part];
  const write = () => app.sound.setPartVolume(part, bus.volume, bus.muted);
  const field = slider(
    {
      name,
      low: 0,
      high: 1,
      step: 0.05,
      show: (value) => `${number(value * 100)} %`,
    },
    (value) => {
      bus.volume = value;
      write();
    },
  );
  field.set(bus.volume);
  muted.addEventListener("click", () => {
    bus.muted = !bus.muted;
    muted.setAttribute("aria-pressed", String(bus.muted));
    write();
  });
  return make(
    "div",
    { class: "row" },
    make("div", { class: "grow" }, field.frame),
    muted,
  );
}

function midiPart(app) {
  const { midi } = app;
  const state = make("p", { class: "help", id: "midi-state" });
  const connect = make("button", {
    type: "button",
    id: "midi-connect",
    data: { text: "midi.connect" },
    on: { click: () => midi.open() },
  });
  const inputs = make("div", { class: "list", id: "midi-inputs" });
  const output = make("select", {
    id: "midi-output",
    on: {
      change: () => {
        midi.useOutput(output.value || null);
        app.sound.silence(MODEL);
      },
    },
  });
  const outputField = make(
    "div",
    { class: "field" },
    make("label", { for: "midi-output", data: { text: "midi.output" } }),
    output,
  );
  const draw = () => {
    const count = midi.inputs.length;
    const found = count ? "found" : "none";
    state.textContent = words(
      midi.state === "on" ? `midi.${found}` : `midi.${midi.state}`,
      { count },
    );
    connect.hidden = midi.state !== "ask" && midi.state !== "denied";
    inputs.replaceChildren(
      ...midi.inputs.map((port) => {
        const input = make("input", {
          type: "checkbox",
          on: { change: () => midi.use(port.id, input.checked) },
        });
        input.checked = !midi.shut.has(port.id);
        return make("label", { class: "row tight" }, input, port.name ?? "");
      }),
    );
    outputField.hidden = midi.state !== "on";
    const option = (value, text) => make("option", { value, text });
    output.replaceChildren(
      option("", words("midi.output.page")),
      ...midi.outputs.map((port) => option(port.id, port.name ?? port.id)),
    );
    output.value = midi.hasOutput ? midi.outputId : "";
  };
  midi.addEventListener("changed", draw);
  app.addEventListener("language", draw);
  draw();
  return [
    make("h2", { data: { text: "midi.title" } }),
    state,
    connect,
    inputs,
    outputField,
  ];
}

/** The way of a key press to the answer's sound, part by part. */
function figuresPart(app) {
  const body = make("tbody");
  const note = make("p", { class: "help", id: "rates" });
  const write = () => {
    const { compute_ms, horizon_ms } = app.figures ?? {};
    const socket = percentiles(app.clock.trips);
    const parts = {
      browser: percentiles(app.browserMs),
      socket,
      engine: {
        p50: compute_ms?.p50 == null ? null : compute_ms.p50 + horizon_ms,
        p99: compute_ms?.p99 == null ? null : compute_ms.p99 + horizon_ms,
      },
      audio: {
        p50: app.aheadMs + app.sound.delayMs,
        p99: app.aheadMs + app.sound.delayMs,
      },
    };
    const sum = (p) => {
      const all = Object.values(parts).map((part) => part[p]);
      return all.includes(null) ? null : all.reduce((a, b) => a + b, 0);
    };
    const rows = Object.entries({
      ...parts,
      all: { p50: sum("p50"), p99: sum("p99") },
    });
    const cell = (value) =>
      make("td", { text: value === null ? "–" : number(value, 1) });
    body.replaceChildren(
      ...rows.map(([name, { p50, p99 }]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row", text: words(`figures.${name}`) }),
          cell(p50),
          cell(p99),
        ),
      ),
    );
    note.textContent = words("figures.rates", {
      rate: number(app.roll.rate),
      busy: number(100 * Math.min(app.busy, 1)),
    });
  };
  app.addEventListener("figures", write);
  app.addEventListener("language", write);
  write();
  const head = make(
    "tr",
    {},
    make("th", { scope: "col", data: { text: "figures.part" } }),
    make("th", { scope: "col", text: "p50" }),
    make("th", { scope: "col", text: "p99" }),
  );
  return [
    make("h2", { data: { text: "figures.title" } }),
    make("p", { class: "help", data: { text: "figures.help" } }),
    make(
      "table",
      { class: "figures", id: "figures" },
      make("thead", {}, head),
      body,
    ),
    note,
  ];
}

function themePart(app) {
  const buttons = THEMES.map((theme) =>
    make("button", {
      type: "button",
      data: { text: `theme.${theme}`, theme },
      on: { click: () => use(theme) },
    }),
  );
  const use = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    kept.set("theme", theme);
    for (const button of buttons) {
      const pressed = button.dataset.theme === theme;
      button.setAttribute("aria-pressed", String(pressed));
    }
    app.roll.readColors();
  };
  const before = kept.get("theme");
  use(THEMES.includes(before) ? before : "auto");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    app.roll.readColors(),
  );
  return make("div", { class: "row tight" }, ...buttons);
}

function languagePart(app) {
  const select = make("select", {
    id: "language",
    data: { label: "setup.language" },
    on: { change: () => app.useLanguage(select.value) },
  });
  for (const [value, text] of Object.entries(LANGUAGES)) {
    select.append(make("option", { value, text, lang: value }));
  }
  select.value = language();
  return select;
}

export function makeSetup(app) {
  const keysHelp = make("p", { class: "help", data: { text: "keys.help" } });
  return {
    name: "setup",
    sheet: make(
      "div",
      {},
      make("h2", { data: { text: "sound.title" } }),
      volumeOf(app, PLAYER, "volume_player"),
      volumeOf(app, MODEL, "volume_model"),
      make("hr"),
      ...midiPart(app),
      make("hr"),
      make("h2", { data: { text: "setup.title" } }),
      languagePart(app),
      themePart(app),
      make("hr"),
      make("h2", { data: { text: "keys.title" } }),
      keysHelp,
      make("hr"),
      ...figuresPart(app),
    ),
  };
}
