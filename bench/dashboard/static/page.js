// The page: sends a picture, listens to what becomes of it, and draws that. No library, no build step.
// Text from the server is only ever set as text, never as markup.

const byId = (id) => document.getElementById(id);
const state = { offered: null, picture: null, runs: new Map(), shown: null };

const METRICS = {
  median: "median latency",
  p95: "p95 latency",
  speedup: "speed-up",
  size: "file size",
  peak: "peak memory",
  load: "load time",
};
const HIGHER_IS_BETTER = new Set(["speedup"]);
const MIB = 1048576;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server did not answer: it has ended, or refused the upload for its size.");
  }
  if (response.status === 204) return null;
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const detail = typeof body.detail === "string" ? body.detail : `the server said ${response.status}`;
    const error = new Error(detail.charAt(0).toUpperCase() + detail.slice(1));
    throw Object.assign(error, { status: response.status });
  }
  return body;
}

function fail(error) {
  byId("error").textContent = error.message;
  showProgress();
}

async function guarded(action) {
  byId("error").textContent = "";
  try {
    await action();
  } catch (error) {
    fail(error);
  }
}

// Three digits: half a MiB is not 0.
const amount = (value) => String(Number(value.toPrecision(3)));

function say(text) {
  byId("status").textContent = text;
}

// --- what is offered

async function showOffered() {
  state.offered = await ask("/api/models");
  const { most_upload_bytes: bytes, most_pixels: pixels, rounds } = state.offered;
  byId("limits").textContent = `up to ${amount(bytes / MIB)} MiB and ${amount(pixels / 1e6)} million pixels`;
  byId("intervals").textContent = `Intervals in brackets (95 %) are over the ${rounds} rounds of a model in one process: what another start of it would change, they do not cover.`;
  showSamples();
  showModels();
  enable();
  const pictures = await ask("/api/pictures");
  resume(pictures);
  await showHistory(pictures);
}

// After a reload: what is still being measured is shown, and listened to, lest it be cancelled.
function resume(pictures) {
  const picture = pictures.find((one) => one.going);
  if (picture && !state.picture) show(picture);
}

function showSamples() {
  byId("samples").replaceChildren(
    ...state.offered.samples.map((name) => {
      const image = make("img", { src: `/api/samples/${encodeURIComponent(name)}`, alt: "", loading: "lazy" });
      const button = make("button", { type: "button" }, image, name);
      button.addEventListener("click", () => guarded(() => takeSample(name)));
      return make("li", {}, button);
    }),
  );
}

function option(id, value, checked, title, details) {
  const input = make("input", { type: "checkbox", id, value, checked });
  const text = make("label", { htmlFor: id }, make("span", { textContent: title }));
  if (details) text.append(make("span", { className: "quiet", textContent: details }));
  input.addEventListener("change", enable);
  return make("div", { className: "option" }, input, text);
}

// A file is chosen once, and the runtimes once: a card is a file in a runtime.
function showModels() {
  const { models } = state.offered;
  const runtimes = [...new Set(models.map((model) => model.runtime))];
  const chosenRuntimes = new Set(models.filter((model) => model.chosen).map((model) => model.runtime));
  const files = new Map();
  for (const model of models) {
    const key = fileKey(model);
    const known = files.get(key);
    if (!known || model.chosen) files.set(key, model);
  }
  fill("runtimes", "Runtimes", runtimes.map((name, place) => option(`runtime-${place}`, name, chosenRuntimes.has(name), name, "")));
  fill("models", "Variants", [...files].map(([key, model], place) =>
    option(`model-${place}`, key, model.chosen, model.title, `${model.variant} · ${model.recipe} · weights ${model.weights} · ${model.size}`)));
}

function fill(id, legend, options) {
  byId(id).replaceChildren(make("legend", { textContent: legend }), ...options);
}

const fileKey = (model) => `${model.variant} ${model.recipe} ${model.name.split("/")[0]}`;
const checked = (id) => [...byId(id).querySelectorAll("input:checked")].map((input) => input.value);

function chosenModels() {
  const files = new Set(checked("models"));
  const runtimes = new Set(checked("runtimes"));
  return state.offered.models
    .filter((model) => files.has(fileKey(model)) && runtimes.has(model.runtime))
    .map((model) => model.name);
}

function enable() {
  const count = state.offered ? chosenModels().length : 0;
  const button = byId("measure");
  button.disabled = !state.picture || count === 0;
  button.textContent = count ? `Measure ${count} model${count === 1 ? "" : "s"}` : "Measure";
}

function watchBuilding() {
  const stream = new EventSource("/api/building");
  stream.addEventListener("building", (event) => {
    const progress = JSON.parse(event.data);
    const over = progress.state === "ready" || progress.state === "failed";
    byId("building").hidden = progress.state === "ready" && progress.failed.length === 0;
    byId("building-text").textContent = progress.text;
    const bar = byId("building-bar");
    bar.hidden = over;
    if (progress.of) Object.assign(bar, { max: progress.of, value: progress.done });
    byId("building-failed").replaceChildren(...progress.failed.map((text) => make("li", { textContent: text })));
    if (over && !state.offered?.models.length) guarded(showOffered);
  });
  // The last event: stored rows are read when the models can be used already.
  stream.addEventListener("rows", (event) => {
    stream.close();
    if (JSON.parse(event.data) > 0) guarded(showRows);
  });
}

// --- a picture

async function send(file) {
  const most = state.offered?.most_upload_bytes ?? Infinity;
  if (file.size > most) {
    throw new Error(`${file.name || "The file"} has ${amount(file.size / MIB)} MiB, more than ${amount(most / MIB)}: send a smaller one.`);
  }
  say("Sending the picture …");
  await take(await ask("/api/pictures", { method: "POST", body: file }));
}

async function takeSample(name) {
  say("Taking the picture …");
  await take(await ask(`/api/samples/${encodeURIComponent(name)}`, { method: "POST" }));
}

async function take(picture) {
  show(picture);
  await showHistory();
  if (chosenModels().length) await measure();
}

function show(picture) {
  state.picture = picture;
  const preview = byId("preview");
  preview.src = `/api/pictures/${picture.id}`;
  preview.alt = `the picture, ${picture.width} by ${picture.height} pixels`;
  preview.hidden = false;
  // What stands below is about this picture, or is not there.
  if (picture.run) showRun(picture.run);
  else showNoRun();
  enable();
}

async function showHistory(known) {
  const pictures = known ?? await ask("/api/pictures");
  byId("history").hidden = pictures.length === 0;
  byId("pictures").replaceChildren(
    ...pictures.map((picture) => {
      const label = `${picture.sample || "upload"}, ${picture.width} × ${picture.height}`;
      const image = make("img", { src: `/api/pictures/${picture.id}`, alt: "" });
      const button = make("button", { type: "button" }, image, label);
      button.setAttribute("aria-current", String(picture.id === state.picture?.id));
      button.addEventListener("click", () => guarded(() => lookAgain(picture.id)));
      return make("li", {}, button);
    }),
  );
}

async function lookAgain(id) {
  const picture = (await ask("/api/pictures")).find((one) => one.id === id);
  if (!picture) throw new Error("This picture has been forgotten: upload it again.");
  show(picture);
  await showHistory();
}

// --- a run

// One run at a time is measured for this page; it goes on while an earlier picture is looked at.
const going = () => (state.shown && !state.shown.over ? state.shown : [...state.runs.values()].find((run) => !run.over));

async function measure() {
  const picture = state.picture.id;
  for (const run of state.runs.values()) if (!run.over) await end(run);
  const run = await ask("/api/runs", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ picture, models: chosenModels(), beside: byId("beside").checked }),
  });
  showRun(run.id);
  byId("progress").scrollIntoView();
  await showHistory();
}

// A run that the server doesn't know, as after its restart, has ended too.
async function end(run) {
  try {
    await ask(`/api/runs/${run.id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) throw error;
    forget(run);
    showProgress();
  }
}

// What is no longer heard of ends here; looked at again, it is asked for anew.
function forget(run) {
  run.stream.close();
  run.over = true;
  state.runs.delete(run.id);
}

function showRun(id) {
  state.shown = state.runs.get(id) ?? listen(id);
  byId("cards").replaceChildren();
  byId("results").hidden = false;
  showAdvice();
  showProgress();
}

function showNoRun() {
  state.shown = null;
  byId("results").hidden = true;
  byId("cards").replaceChildren();
  showAdvice();
  showProgress();
}

function listen(id) {
  const stream = new EventSource(`/api/runs/${id}/events`);
  const run = { id, stream, over: false, lost: false, place: null, advice: null, cards: new Map(), told: new Set() };
  state.runs.set(id, run);
  stream.addEventListener("card", (event) => {
    const card = JSON.parse(event.data);
    run.cards.set(card.name, card);
    if (run !== state.shown) return;
    announce(card);
    draw();
  });
  stream.addEventListener("advice", (event) => {
    run.advice = JSON.parse(event.data);
    if (run === state.shown) showAdvice();
  });
  stream.addEventListener("place", (event) => {
    run.place = JSON.parse(event.data);
    if (run.place.state === "done" || run.place.state === "cancelled") {
      stream.close();
      run.over = true;
    }
    showProgress();
  });
  stream.addEventListener("open", () => {
    run.lost = false;
    showProgress();
  });
  stream.addEventListener("error", () => lose(run));
  return run;
}

// The browser tries again by itself, unless the server was there and refused.
function lose(run) {
  run.lost = true;
  if (run.stream.readyState !== EventSource.CLOSED) {
    showProgress();
    return;
  }
  forget(run);
  fail(new Error("The server tells no more of this run: measure again."));
}

function showProgress() {
  const run = going();
  byId("cancel").hidden = !run;
  say(run ? progressText(run) : ENDED[state.shown?.place?.state] ?? "");
}

const ENDED = { done: "All is measured.", cancelled: "Cancelled: what was measured until then stays." };

function progressText(run) {
  if (run.lost) return "The connection to the server is lost; it is tried again …";
  const ahead = run.place?.ahead;
  if (ahead) return `Waiting: ${ahead} measurement${ahead === 1 ? "" : "s"} of others and yours come before the next one.`;
  return run === state.shown ? "Measuring …" : "Measuring another picture …";
}

// Once when the first numbers of a card are there: a screen reader is not told every change.
function announce(card) {
  const over = card.state === "failed" || card.runs > 0;
  const { told } = state.shown;
  if (!over || told.has(card.name)) return;
  told.add(card.name);
  say(card.state === "failed" ? `${label(card)} failed: ${card.reason}` : `${label(card)}: median ${card.median.text}`);
}

function showAdvice() {
  const { ship = "", headline = "", reasons = [], final = false } = state.shown?.advice ?? {};
  byId("advice").classList.toggle("none", final && !ship);
  byId("advice").classList.toggle("open", !final);
  byId("headline").textContent = headline;
  byId("reasons").replaceChildren(...reasons.map((text) => make("li", { textContent: text })));
  draw();
}

// What the advice says of a card, with its condition, once all is measured; empty: nothing.
function claim(card) {
  const advice = state.shown?.advice;
  return advice?.final && advice.ship === card.name ? advice.claim : "";
}

// --- drawing

const shownCards = () => [...(state.shown?.cards.values() ?? [])];

// Runtime and weights stand with the title where one title could be of several.
function title(card) {
  const several = new Set(shownCards().map((one) => one.weights)).size > 1;
  return several ? `${card.title}, ${card.weights}` : card.title;
}

function label(card) {
  const several = new Set(shownCards().map((one) => one.runtime)).size > 1;
  return several ? `${title(card)}, ${card.runtime}` : title(card);
}

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    const cards = sorted(shownCards());
    drawBars(cards);
    drawCards(cards);
  });
}

function sorted(cards) {
  const metric = byId("sort").value;
  if (!metric) return cards;
  const sign = HIGHER_IS_BETTER.has(metric) ? -1 : 1;
  const value = (card) => card[metric].value ?? Infinity * sign;
  return cards.sort((one, other) => sign * (value(one) - value(other)) || 0);
}

function drawBars(cards) {
  const metric = byId("metric").value;
  const most = Math.max(...cards.map((card) => card[metric].value ?? 0), 0) || 1;
  byId("bars").replaceChildren(
    ...cards.map((card) => {
      const fill = make("span", { className: "fill" });
      fill.style.setProperty("--share", String((card[metric].value ?? 0) / most));
      const track = make("span", { className: "track" }, fill, make("span", { className: "value", textContent: card[metric].text }));
      const name = make("span", { textContent: label(card), title: card.name });
      return make("li", { className: claim(card) ? "ship" : "" }, name, track);
    }),
  );
}

// A card keeps its element, so that focus and a screen reader's place survive an update.
function drawCards(cards) {
  const place = byId("cards");
  const known = new Map([...place.children].map((element) => [element.dataset.name, element]));
  const elements = cards.map((card) => {
    const element = known.get(card.name) ?? make("article", { className: "card" });
    const shown = JSON.stringify([card, title(card), claim(card), rowsOf(card)]);
    if (element.dataset.shown !== shown) {
      element.dataset.shown = shown;
      element.dataset.name = card.name;
      element.className = `card ${card.state}${claim(card) ? " ship" : ""}`;
      element.replaceChildren(...cardParts(card));
    }
    return element;
  });
  const same = elements.length === place.children.length && elements.every((one, i) => one === place.children[i]);
  if (!same) place.replaceChildren(...elements);
}

function cardParts(card) {
  const parts = [
    make("h3", { textContent: title(card) }),
    make("p", { className: "quiet", textContent: `${card.variant} · ${card.recipe} · weights ${card.weights} · ${card.runtime}, ${card.threads} thread${card.threads === 1 ? "" : "s"}` }),
    marks(card),
  ];
  if (card.state === "failed") parts.push(make("p", { className: "doubts", textContent: card.reason }));
  if (card.top.length) parts.push(topClasses(card));
  parts.push(times(card), costs(card));
  if (card.agreement) parts.push(make("p", { className: card.agreement.same ? "quiet" : "doubts", textContent: card.agreement.text }));
  if (card.beside) parts.push(make("p", { className: "beside", textContent: card.beside }));
  const doubts = [...card.doubts, ...card.notes];
  parts.push(make("ul", { className: "doubts" }, ...doubts.map((text) => make("li", { textContent: text }))));
  const rows = rowsOf(card);
  if (rows) {
    const words = `${rows} stored benchmark row${rows === 1 ? "" : "s"}`;
    parts.push(make("p", {}, make("a", { href: `#${rowId(card.name)}`, textContent: words })));
  }
  return parts;
}

function marks(card) {
  const found = [];
  const add = (text, kind) => found.push(make("span", { className: `mark ${kind}`, textContent: text }));
  if (claim(card)) add(claim(card), "good");
  if (card.baseline) add("baseline", "");
  if (card.state !== "done") add({ waiting: card.runs ? "more to come" : "waiting", working: "measuring", failed: "failed", cancelled: "cancelled" }[card.state], card.state === "failed" ? "bad" : "");
  if (card.verdict) add(card.verdict, card.verdict === "VALID" ? "good" : "doubt");
  if (card.right === false) add("WRONG answers", "bad");
  if (!card.trained) add("untrained weights", "doubt");
  if (!card.named) add("classes without names", "");
  return make("p", { className: "marks" }, ...found);
}

function topClasses(card) {
  const items = card.top.map((guess) =>
    make("li", {}, make("span", { textContent: guess.name }), make("span", { textContent: `${(100 * guess.confidence).toFixed(1)} %` })));
  const list = make("ol", {}, ...items);
  list.setAttribute("aria-label", "top classes with their confidence");
  return list;
}

function figures(className, pairs) {
  const parts = pairs.flatMap(([term, text, look = ""]) =>
    [make("dt", { textContent: term }), make("dd", { textContent: text, className: look })]);
  return make("dl", { className }, ...parts);
}

function times(card) {
  return figures("times", [
    ["median", card.median.text, "big"],
    ["p95", card.p95.text],
    ["runs", `${card.runs} of ${card.planned}`],
    ["speed-up", card.speedup.text],
  ]);
}

function costs(card) {
  const pairs = [
    ["file", card.size.text],
    ["non-zero parameters", card.parameters.text],
    ["load time", card.load.text],
    ["peak memory", card.peak.text],
  ];
  if (card.parity) pairs.push(["as its fp32 network", card.parity]);
  return figures("costs", pairs);
}

// --- stored rows

const rowsOf = (card) => state.offered?.models.find((model) => model.name === card.name)?.rows ?? 0;
const rowId = (name) => `row-${name.replace(/[^\w-]+/g, "-")}`;

async function showRows() {
  const rows = await ask("/api/rows");
  state.offered = await ask("/api/models");
  draw();
  byId("rows").hidden = rows.length === 0;
  const seen = new Set();
  byId("rows-body").replaceChildren(
    ...rows.map((row) => {
      // What stands in brackets behind a processor's name tells its family and stepping.
      const host = row.host.split(" (")[0];
      const measured = `${row.started.slice(0, 10)}, ${host}${row.same_file ? "" : ", another build"}`;
      const texts = [row.median, row.p95, row.speedup, row.load, row.peak, row.accuracy, row.verdict];
      // Several runs have a row of this name: what tells them apart stands with it.
      const when = make("span", { className: "quiet", textContent: measured });
      const line = make("tr", {}, make("th", { scope: "row" }, `${row.row} `, when), ...texts.map((text) => make("td", { textContent: text })));
      if (!seen.has(row.name)) line.id = rowId(row.name);
      seen.add(row.name);
      return line;
    }),
  );
}

// --- listening to the user

function firstImage(list) {
  return [...(list ?? [])].find((file) => file.type.startsWith("image/")) ?? list?.[0];
}

function listenToUser() {
  byId("metric").replaceChildren(...Object.entries(METRICS).map(([value, textContent]) => make("option", { value, textContent })));
  byId("sort").replaceChildren(make("option", { value: "", textContent: "as chosen" }),
    ...Object.entries(METRICS).map(([value, textContent]) => make("option", { value, textContent })));
  byId("metric").addEventListener("change", draw);
  byId("sort").addEventListener("change", draw);
  byId("measure").addEventListener("click", () => guarded(measure));
  byId("cancel").addEventListener("click", () => guarded(() => end(going())));
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    // So that the same file can be chosen again.
    if (file) guarded(() => send(file)).finally(() => { event.target.value = ""; });
  });
  document.addEventListener("paste", (event) => {
    const file = firstImage(event.clipboardData?.files);
    if (file) guarded(() => send(file));
  });
  const drop = byId("drop");
  for (const name of ["dragover", "dragenter"]) {
    document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const file = firstImage(event.dataTransfer?.files);
    if (file) guarded(() => send(file));
  });
}

listenToUser();
guarded(showOffered);
watchBuilding();
