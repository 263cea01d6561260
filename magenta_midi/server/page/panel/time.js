// Tempo, bars, groove, chart, metronome and count-in.
import { make } from "../dom.js";
import { words } from "../words.js";
import { choice, slider, text, toggle } from "./fields.js";
import { fieldOf } from "./steering.js";

const METERS = ["4/4", "3/4", "6/8", "2/4", "5/4", "12/8"];

export function makeTime(app) {
  const sheet = make("div");
  const fields = new Map();

  const chart = text("chords", { long: true, most: 2000 });
  const sendChart = () => app.change("chords", chart.input.value);
  const chartButtons = make(
    "div",
    { class: "row tight" },
    make("button", {
      type: "button",
      data: { text: "chart.use" },
      on: { click: sendChart },
    }),
    make("button", {
      type: "button",
      data: { text: "chart.clear" },
      on: {
        click: () => {
          chart.input.value = "";
          sendChart();
        },
      },
    }),
  );

  const metronome = toggle("metronome", (on) => (app.metronome.on = on));
  metronome.set(app.metronome.on);
  const click = slider(
    { name: "click_volume", low: 0, high: 1, step: 0.05 },
    (volume) => app.sound.setVolume(app.sound.clicks, volume, false),
  );
  click.set(app.sound.clicks.volume);

  const countTempo = slider(
    { name: "count_tempo", low: 40, high: 240, step: 1 },
    (value) => (app.countTempo = value),
  );
  app.countTempo = 96;
  countTempo.set(app.countTempo);
  const meter = choice("meter", METERS, () => {});
  const first = choice("first", ["me", "ai"], () => {});
  const trade = choice("trade", ["0", "4", "8"], () => {});
  const count = make("button", {
    type: "button",
    class: "main",
    id: "count-in",
    data: { text: "time.count_in" },
    on: {
      click: () =>
        app.startAnew({
          tempo: app.countTempo,
          meter: meter.input.value,
          first: first.input.value,
          trade: Number(trade.input.value),
        }),
    },
  });
  const freeAgain = make("button", {
    type: "button",
    data: { text: "time.no_count_in" },
    on: {
      click: () =>
        app.startAnew({ tempo: 0, trade: 0, meter: meter.input.value }),
    },
  });

  const tap = make("button", {
    type: "button",
    id: "tap",
    data: { text: "act.tap", title: "act.tap.help" },
    on: { pointerdown: () => app.link.act("tap") },
  });
  // A key press of a screen reader or of the keyboard comes as a click.
  tap.addEventListener("click", (event) => {
    if (event.detail === 0) app.link.act("tap");
  });

  const build = () => {
    fields.clear();
    const change = (name, value) => app.change(name, value);
    const made = (name) => {
      const control = app.table.find((one) => one.name === name);
      if (!control) return null;
      let field;
      if (name === "tempo") field = tempoField(control);
      else if (control.kind === "groove") {
        field = choice(name, control.choices, (value) => change(name, value));
      } else field = fieldOf(control, change);
      if (field) fields.set(name, field);
      return field?.frame;
    };
    sheet.replaceChildren(
      make("h2", { text: words("time.title"), data: { text: "time.title" } }),
      ...[made("tempo")].filter(Boolean),
      make("div", { class: "row tight" }, tap),
      ...["free", "groove", "tightness"].map(made).filter(Boolean),
      make("hr"),
      make("h2", { text: words("chart.title"), data: { text: "chart.title" } }),
      chart.frame,
      chartButtons,
      ...["chord_weight", "harmony"].map(made).filter(Boolean),
      make("hr"),
      make("h2", { text: words("count.title"), data: { text: "count.title" } }),
      metronome.frame,
      click.frame,
      countTempo.frame,
      meter.frame,
      trade.frame,
      first.frame,
      make("div", { class: "row tight" }, count, freeAgain),
    );
    app.fill(sheet);
    show();
  };

  /** At the left end the tempo is the player's own. */
  const tempoField = (control) => {
    const least = Math.max(control.low, 30);
    return slider(
      {
        name: "tempo",
        low: least - 1,
        high: control.top ?? control.high,
        step: 1,
        default: least - 1,
        show: (value) => (value < least ? words("time.own") : String(value)),
      },
      (value) => app.change("tempo", value < least ? 0 : value),
    );
  };

  const show = () => {
    const { controls } = app;
    if (!controls) return;
    for (const [name, field] of fields) {
      if (controls[name] === undefined) continue;
      const value = controls[name];
      field.set(name === "groove" ? String(value).split(":")[0] : value);
    }
    if (document.activeElement !== chart.input) {
      chart.input.value = controls.chords ?? "";
    }
  };
  app.addEventListener("table", build);
  app.addEventListener("controls", show);
  app.addEventListener("welcome", () => {
    meter.set(app.meter ?? "4/4");
  });
  return { name: "time", sheet };
}
