// "Make it mine": the player's recordings become an adapter.
import { blank, dropTarget, fileButton, make } from "../dom.js";
import { number, words } from "../words.js";
import { get, send, upload } from "../play/rest.js";
import { slider } from "./fields.js";

const LOOK_MS = 2000;
const RUNNING = new Set(["starting", "reading", "training", "stopping"]);

/** Draws a curve of losses. */
function drawCurve(canvas, run, colors) {
  const { context, width, height } = blank(canvas);
  const curve = run.curve ?? [];
  const heldOut = run.held_out ?? [];
  const draw = (points, color, wide, dots) => {
    if (!points.length) return;
    const losses = points.map(([, loss]) => loss);
    const [low, high] = [Math.min(...losses), Math.max(...losses)];
    const last = Math.max(1, ...curve.map(([step]) => step), points.at(-1)[0]);
    const at = ([step, loss]) => [
      8 + (width - 16) * (step / last),
      10 + (height - 20) * (1 - (loss - low) / (high - low || 1)),
    ];
    context.strokeStyle = context.fillStyle = color;
    context.lineWidth = wide;
    context.beginPath();
    points.forEach((point) => context.lineTo(...at(point)));
    context.stroke();
    if (!dots) return;
    for (const point of points) {
      context.beginPath();
      context.arc(...at(point), 3, 0, 7);
      context.fill();
    }
  };
  draw(curve, colors.soft, 1, false);
  draw(heldOut, colors.model, 2, true);
}

export function makeMine(app, takes) {
  const sheet = make("div");
  const files = [];
  const chosenTakes = new Set();
  let run = { state: "none" };
  let timer = 0;
  let minutes = 20;

  const fileList = make("ul", { class: "list" });
  const takeList = make("div", { class: "list" });
  const name = make("input", {
    type: "text",
    id: "mine-name",
    maxlength: 40,
    autocomplete: "off",
    spellcheck: "false",
  });
  const length = slider(
    { name: "train_minutes", low: 1, high: 60, step: 1 },
    (value) => (minutes = value),
  );
  length.set(minutes);

  const addFiles = async (dropped) => {
    for (const file of dropped) {
      try {
        files.push(await upload(file));
      } catch (error) {
        app.notice(`${file.name}: ${error.message}`, true);
      }
    }
    drawChosen();
  };
  const zone = make(
    "div",
    { class: "dropzone", id: "mine-drop" },
    make("p", { data: { text: "mine.drop" } }),
    fileButton("", addFiles, true),
  );
  zone.querySelector("span > button").dataset.text = "file.choose.many";
  dropTarget(zone, addFiles);

  const total = make("p", { class: "help" });
  const drawChosen = () => {
    fileList.replaceChildren(
      ...files.map((file, i) =>
        make(
          "li",
          {},
          make("span", { class: "name", text: file.name }),
          make("span", {
            class: "number",
            text: words("seconds", { seconds: number(file.seconds) }),
          }),
          make("button", {
            type: "button",
            class: "small",
            text: "×",
            "aria-label": words("mine.remove", { name: file.name }),
            on: {
              click: () => {
                files.splice(i, 1);
                // The server forgets it by itself if this fails.
                send("DELETE", `/api/uploads/${file.id}`).catch(() => {});
                drawChosen();
              },
            },
          }),
        ),
      ),
    );
    const all = takes.takes().filter(({ state }) => state === "done");
    takeList.replaceChildren(
      ...all.slice(0, 20).map((take) => {
        const input = make("input", {
          type: "checkbox",
          on: {
            change: () => {
              if (input.checked) chosenTakes.add(take.id);
              else chosenTakes.delete(take.id);
              drawTotal();
            },
          },
        });
        input.checked = chosenTakes.has(take.id);
        const text = words("mine.take", {
          date: String(take.started).replace("T", " ").slice(0, 16),
          seconds: number(take.seconds),
        });
        return make("label", { class: "row tight" }, input, text);
      }),
    );
    drawTotal();
  };
  const drawTotal = () => {
    const seconds = [
      ...files,
      ...takes.takes().filter(({ id }) => chosenTakes.has(id)),
    ].reduce((sum, one) => sum + one.seconds, 0);
    total.hidden = seconds === 0;
    total.textContent = words("mine.total", {
      minutes: number(seconds / 60, 1),
    });
    startButton.disabled = seconds === 0;
  };

  const startButton = make("button", {
    type: "submit",
    class: "main",
    id: "mine-start",
    data: { text: "mine.start" },
  });
  const post = async (path, body) => {
    try {
      run = await send("POST", path, body);
      drawRun();
    } catch (error) {
      app.notice(error.message, true);
    }
  };
  const form = make(
    "form",
    {
      class: "sheet",
      on: {
        submit: (event) => {
          event.preventDefault();
          post("/api/finetune", {
            name: name.value.trim() || "me",
            takes: [...chosenTakes],
            uploads: files.map(({ id }) => id),
            minutes,
          });
        },
      },
    },
    zone,
    fileList,
    make(
      "details",
      {},
      make("summary", { data: { text: "mine.takes" } }),
      takeList,
    ),
    make(
      "div",
      { class: "field" },
      make("label", { for: "mine-name", data: { text: "mine.name" } }),
      name,
    ),
    length.frame,
    total,
    startButton,
  );

  const runState = make("p", { role: "status" });
  const runBar = make("progress", { max: 1, data: { label: "mine.progress" } });
  const curve = make("canvas", {
    class: "curve",
    role: "img",
    data: { label: "mine.curve" },
  });
  const runText = make("p", { class: "help" });
  const button = (key, click) =>
    make("button", { type: "button", data: { text: key }, on: { click } });
  const stop = button("mine.stop", () => post("/api/finetune/stop", {}));
  const resume = button("mine.resume", () => post("/api/finetune/resume", {}));
  const use = button("mine.use", () => app.adapters.load(run.adapter));
  const again = button("mine.again", () => {
    run = { state: "none" };
    drawRun();
  });
  const runBox = make(
    "div",
    { class: "card", id: "mine-run" },
    runState,
    runBar,
    curve,
    runText,
    make("div", { class: "row tight" }, stop, resume, use, again),
  );

  const drawRun = () => {
    const { state } = run;
    const running = RUNNING.has(state);
    form.hidden = state !== "none" && state !== undefined;
    runBox.hidden = !form.hidden;
    if (runBox.hidden) return;
    const [name, left] = [run.name ?? "", run.estimate_minutes];
    runState.textContent = words(`mine.state.${state}`, { name });
    runBar.hidden = !running;
    if (run.share != null) runBar.value = run.share;
    const gain =
      run.before != null && run.after != null
        ? words("mine.gain", {
            before: number(run.before, 3),
            after: number(run.after, 3),
          })
        : null;
    const estimate =
      running && left != null
        ? words("mine.estimate", { minutes: number(left, left < 2 ? 1 : 0) })
        : null;
    runText.textContent = [gain, estimate, run.text]
      .filter(Boolean)
      .join(" · ");
    stop.hidden = state !== "training" && state !== "reading";
    resume.hidden = state !== "stopped" && state !== "failed";
    use.hidden = state !== "done" || !run.adapter;
    again.hidden = running;
    curve.hidden = !run.curve?.length && !run.held_out?.length;
    if (!curve.hidden) drawCurve(curve, run, app.roll.colors);
    clearTimeout(timer);
    if (running) timer = setTimeout(look, LOOK_MS);
  };
  const look = async () => {
    const before = run.state;
    try {
      run = await get("/api/finetune");
    } catch (error) {
      app.notice(error.message, true);
    }
    if (before !== run.state && run.state === "done") {
      app.notice(words("mine.state.done", { name: run.name }));
      app.dispatchEvent(new Event("adapters"));
    }
    drawRun();
  };
  sheet.append(
    make("h2", { data: { text: "mine.title" } }),
    make("p", { class: "help", data: { text: "mine.help" } }),
    form,
    runBox,
  );
  app.addEventListener("language", () => {
    drawChosen();
    drawRun();
  });
  drawChosen();
  drawRun();
  return {
    name: "mine",
    sheet,
    shown: async () => {
      await takes.look();
      drawChosen();
      look();
    },
  };
}
