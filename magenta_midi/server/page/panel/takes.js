// Saved sessions, here called takes: play back, rate, keep, trim, download.
import { make } from "../dom.js";
import { language, number, words } from "../words.js";
import { get, send } from "../play/rest.js";
import { Playback, drawSmall } from "../play/playback.js";

const STARS = [1, 2, 3, 4, 5];
const FEW = 12; // shown at first
const LEAD_S = 0.5; // of silence before the first note
const byValue = (a, b) => a - b;

const minutes = (seconds) => {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
};

function when(started) {
  const date = new Date(typeof started === "number" ? started * 1000 : started);
  if (Number.isNaN(date.getTime())) return String(started);
  return new Intl.DateTimeFormat(language(), {
    dateStyle: "medium",
    timeStyle: "short",
  }).format(date);
}

/** One take as a card. */
class Card {
  constructor(app, take, changed) {
    Object.assign(this, { app, take, changed });
    this.music = null;
    this.element = make("li", { class: "card", data: { take: take.id } });
    this.draw();
  }

  get path() {
    return `/api/takes/${encodeURIComponent(this.take.id)}`;
  }

  async #try(call) {
    try {
      return await call();
    } catch (error) {
      this.app.notice(error.message, true);
      return null;
    }
  }

  async #patch(fields) {
    const take = await this.#try(() => send("PATCH", this.path, fields));
    if (!take) return;
    this.take = { ...this.take, ...take };
    this.draw();
  }

  async #play() {
    if (this.playback?.playing) {
      this.playback.stop();
      return;
    }
    this.music ??= await this.#try(() => get(`${this.path}/notes`));
    if (!this.music) return;
    await this.app.sound.wake();
    const canvas = make("canvas", { class: "thumb", "aria-hidden": "true" });
    this.picture.replaceWith(canvas);
    this.picture = canvas;
    const playback = new Playback(this.app.sound, () => {
      this.playButton.textContent = words("take.play");
    });
    this.playback = playback;
    playback.add(this.music.notes, this.music.pedals);
    // A take begins with the session, often long before its first note.
    const [first] = this.music.notes
      .map(([, , , onset]) => onset)
      .sort(byValue);
    playback.start(Math.max(0, (first ?? 0) - LEAD_S));
    this.playButton.textContent = words("take.stop");
    const show = () => {
      const at = playback.playing ? playback.seconds : null;
      const { notes, seconds } = this.music;
      drawSmall(canvas, notes, seconds, this.app.roll.colors, at);
      if (playback.playing) requestAnimationFrame(show);
    };
    show();
  }

  #stars() {
    const stars = STARS.map((rating) =>
      make("button", {
        type: "button",
        text: rating <= (this.take.rating ?? 0) ? "★" : "☆",
        "aria-label": words("take.rate", { rating }),
        "aria-pressed": String(rating <= (this.take.rating ?? 0)),
        on: { click: () => this.#patch({ rating }) },
      }),
    );
    return make(
      "span",
      { class: "stars", role: "group", "aria-label": words("take.rating") },
      ...stars,
    );
  }

  #trim() {
    const { seconds } = this.take;
    const field = (name, value) =>
      make("input", {
        type: "number",
        min: 0,
        max: Math.ceil(seconds),
        step: 0.1,
        value,
        "aria-label": words(`take.trim.${name}`),
      });
    const from = field("from", 0);
    const to = field("to", Math.floor(seconds * 10) / 10);
    const cut = async () => {
      const body = { from_s: Number(from.value), to_s: Number(to.value) };
      const made = await this.#try(() =>
        send("POST", `${this.path}/trim`, body),
      );
      if (made) this.changed();
    };
    return make(
      "details",
      {},
      make("summary", { text: words("take.trim") }),
      make(
        "div",
        { class: "row tight" },
        make("div", { class: "grow" }, from),
        make("span", { text: "–", "aria-hidden": "true" }),
        make("div", { class: "grow" }, to),
        make("button", {
          type: "button",
          text: words("take.trim.do"),
          on: { click: cut },
        }),
      ),
    );
  }

  /** @param take What the server says of it now. */
  update(take) {
    if (JSON.stringify(take) === JSON.stringify(this.take)) return;
    this.take = take;
    this.draw();
  }

  stop() {
    this.playback?.stop();
  }

  draw() {
    const { take } = this;
    const done = take.state === "done";
    const playing = Boolean(this.playback?.playing);
    // While it plays, its picture has the line that moves.
    if (!playing) {
      this.picture = make("img", {
        class: "thumb",
        alt: "",
        loading: "lazy",
        src: `${this.path}/thumbnail.svg`,
      });
    }
    this.playButton = make("button", {
      type: "button",
      text: words(playing ? "take.stop" : "take.play"),
      on: { click: () => this.#play() },
    });
    const facts = words("take.facts", {
      length: minutes(take.seconds ?? 0),
      player: number(take.notes_player ?? 0),
      model: number(take.notes_model ?? 0),
    });
    const download = (file, name) =>
      make("a", {
        href: `${this.path}/${file}`,
        download: `${take.id}.${file.split(".")[1]}`,
        text: name,
      });
    const state = done ? null : words(`take.state.${take.state}`);
    this.element.replaceChildren(
      ...(done ? [this.picture] : []),
      make(
        "div",
        { class: "row tight" },
        make("strong", { class: "grow", text: when(take.started ?? take.id) }),
        ...(done ? [this.#stars()] : []),
      ),
      make("p", { class: "facts-line", text: state ?? facts }),
    );
    if (!done) return;
    this.element.append(
      make(
        "div",
        { class: "row tight" },
        this.playButton,
        make("button", {
          type: "button",
          text: words("take.keep"),
          "aria-pressed": String(Boolean(take.keep)),
          title: words("take.keep.help"),
          on: { click: () => this.#patch({ keep: !take.keep }) },
        }),
        make("button", {
          type: "button",
          text: words("take.continue"),
          title: words("take.continue.help"),
          on: { click: () => this.app.playIn({ take: take.id }) },
        }),
      ),
      make(
        "div",
        { class: "row tight help" },
        make("span", { text: words("take.download") }),
        download("take.mid", "MIDI"),
        download("take.png", "PNG"),
        download("take.wav", "WAV"),
      ),
      this.#trim(),
    );
  }
}

export function makeTakes(app) {
  const cards = make("ul", { class: "cards", id: "takes" });
  const empty = make("p", { class: "help", data: { text: "take.none" } });
  const more = make("button", { type: "button", data: { text: "take.more" } });
  let takes = [];
  let shown = FEW;
  let drawn = new Map(); // Card by the take's name

  const draw = () => {
    const before = drawn;
    drawn = new Map();
    for (const take of takes.slice(0, shown)) {
      const card = before.get(take.id) ?? new Card(app, take, look);
      card.update(take);
      drawn.set(take.id, card);
    }
    for (const [id, card] of before) if (!drawn.has(id)) card.stop();
    cards.replaceChildren(...[...drawn.values()].map((card) => card.element));
    empty.hidden = takes.length > 0;
    more.hidden = takes.length <= shown;
  };
  const look = async () => {
    try {
      takes = (await get("/api/takes")).takes;
      draw();
    } catch (error) {
      app.notice(error.message, true);
    }
  };
  more.addEventListener("click", () => {
    shown += 3 * FEW;
    draw();
  });
  app.addEventListener("language", () => {
    for (const card of drawn.values()) card.draw();
  });
  app.addEventListener("takes", look);
  return {
    parts: [
      make("h2", { data: { text: "take.title" } }),
      make("p", { class: "help", data: { text: "take.help" } }),
      make("button", {
        type: "button",
        id: "save-take",
        data: { text: "take.save" },
        on: { click: () => app.startAnew({}) },
      }),
      empty,
      cards,
      more,
    ],
    shown: look,
    takes: () => takes,
    look,
  };
}
