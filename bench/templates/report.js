// What the page does: sort, filter, tell what stands behind a number, open a row.
// Plain JavaScript without a build step; texts enter by textContent alone.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const tables = [...document.querySelectorAll("main table")];
  const say = (text) => { byId("said").textContent = text; };

  // --- sorting

  const TURNS = { none: "ascending", ascending: "descending", descending: "none" };

  // What a cell is sorted by; null for one that says nothing, which stays last.
  function key(row, place, numeric) {
    const cell = row.cells[place];
    const text = cell.dataset.order ?? cell.textContent.trim();
    if (!numeric) return text === "" || text === "–" ? null : text;
    const number = parseFloat(text.replace(/^[~≈<]/, ""));
    return Number.isNaN(number) ? null : number;
  }

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
        if (one === null || other === null) return (one === null) - (other === null);
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
    tables.forEach(oneStop);
    const left = rows.filter((row) => !row.hidden).length;
    byId("count").textContent = left === rows.length ? `${left} rows` : `${left} of ${rows.length} rows`;
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
    next()?.focus();
  }

  // --- what stands behind a number

  const tip = byId("tip");
  const MARGIN = 8;
  let told = null;
  let leaving = 0;

  function tell(button) {
    clearTimeout(leaving);
    if (told === button) return;
    hush();
    told = button;
    tip.textContent = button.dataset.tip;
    tip.hidden = false;
    button.setAttribute("aria-describedby", "tip");
    place();
  }

  function place() {
    if (!told) return;
    const at = told.getBoundingClientRect();
    const below = at.bottom + MARGIN;
    const fits = below + tip.offsetHeight <= innerHeight;
    tip.style.top = `${fits ? below : Math.max(MARGIN, at.top - MARGIN - tip.offsetHeight)}px`;
    const most = document.documentElement.clientWidth - tip.offsetWidth - MARGIN;
    tip.style.left = `${Math.max(MARGIN, Math.min(at.left, most))}px`;
  }

  function hush() {
    told?.removeAttribute("aria-describedby");
    told = null;
    tip.hidden = true;
  }

  // It stays while the pointer goes over to it, and as long as its number has the focus.
  function leave() {
    clearTimeout(leaving);
    leaving = setTimeout(() => { if (document.activeElement !== told) hush(); }, 200);
  }

  const teller = (event) => event.target.closest?.("[data-tip]");

  // --- a row's details

  const dialog = byId("row");
  let cache = null;
  let current = null;
  const data = () => (cache ??= JSON.parse(byId("data").textContent));

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
    history.replaceState(null, "", `#row=${encodeURIComponent(row.key)}`);
    const all = openers();
    byId("before").disabled = !all.length || all[0].dataset.open === String(number);
    byId("next").disabled = !all.length || all[all.length - 1].dataset.open === String(number);
    (focus.disabled ? byId("row-name") : focus).focus();
    drawing = drawing.then(() => draw(number));
  }

  // The names of the rows that are shown, in their order, each row once.
  function openers() {
    const all = [...document.querySelectorAll("tr[data-row]:not([hidden]) [data-open]")];
    return all.filter((one, i) => all.findIndex((other) => other.dataset.open === one.dataset.open) === i);
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
    opener?.focus();
  }

  // --- charts: one of each, made when the first row is opened, and then given other numbers

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const sources = new Map();
  let drawing = Promise.resolve();

  function library() {
    if (!window.Bokeh) {
      const script = document.createElement("script");
      script.textContent = byId("library").textContent;
      document.head.append(script);
    }
    if (!window.Bokeh) throw new Error("BokehJS did not start");
    return window.Bokeh;
  }

  async function sourceOf(name) {
    if (!sources.has(name)) {
      const item = structuredClone(data().charts[dark.matches ? "dark" : "light"][name]);
      const box = byId(`chart-${name}`);
      box.replaceChildren();
      const views = await library().embed.embed_item(item, box);
      // The numbers stand in the tables below: a canvas has nothing for the Tab key.
      untab(box);
      sources.set(name, views.roots[0].model.document.get_model_by_name("data"));
    }
    return sources.get(name);
  }

  function untab(root) {
    for (const one of root.querySelectorAll("*")) {
      if (one.tabIndex === 0) one.tabIndex = -1;
      if (one.shadowRoot) untab(one.shadowRoot);
    }
  }

  async function draw(number) {
    for (const [name, columns] of Object.entries(COLUMNS)) {
      const chart = data().rows[number].parts[name]?.chart;
      if (number !== current || !chart) continue;
      try {
        (await sourceOf(name)).data = columns(chart);
      } catch (problem) {
        byId(`chart-${name}`).textContent = `This chart could not be drawn: ${problem}`;
      }
    }
  }

  const repeat = (value, count) => Array(count).fill(value);
  const numbered = (blocks) => ({
    turn: blocks.map((_, i) => i % 2),
    block: blocks.map((one) => one.block),
  });

  const COLUMNS = {
    times(blocks) {
      const found = { x: [], y: [], turn: [], block: [], number: [] };
      let before = 0;
      blocks.forEach(({ block, count, ms }, i) => {
        // Thinned ones stand for stretches of the same length.
        const numbers = ms.map((_, place) => Math.floor(((place + 0.5) * count) / ms.length) + 1);
        found.x.push(...numbers.map((number) => before + number));
        found.y.push(...ms);
        found.turn.push(...repeat(i % 2, ms.length));
        found.block.push(...repeat(block, ms.length));
        found.number.push(...numbers);
        before += count;
      });
      return found;
    },
    spread(blocks) {
      return {
        ...numbered(blocks),
        xs: blocks.map((one) => one.ms),
        ys: blocks.map(() => data().shares),
      };
    },
    start(blocks) {
      const leaves = data().leaves.map((name, i) => [name, blocks.map((one) => one.ms[i])]);
      const { block } = numbered(blocks);
      return { y: block, block, ...Object.fromEntries(leaves) };
    },
  };

  function recolour() {
    sources.clear();
    if (current !== null) {
      const number = current;
      drawing = drawing.then(() => draw(number));
    }
  }

  // --- the page comes alive

  for (const table of tables) {
    [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
    for (const button of table.tBodies[0].querySelectorAll("button")) button.tabIndex = -1;
    oneStop(table);
  }
  filters.elements.columns.defaultChecked = innerWidth >= 800;
  filter();
  filters.hidden = false;
  byId("keys").hidden = false;

  filters.addEventListener("input", filter);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(filter));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && told) hush();
    else go(event);
  });
  document.addEventListener("pointerover", (event) => {
    if (teller(event)) tell(teller(event));
    else if (event.target === tip) clearTimeout(leaving);
  });
  document.addEventListener("pointerout", (event) => {
    if (teller(event) || event.target === tip) leave();
  });
  document.addEventListener("focusin", (event) => {
    const table = event.target.closest("tbody")?.closest("main table");
    if (table && event.target.matches("button")) stopAt(table, event.target);
    if (teller(event)) tell(teller(event));
    else hush();
  });
  document.addEventListener("scroll", place, { capture: true, passive: true });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.classList.contains("sort")) sort(button.closest("th"));
    else if (button?.dataset.open) open(Number(button.dataset.open));
    else if (button?.dataset.tip) {
      button.focus(); // a tap does not, everywhere
      tell(button);
    }
    else if (!event.target.closest("#tip")) hush();
  });
  byId("close").addEventListener("click", () => dialog.close());
  byId("before").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  dialog.addEventListener("close", closed);
  dark.addEventListener("change", recolour);

  if (location.hash.startsWith("#row=")) {
    const asked = decodeURIComponent(location.hash.slice("#row=".length));
    const number = data().rows.findIndex((row) => row.key === asked);
    if (number >= 0) open(number);
  }
})();
