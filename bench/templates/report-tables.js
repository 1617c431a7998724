// Tables: sorting, filtering, and going through their buttons by keyboard.
// Plain JavaScript without a build step; all files of it stand in one block of one script.

const byId = (id) => document.getElementById(id);
const tables = [...document.querySelectorAll("main table")];
const say = (text) => { byId("said").textContent = text; };

// --- sorting

const TURNS = { none: "ascending", ascending: "descending", descending: "none" };

// What a cell is sorted by: in a column of numbers the one that it begins with, if it has one, else
// its text; null where it says nothing.
function key(row, place, numeric) {
  const cell = row.cells[place];
  const text = cell.dataset.order ?? cell.textContent.trim();
  if (text === "" || text === "–") return null;
  const number = numeric ? parseFloat(text.replace(/^[~≈<]/, "").replace(/,(?=\d{3})/g, "")) : NaN;
  return Number.isNaN(number) ? text : number;
}

// Numbers come first, then texts, and what says nothing is last: whichever way they are sorted.
const rank = (key) => (key === null ? 2 : typeof key === "string" ? 1 : 0);

function compare(one, other) {
  return typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true });
}

function sort(head) {
  const table = head.closest("table");
  const order = TURNS[head.getAttribute("aria-sort") ?? "none"];
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  if (order !== "none") head.setAttribute("aria-sort", order);
  const body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => a.dataset.place - b.dataset.place);
  if (order !== "none") {
    const keys = new Map(rows.map((row) => [row, key(row, head.cellIndex, "kind" in head.dataset)]));
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => {
      const [one, other] = [keys.get(a), keys.get(b)];
      if (one === null || rank(one) !== rank(other)) return rank(one) - rank(other);
      return sign * compare(one, other);
    });
  }
  body.append(...rows);
  oneStop(table);
  const title = head.textContent.trim();
  say(order === "none" ? "In the order of the run" : `Sorted by ${title}, ${order}`);
}

// --- filtering

const filters = byId("filters");

// What is asked of rows; a line of a further table stays as long as one of the rows that it is of.
function filter() {
  document.body.classList.toggle("compact", !filters.elements.columns.checked);
  const words = filters.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = [...filters.querySelectorAll("[data-filter]")].filter((one) => one.value);
  const rows = [...document.querySelectorAll("tr[data-row]")];
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !(words.every((word) => text.includes(word))
      && wanted.every((one) => row.dataset[one.name] === one.value));
  }
  const left = different(rows.filter((row) => !row.hidden));
  for (const line of document.querySelectorAll("tr[data-of]")) {
    line.hidden = !line.dataset.of.split(" ").some((number) => left.has(number));
  }
  tables.forEach(oneStop);
  const all = different(rows).size;
  byId("count").textContent = left.size === all ? `${all} rows` : `${left.size} of ${all} rows`;
}

// Which: by the numbers of their details, since one that is compared stands in two tables.
function different(rows) {
  return new Set(rows.map((row) => row.querySelector("[data-open]")?.dataset.open ?? row));
}

// --- one stop of the Tab key for all buttons in a table's rows; arrow keys go on from there

const stops = new WeakMap();
const few = () => document.body.classList.contains("compact");
const buttonsOf = (row) => [...row.querySelectorAll(few() ? ":not(.more) > button" : "button")];
const shown = (table) => [...table.tBodies[0].rows].filter((row) => !row.hidden);

function stopAt(table, button) {
  const old = stops.get(table);
  if (old) old.tabIndex = -1;
  if (button) button.tabIndex = 0;
  stops.set(table, button);
}

// The first row's, wherever it was before: after sorting and filtering one begins at the top.
function oneStop(table) {
  const row = shown(table).find((one) => buttonsOf(one).length);
  stopAt(table, row ? buttonsOf(row)[0] : null);
}

// The button in the same column of another row, or the nearest one to its left.
function under(row, place) {
  const all = buttonsOf(row);
  return all.findLast((one) => one.closest("td, th").cellIndex <= place) ?? all[0];
}

function go(event) {
  const row = event.target.closest("tbody tr");
  const table = row?.closest("main table");
  if (!table || event.ctrlKey || event.altKey || event.metaKey) return;
  const own = buttonsOf(row);
  const rows = shown(table).filter((one) => buttonsOf(one).length);
  const [at, line] = [own.indexOf(event.target), rows.indexOf(row)];
  const column = event.target.closest("td, th").cellIndex;
  const next = {
    ArrowRight: () => own[at + 1],
    ArrowLeft: () => own[at - 1],
    ArrowDown: () => rows[line + 1] && under(rows[line + 1], column),
    ArrowUp: () => rows[line - 1] && under(rows[line - 1], column),
    Home: () => own[0],
    End: () => own[own.length - 1],
  }[event.key];
  if (!next) return;
  event.preventDefault();
  pin(table);
  const button = next();
  // focus() alone would not scroll: to it what lies under a column that stays is in sight.
  button?.focus({ preventScroll: true });
  button?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

// --- the columns that say what a row is of stay where they are: each has its place from the left

// Only when a table is gone through or scrolled: all cells take the places over, which is slow.
const pinned = new WeakSet();

function pin(table) {
  if (pinned.has(table)) return;
  pinned.add(table);
  const heads = [...table.tHead.rows[0].cells].slice(0, table.dataset.names ?? 1);
  const widths = heads.map((head) => head.offsetWidth);
  const stay = heads.filter((head) => getComputedStyle(head).position === "sticky").length;
  const before = (count) => widths.slice(0, count).reduce((sum, width) => sum + width, 0);
  // What has the focus must not be under them, nor the line around it.
  table.parentElement.style.scrollPaddingLeft = `${before(stay) + 8}px`;
  heads.forEach((_, i) => table.style.setProperty(`--name-${i + 1}`, `${before(i)}px`));
}

const sizes = new ResizeObserver((changed) => {
  for (const { target } of changed) {
    pinned.delete(target);
    if (target.parentElement.scrollLeft > 0) pin(target);
  }
});

// --- they come alive

for (const table of tables) {
  [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
  for (const button of table.tBodies[0].querySelectorAll("button")) button.tabIndex = -1;
  sizes.observe(table);
}
filters.elements.columns.defaultChecked = innerWidth >= 1700;
filter();
filters.hidden = false;
byId("keys").hidden = false;

filters.addEventListener("input", filter);
filters.addEventListener("submit", (event) => event.preventDefault());
filters.addEventListener("reset", () => setTimeout(filter));
document.addEventListener("keydown", go);
document.addEventListener("scroll", (event) => {
  const table = event.target.querySelector?.(":scope > table");
  if (tables.includes(table)) pin(table);
}, { capture: true, passive: true });
document.addEventListener("focusin", (event) => {
  const table = event.target.closest("tbody")?.closest("main table");
  if (table && event.target.matches("button")) stopAt(table, event.target);
});
document.addEventListener("click", (event) => {
  const title = event.target.closest("button.sort");
  if (title) sort(title.closest("th"));
});
