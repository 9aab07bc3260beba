"use strict";
// Without this script everything is there to be read; it sorts and filters the classes and names the map's cells.

for (const box of document.querySelectorAll(".classes")) {
  const body = box.querySelector("tbody");
  const rows = [...body.rows];
  addFilter(box, rows);
  box.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(box, body, rows, head, column));
    head.append(button);
  });
}

function sort(box, body, rows, head, column) {
  const before = head.getAttribute("aria-sort");
  const order = before === null ? head.dataset.first : before === "ascending" ? "descending" : "ascending";
  box.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => [key(row.cells[column]), row]);
  keyed.sort(([a], [b]) => (a === "" || b === "" ? (a === "") - (b === "") : sign * compare(a, b)));
  body.append(...keyed.map(([, row]) => row)); // what has no value stays last
}

function key(cell) {
  const value = cell.dataset.value;
  return value === undefined ? cell.textContent : value === "" ? "" : Number(value);
}

function compare(a, b) {
  return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
}

function addFilter(box, rows) {
  const field = Object.assign(document.createElement("input"), { type: "search", autocomplete: "off", spellcheck: false });
  const label = document.createElement("label");
  label.append("Show only", field);
  const told = document.createElement("output");
  const line = Object.assign(document.createElement("div"), { className: "filter" });
  line.append(label, told);
  box.querySelector(".scroll").before(line);
  const texts = rows.map((row) => row.cells[0].textContent.toLowerCase());
  const update = () => {
    const wanted = field.value.trim().toLowerCase();
    const shown = rows.filter((row, at) => !(row.hidden = !texts[at].includes(wanted)));
    told.value = `${shown.length} of ${rows.length} classes`;
  };
  field.addEventListener("input", update);
  update();
}

for (const heat of document.querySelectorAll(".heat")) {
  const { names, block, cells } = JSON.parse(heat.querySelector("script").textContent);
  const map = heat.querySelector(".map");
  const readout = heat.querySelector(".readout");
  const side = Math.ceil(names.length / block);
  const largest = new Map(); // of each pixel
  for (const [row, column, count] of cells) {
    const pixel = Math.floor(row / block) * side + Math.floor(column / block);
    if (count > (largest.get(pixel)?.[2] ?? 0)) largest.set(pixel, [row, column, count]);
  }
  readout.value = "Point at the map to read its cells.";
  map.addEventListener("pointermove", (event) => {
    const inside = map.getBoundingClientRect();
    const at = (offset, length) => Math.min(side - 1, Math.max(0, Math.floor((offset / length) * side)));
    const row = at(event.clientY - inside.top - map.clientTop, map.clientHeight);
    const column = at(event.clientX - inside.left - map.clientLeft, map.clientWidth);
    const [truth, called, count] = largest.get(row * side + column) ?? [row * block, column * block, 0];
    readout.value = `${names[truth]} called ${names[called]}: ${count}`;
  });
}
