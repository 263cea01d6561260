// The tabs of the panel.
import { make } from "../dom.js";
import { words } from "../words.js";

/**
 * Shows one sheet at a time.
 *
 * @param {HTMLElement} list Of the tabs.
 * @param {HTMLElement} room Of the sheets.
 * @param {Array<{name: string, sheet: HTMLElement, shown?: () => void}>} all
 */
export function makeTabs(list, room, all) {
  const tabs = all.map(({ name }) =>
    make("button", {
      type: "button",
      role: "tab",
      id: `tab-${name}`,
      "aria-controls": `sheet-${name}`,
      text: words(`tab.${name}`),
      data: { text: `tab.${name}` },
    }),
  );
  const select = (index, focus = false) => {
    tabs.forEach((tab, i) => {
      tab.setAttribute("aria-selected", String(i === index));
      tab.tabIndex = i === index ? 0 : -1;
      all[i].sheet.hidden = i !== index;
    });
    room.scrollTop = 0;
    if (focus) tabs[index].focus();
    all[index].shown?.();
  };
  all.forEach(({ name, sheet }, i) => {
    sheet.id = `sheet-${name}`;
    sheet.className = "sheet";
    sheet.tabIndex = 0;
    sheet.setAttribute("role", "tabpanel");
    sheet.setAttribute("aria-labelledby", `tab-${name}`);
    tabs[i].addEventListener("click", () => select(i));
    tabs[i].addEventListener("keydown", ({ code }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[code];
      if (step) select((i + step + all.length) % all.length, true);
    });
  });
  list.replaceChildren(...tabs);
  room.replaceChildren(...all.map(({ sheet }) => sheet));
  select(0);
  return { select: (name) => select(all.findIndex((t) => t.name === name)) };
}
