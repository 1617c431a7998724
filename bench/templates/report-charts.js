// The numbers of all rows, and the charts of the one that is open: one of each, made when the
// first row is opened, and then given other numbers.

let read = null;
const data = () => (read ??= JSON.parse(byId("data").textContent));
const dark = matchMedia("(prefers-color-scheme: dark)");
const sources = new Map();
let drawing = Promise.resolve();
let wanted = null;

// One after the other; what is no longer wanted by then is left out.
function draw(row) {
  wanted = row;
  drawing = drawing.then(() => drawAll(row));
}

async function drawAll(row) {
  for (const [name, columns] of Object.entries(COLUMNS)) {
    const chart = row?.parts[name]?.chart;
    if (row !== wanted || !chart) continue;
    try {
      (await sourceOf(name)).data = columns(chart);
    } catch (problem) {
      byId(`chart-${name}`).textContent = `This chart could not be drawn: ${problem}`;
    }
  }
}

function recolour() {
  drawing = drawing.then(forget);
  draw(wanted);
}

// BokehJS keeps every document that it was given until it is told to forget it.
function forget() {
  for (const { document } of sources.values()) {
    document.clear();
    window.Bokeh.documents.splice(window.Bokeh.documents.indexOf(document), 1);
  }
  sources.clear();
}

async function sourceOf(name) {
  if (!sources.has(name)) {
    const item = structuredClone(data().charts[dark.matches ? "dark" : "light"][name]);
    const box = byId(`chart-${name}`);
    box.replaceChildren();
    const views = await (await library()).embed.embed_item(item, box);
    // The numbers stand in the tables below: a canvas has nothing for the Tab key.
    untab(box);
    sources.set(name, views.roots[0].model.document.get_model_by_name("data"));
  }
  return sources.get(name);
}

// BokehJS stands in the page packed, which takes a third of the room.
async function library() {
  if (!window.Bokeh) {
    const packed = Uint8Array.from(atob(byId("library").textContent), (sign) => sign.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }
  if (!window.Bokeh) throw new Error("BokehJS did not start");
  return window.Bokeh;
}

function untab(root) {
  for (const one of root.querySelectorAll("*")) {
    if (one.tabIndex === 0) one.tabIndex = -1;
    if (one.shadowRoot) untab(one.shadowRoot);
  }
}

// --- what a row has -> the columns of a chart

const repeat = (value, count) => Array(count).fill(value);

const COLUMNS = {
  times(blocks) {
    const found = { x: [], y: [], turn: [], block: [], number: [] };
    let before = 0;
    for (const [i, { block, count, ms }] of blocks.entries()) {
      // Thinned ones stand for stretches of the same length.
      const numbers = ms.map((_, place) => Math.floor(((place + 0.5) * count) / ms.length) + 1);
      found.x.push(...numbers.map((number) => before + number));
      found.y.push(...ms);
      found.turn.push(...repeat(i % data().turns, ms.length));
      found.block.push(...repeat(block, ms.length));
      found.number.push(...numbers);
      before += count;
    }
    return found;
  },
  spread(blocks) {
    return {
      turn: blocks.map((_, i) => i % data().turns),
      block: blocks.map((one) => one.block),
      name: blocks.map((one) => `block ${one.block}`),
      xs: blocks.map((one) => one.ms),
      ys: blocks.map(() => data().shares),
    };
  },
  start(blocks) {
    const leaves = data().leaves.map((name, i) => [name, blocks.map((one) => one.ms[i])]);
    const block = blocks.map((one) => one.block);
    return { y: block, block, ...Object.fromEntries(leaves) };
  },
};

dark.addEventListener("change", recolour);
