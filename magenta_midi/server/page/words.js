// All words of the page, in the language that was chosen.
import { kept } from "./dom.js";

export const LANGUAGES = { en: "English", ko: "한국어" };

let table = {};
let fallback = {};
let chosen = "en";

/** The language to begin with: the one chosen before, or the browser's. */
export function firstLanguage() {
  const before = kept.get("language");
  if (before in LANGUAGES) return before;
  for (const language of navigator.languages ?? [navigator.language]) {
    const short = language.slice(0, 2).toLowerCase();
    if (short in LANGUAGES) return short;
  }
  return "en";
}

async function read(language) {
  const url = new URL(`./strings/${language}.json`, import.meta.url);
  return (await fetch(url)).json();
}

/** Reads the words of a language and writes them into the document. */
export async function useLanguage(language) {
  [table, fallback] = await Promise.all([
    read(language),
    language === "en" ? {} : read("en"),
  ]);
  chosen = language;
  document.documentElement.lang = language;
  fill(document);
}

export const language = () => chosen;

/** Whether there are words for a key. */
export const has = (key) => key in table || key in fallback;

/**
 * The words for a key.
 *
 * @param {string} key Of the tables in `strings/`.
 * @param {object} values Put in place of `{name}`.
 */
export function words(key, values = {}) {
  const text = table[key] ?? fallback[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) =>
    name in values ? String(values[name]) : whole,
  );
}

const literal = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/**
 * What the server says, which is English, in the language of the page.
 *
 * The English words of each key `said.*` are what the server writes, with names
 * where its sentence varies; a sentence that none fits stays as it is.
 */
export function said(text) {
  for (const [key, pattern] of Object.entries(fallback)) {
    if (!key.startsWith("said.")) continue;
    const parts = pattern
      .split(/\{(\w+)\}/)
      .map((part, index) => (index % 2 ? `(?<${part}>.+)` : literal(part)));
    const found = new RegExp(`^${parts.join("")}$`, "s").exec(text);
    if (found) return words(key, found.groups ?? {});
  }
  return text;
}

/** A number as the language writes it. */
export const number = (value, digits = 0) =>
  new Intl.NumberFormat(chosen, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  }).format(value);

/** Writes the words of all elements that name theirs. */
export function fill(root) {
  for (const element of root.querySelectorAll("[data-text]")) {
    element.textContent = words(element.dataset.text);
  }
  for (const element of root.querySelectorAll("[data-label]")) {
    element.setAttribute("aria-label", words(element.dataset.label));
  }
  for (const element of root.querySelectorAll("[data-title]")) {
    element.title = words(element.dataset.title);
  }
  for (const element of root.querySelectorAll("[data-placeholder]")) {
    element.placeholder = words(element.dataset.placeholder);
  }
}
