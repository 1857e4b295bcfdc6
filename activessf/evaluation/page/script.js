"use strict";

// Tables: click a header to sort by it, again to turn the order round. A column whose texts are all numbers ("80.36
// plus-minus 1.03", "3 of 5", "< 0.0001", "1,234") sorts by the first number, any other by its text; gaps go last.
const GAPS = new Set(["", "-", "\u2013", "n/a", "nan", "NaN"]);
const NUMBER = /^([<>\u2264\u2265]?)\s*([+\-\u2212]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?=$|[\s%*\u2020\u2021\u2193\u00b1])/i;
const COLLATOR = new Intl.Collator("en", { numeric: true });

function numberIn(text) {
  const found = NUMBER.exec(text);
  if (!found) return null;
  const number = Number(found[2].replaceAll(",", "").replace("\u2212", "-"));
  return found[1] === "<" ? number - 1e-12 : found[1] === ">" ? number + 1e-12 : number;
}

function sortBy(header) {
  const table = header.closest("table"), column = header.cellIndex, body = table.tBodies[0];
  const rows = [...body.rows].map(row => ({ row, text: row.cells[column].textContent.trim() }));
  const known = rows.filter(item => !GAPS.has(item.text)), gaps = rows.filter(item => GAPS.has(item.text));
  const numeric = known.every(item => numberIn(item.text) !== null);
  const compare = (a, b) => numeric ? numberIn(a.text) - numberIn(b.text) : COLLATOR.compare(a.text, b.text);
  const descending = header.getAttribute("aria-sort") === "ascending";
  known.sort((a, b) => descending ? compare(b, a) : compare(a, b));
  body.append(...[...known, ...gaps].map(item => item.row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
}

for (const button of document.querySelectorAll("table.data thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}

// Cells: pictures, names and probabilities come from the page's own data, always as text.
function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(probability) {
  return (100 * probability).toFixed(1) + " %";
}

function bar(name, probability, mark) {
  const line = element("div", "bar" + mark), fill = element("i");
  fill.style.width = 100 * probability + "%";
  line.append(fill, element("span", "", name), element("b", "", percent(probability)));
  line.title = name;
  return line;
}

function figureOf(data, [cell, top, ofLabel]) {
  const [image, box, group, fold, label, picture, wrong, tested] = data.cells[cell];
  const figure = element("figure", "cell");
  if (picture >= 0) {
    const drawn = element("img");
    drawn.src = "data:image/jpeg;base64," + data.pictures[picture];
    drawn.alt = "Cell labeled " + data.classes[label];
    figure.append(drawn);
  } else {
    figure.append(element("div", "nopicture", "no picture"));
  }
  const caption = element("figcaption");
  const predicted = top[0];
  for (let place = 0; place < top.length; place += 2) {
    caption.append(bar(data.classes[top[place]], top[place + 1], top[place] === label ? " hit" : place ? "" : " miss"));
  }
  if (!top.some((value, place) => place % 2 === 0 && value === label)) {
    caption.append(bar(data.classes[label], ofLabel, " hit"));
  }
  caption.append(element("div", "name", image));
  for (const line of [box, group && "group " + group, "fold " + fold]) {
    if (line) caption.append(element("div", "", line));
  }
  if (predicted !== label && tested > 1) {
    caption.append(element("div", "", "wrong in " + wrong + " of " + tested + " runs"));
  }
  figure.append(caption);
  return figure;
}

function close(panel) {
  const opened = panel.parentElement.querySelector("button[aria-expanded=true]");
  if (opened) opened.setAttribute("aria-expanded", "false");
  panel.hidden = true;
  panel.replaceChildren();
  return opened;
}

function open(data, button) {
  const panel = document.getElementById(button.getAttribute("aria-controls"));
  if (close(panel) === button) return;
  const { run, true: label, predicted, count } = button.dataset;
  const rows = data.runs[run].confusion[label + "," + predicted];
  const shown = rows.length < Number(count) ? rows.length + " of " + count : count;
  const heading = element("h4", "", "true " + data.classes[label] + ", predicted " + data.classes[predicted] + ": " + shown);
  const closing = element("button", "close", "Close");
  closing.type = "button";
  closing.addEventListener("click", () => close(panel).focus());
  const cells = element("div", "cells");
  cells.append(...rows.map(row => figureOf(data, row)));
  panel.append(closing, heading, cells);
  panel.hidden = false;
  button.setAttribute("aria-expanded", "true");
  panel.scrollIntoView({ block: "nearest" });
}

const store = document.getElementById("cells");
if (store) {
  const data = JSON.parse(store.textContent);
  for (const button of document.querySelectorAll("table.confusion button")) {
    button.addEventListener("click", () => open(data, button));
  }
  for (const place of document.querySelectorAll("#mistakes .cells")) {
    place.append(...data.runs[place.dataset.run].mistakes[place.dataset.true].map(row => figureOf(data, row)));
  }
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    for (const panel of document.querySelectorAll(".panel:not([hidden])")) {
      const button = close(panel);
      if (button) button.focus();
    }
  });
}

// Figures: click to see one at full size, again to fit it to the page.
for (const button of document.querySelectorAll("button.enlarge")) {
  button.addEventListener("click", () => button.setAttribute("aria-pressed", String(button.classList.toggle("large"))));
}

// A link to a run's configuration opens it.
function openTarget() {
  const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === "DETAILS") target.open = true;
}
window.addEventListener("hashchange", openTarget);
openTarget();
