// Adapters: switched while playing, and blended with a new start.
import { make } from "../dom.js";
import { number, words } from "../words.js";
import { get } from "../play/rest.js";
import { slider } from "./fields.js";

const MAX = 8;

export function makeAdapters(app) {
  const playing = make("div", {
    class: "list",
    id: "adapters",
    role: "radiogroup",
    data: { label: "adapter.title" },
  });
  const first = make("select", { data: { label: "adapter.first" } });
  const second = make("select", { data: { label: "adapter.second" } });
  let share = 0.5;
  const mix = slider(
    {
      name: "adapter_mix",
      low: 0.05,
      high: 0.95,
      step: 0.05,
      show: (value) =>
        `${number(100 * (1 - value))} % : ${number(100 * value)} %`,
    },
    (value) => (share = value),
  );
  mix.set(share);
  const none = make("p", { class: "help", data: { text: "adapter.none" } });
  const tools = make("div", { class: "sheet" });
  let installed = [];

  const choices = () => app.controls?.adapters ?? [];

  /** Starts anew with one more choice, and plays it. */
  const load = (choice) => {
    const before = choices().filter((one) => one !== choice);
    const others = before.includes("") ? before : ["", ...before];
    const next = [...others.slice(0, MAX - 1), choice];
    app.startAnew({
      adapters: next,
      controls: { adapter: next.indexOf(choice) + 1 },
    });
    app.notice(words("adapter.loading"));
  };

  const draw = () => {
    const { controls } = app;
    if (!controls) return;
    const list = choices().length ? choices() : [""];
    playing.replaceChildren(
      ...list.map((choice, i) => {
        const input = make("input", {
          type: "radio",
          name: "adapter",
          on: { change: () => app.change("adapter", i + 1) },
        });
        input.checked = controls.adapter === i + 1 || list.length === 1;
        return make(
          "label",
          { class: "row" },
          input,
          make("span", { text: choice || words("adapter.alone") }),
        );
      }),
    );
  };

  const drawInstalled = () => {
    const fitting = installed.filter(({ base_fits }) => base_fits);
    none.hidden = fitting.length > 0;
    tools.hidden = fitting.length === 0;
    const option = ({ name }) => make("option", { value: name, text: name });
    first.replaceChildren(...fitting.map(option));
    second.replaceChildren(...fitting.map(option));
    if (fitting.length > 1) second.selectedIndex = 1;
    const add = make(
      "div",
      { class: "chips" },
      ...fitting.map(({ name }) =>
        make("button", {
          type: "button",
          class: "small",
          text: words("adapter.load", { name }),
          on: { click: () => load(name) },
        }),
      ),
    );
    const blend = [
      make("h3", { class: "help", text: words("adapter.blend") }),
      make(
        "div",
        { class: "row tight" },
        make("div", { class: "grow" }, first),
        make("div", { class: "grow" }, second),
      ),
      mix.frame,
      make("button", {
        type: "button",
        text: words("adapter.blend.load"),
        on: {
          click: () => {
            if (first.value === second.value) return;
            const [a, b] = [1 - share, share].map((one) => one.toFixed(2));
            load(`${first.value}:${a} + ${second.value}:${b}`);
          },
        },
      }),
    ];
    tools.replaceChildren(add, ...(fitting.length > 1 ? blend : []));
  };

  const look = async () => {
    try {
      installed = (await get("/api/adapters")).adapters;
      drawInstalled();
    } catch (error) {
      app.notice(error.message, true);
    }
  };
  app.addEventListener("controls", draw);
  app.addEventListener("language", () => {
    draw();
    drawInstalled();
  });
  app.addEventListener("adapters", look);
  return {
    parts: [
      make("hr"),
      make("h2", { data: { text: "adapter.title" } }),
      playing,
      none,
      tools,
    ],
    shown: look,
    load,
  };
}
