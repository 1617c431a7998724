// A row's details: a dialog that is filled in, with an address of its own.

const dialog = byId("row");
let current = null;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function line(cells) {
  const row = element("tr", null);
  row.append(...cells.map((text, i) => element(i ? "td" : "th", text, i ? {} : { scope: "row" })));
  return row;
}

function tableOf(name, lines) {
  const [title, head] = data().heads[name];
  const box = element("div", null, { class: "scroll", role: "region", tabindex: "0", "aria-label": title });
  const table = element("table", null);
  const [top, body] = [element("thead", null), element("tbody", null)];
  const heads = element("tr", null);
  heads.append(...head.map((text) => element("th", text, { scope: "col" })));
  top.append(heads);
  body.append(...lines.map(line));
  table.append(element("caption", title), top, body);
  if (head.length === 2) box.classList.add("wide");
  box.append(table);
  return box;
}

function fill(row) {
  byId("row-name").textContent = row.name;
  byId("row-key").textContent = row.key;
  for (const section of dialog.querySelectorAll("[data-part]")) {
    const part = row.parts[section.dataset.part];
    section.hidden = !part;
    if (!part) continue;
    const words = (part.said ?? []).map((text) => element("p", text));
    section.querySelector(".words").replaceChildren(...words);
    const found = Object.entries(part.tables ?? {})
      .map(([name, lines]) => [name, name === "run" ? data().run : lines])
      .filter(([, lines]) => lines.length);
    section.querySelector(".tables").replaceChildren(...found.map((one) => tableOf(...one)));
    const chart = section.querySelector(".chart");
    if (chart) chart.hidden = !part.chart;
  }
}

function open(number, focus = byId("row-name")) {
  hush();
  current = number;
  const row = data().rows[number];
  fill(row);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  history.replaceState(null, "", `#${new URLSearchParams({ row: row.key })}`);
  const all = openers();
  byId("before").disabled = !all.length || all[0].dataset.open === String(number);
  byId("next").disabled = !all.length || all[all.length - 1].dataset.open === String(number);
  (focus.disabled ? byId("row-name") : focus).focus();
  draw(row);
}

// The names of the rows that are shown, in their order, each row once.
function openers() {
  const all = [...document.querySelectorAll("tr[data-row]:not([hidden]) [data-open]")];
  const first = new Map();
  for (const one of all) if (!first.has(one.dataset.open)) first.set(one.dataset.open, one);
  return [...first.values()];
}

function step(by) {
  const all = openers();
  const at = all.findIndex((one) => one.dataset.open === String(current));
  const next = all[at + by];
  if (next) open(Number(next.dataset.open), byId(by < 0 ? "before" : "next"));
}

function closed() {
  history.replaceState(null, "", location.pathname + location.search);
  const opener = openers().find((one) => one.dataset.open === String(current));
  current = null;
  draw(null);
  opener?.focus();
}

// The row that the page's address names.
function openAsked() {
  const asked = new URLSearchParams(location.hash.slice(1)).get("row");
  const number = data().rows.findIndex((row) => row.key === asked);
  if (number >= 0) {
    open(number);
    return;
  }
  const text = `No row of this page is called ${asked}`;
  byId("count").textContent = text;
  say(text);
}

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-open]");
  if (opener) open(Number(opener.dataset.open));
});
byId("close").addEventListener("click", () => dialog.close());
byId("before").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
dialog.addEventListener("close", closed);
addEventListener("hashchange", () => { if (location.hash.startsWith("#row=")) openAsked(); });
if (location.hash.startsWith("#row=")) openAsked();
