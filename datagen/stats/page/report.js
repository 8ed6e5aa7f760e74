// The interactive parts of the report. Text from data becomes text or a property, never HTML.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const { columns, rows } = read("table-data");
const extremes = read("extremes-data");
const indexOf = new Map(columns.map(({ name }, index) => [name, index]));
const byKey = new Map(rows.map((row) => [row[0], row]));
const CHOICES = 40; // a column with at most this many values is filtered by a list

/** A new element with properties and children. */
function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** Key -> the article with its pictures, wherever it is in the page. */
const cards = new Map();
for (const root of [document.getElementById("pool").content, document]) {
  for (const card of root.querySelectorAll("article[data-key]")) {
    cards.set(card.dataset.key, card);
    card.querySelector("h3, h4").replaceChildren(opener(card.dataset.key));
  }
}

const pictured = [...cards.values()].filter((card) => card.querySelector("img")).length;

/** A clip's key, as a button that opens the clip. */
function opener(key) {
  return make("button", { type: "button", className: "open", textContent: key });
}

const textOf = (value) => (Array.isArray(value) ? value.join(", ") : String(value ?? ""));

/* ---- colours ---- */

const dark = matchMedia("(prefers-color-scheme: dark)");
const recolour = () => document.documentElement.classList.toggle("dark", dark.matches);
dark.addEventListener("change", recolour);
recolour();

/* ---- worst and best ---- */

function extreme(key, name) {
  const card = cards.get(key)?.cloneNode(true);
  if (!card) return "";
  for (const value of card.querySelectorAll("[data-measure]")) {
    value.classList.toggle("chosen", value.dataset.measure === name);
  }
  card.querySelector(".facts").prepend(make("strong", { textContent: textOf(byKey.get(key)?.[indexOf.get(name)]) }));
  return card;
}

const score = document.getElementById("score");
function showExtremes() {
  for (const [end, keys] of Object.entries(extremes[score.value])) {
    const none = make("p", { className: "empty" }, "Too few clips have this score.");
    const found = keys.map((key) => extreme(key, score.value));
    document.getElementById(end).replaceChildren(...(found.length ? found : [none]));
  }
}
if (score) {
  score.addEventListener("change", showExtremes);
  showExtremes();
}

/* ---- one clip ---- */

const dialog = document.getElementById("detail");
const unit = (column) => make("small", {}, column.unit ? ` ${column.unit}` : "");
let opened = "";

function open(key) {
  const row = byKey.get(key);
  if (!row) return;
  opened = key;
  const pictures = [...(cards.get(key)?.querySelectorAll("img") ?? [])].map((picture) => picture.cloneNode());
  const none = make("p", { className: "note" }, `Not among the ${pictured} clips that this report has pictures of.`);
  document.getElementById("detail-title").textContent = key;
  document.getElementById("detail-pictures").replaceChildren(...(pictures.length ? pictures : [none]));
  document.getElementById("detail-values").replaceChildren(...details(row));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

/** All values of a clip except its key. */
function details(row) {
  const pairs = columns.map((column, index) => [column, textOf(row[index])]);
  return pairs
    .filter(([column, text]) => column.kind !== "key" && text !== "")
    .map(([column, text]) =>
      make("div", { title: column.about }, make("dt", {}, column.title), make("dd", {}, text, unit(column))),
    );
}

/** Open the previous or next clip that passes the filters, in the order of the table. */
function step(by) {
  const keys = (search) => table.rows({ search }).data().toArray().map((row) => row[0]);
  const [all, left] = [keys("none"), new Set(keys("applied"))];
  let at = all.indexOf(opened) + by;
  while (at in all && !left.has(all[at])) at += by;
  if (at in all) open(all[at]);
}
document.getElementById("previous").addEventListener("click", () => step(-1));
document.getElementById("next").addEventListener("click", () => step(1));
for (const part of document.querySelectorAll("#worst, #best, #gallery ~ *, .reasons")) {
  part.addEventListener("click", ({ target }) => {
    const card = target.closest("article[data-key]");
    if (card && target.matches("img, .open")) open(card.dataset.key);
  });
}
dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());

/* ---- the table ---- */

const picture = { title: "picture", unit: "", about: "", kind: "picture" };
const shown = [picture, ...columns];

/** Numbers; missing ones come last in both directions. */
DataTable.type("measured", {
  className: "dt-type-numeric",
  order: {
    asc: (a, b) => (a === null) - (b === null) || a - b,
    desc: (a, b) => (a === null) - (b === null) || b - a,
  },
});

function thumbnail(row) {
  const source = cards.get(row[0])?.querySelector("img")?.src;
  return source ? make("img", { src: source, alt: "", className: "thumbnail" }) : "";
}

const titled = (cell, value) => (cell.title = textOf(value));

/** A column that is shown and sorted by different values. DataTables searches HTML, so text is escaped. */
const escaped = DataTable.render.text();
const shows = (display, plain = (value) => value) => (value, type, row) =>
  type === "display" ? display(value, row) : type === "filter" ? escaped.filter(plain(value)) : plain(value);

const KINDS = {
  picture: { data: null, orderable: false, searchable: false, render: shows((_, row) => thumbnail(row), () => "") },
  key: { type: "string", className: "key", createdCell: titled, render: shows(opener) },
  word: { type: "string", createdCell: titled, render: escaped },
  list: { type: "string", createdCell: titled, render: shows((list) => make("span", {}, textOf(list)), textOf) },
  number: { type: "measured", render: shows(textOf) },
};

const titles = make("tr");
const filters = make("tr");
filters.dataset.dtOrder = "disable";
shown.forEach((column, index) => {
  const name = [column.title, unit(column)];
  titles.append(make("th", { scope: "col", title: column.about, className: column.kind }, ...name));
  filters.append(make("td", { className: `filter ${column.kind}` }, ...fields(column, index)));
});

/** The filters of a column: bounds for numbers, a list if there are few values, else a part of the text. */
function fields(column, index) {
  if (column.kind === "picture") return [];
  if (column.kind === "number") return [bound(column, index, "least", "≥"), bound(column, index, "most", "≤")];
  const values = [...new Set(rows.flatMap((row) => row[index - 1]))].sort();
  const few = column.kind !== "key" && values.length <= CHOICES;
  return [few ? choice(column, index, values) : part(column, index)];
}

function bound(column, index, end, sign) {
  const name = `${column.title}: ${end === "least" ? "at least" : "at most"}`;
  const field = make("input", { type: "number", step: "any", placeholder: sign, title: name, ariaLabel: name });
  field.addEventListener("input", () => {
    filter(field, index, end, field.value, within(index - 1, end, field.valueAsNumber));
  });
  return field;
}

const within = (at, end, limit) => (_, row) =>
  row[at] !== null && (end === "least" ? row[at] >= limit : row[at] <= limit);

function choice(column, index, values) {
  const name = `${column.title}: one of`;
  const options = ["all", ...values.map((value) => value || "(none)")].map((text) => make("option", {}, text));
  const field = make("select", { title: name, ariaLabel: name }, ...options);
  field.addEventListener("change", () => {
    const value = values[field.selectedIndex - 1];
    filter(field, index, "choice", field.selectedIndex > 0, (_, row) => [row[index - 1]].flat().includes(value));
  });
  return field;
}

function part(column, index) {
  const name = `${column.title}: contains`;
  const field = make("input", { type: "search", placeholder: "contains", title: name, ariaLabel: name });
  field.addEventListener("input", () => {
    const wanted = field.value.toLowerCase();
    filter(field, index, "part", wanted, (_, row) => textOf(row[index - 1]).toLowerCase().includes(wanted));
  });
  return field;
}

/** Columns without any value are hidden at first. */
const known = (at) => at < 0 || !rows.length || rows.some((row) => textOf(row[at]) !== "");

const chooser = {
  extend: "colvis",
  text: "Columns",
  columns: [...shown.keys()].slice(2),
  columnText: (_, index) => shown[index].title,
  background: false,
};
const language = {
  search: "Search",
  emptyTable: "There is no clip.",
  zeroRecords: "No clip matches.",
  entries: { _: "clips", 1: "clip" },
};
const head = make("thead", {}, titles, filters);
const element = make("table", { className: "compact hover order-column", id: "all-clips" }, head);
document.getElementById("table").append(element);
const table = new DataTable(element, {
  data: rows,
  columns: shown.map((column, index) => ({ data: index - 1, visible: known(index - 1), ...KINDS[column.kind] })),
  titleRow: 0,
  order: [[1, "asc"]],
  deferRender: true,
  autoWidth: false,
  pageLength: 25,
  lengthMenu: [10, 25, 100, 500],
  layout: {
    topStart: "search",
    topEnd: { buttons: [chooser] },
    bottomStart: ["info", "pageLength"],
  },
  language,
});

/** Set a filter of a column, or remove it if `on` is empty, and redraw. */
function filter(field, index, name, on, test) {
  field.classList.toggle("on", Boolean(on));
  table.column(index).search.fixed(name, on ? test : null).draw();
}

const outcomes = document.getElementById("switch");
function show(which) {
  const kept = indexOf.get("outcome");
  const test = (_, row) => (row[kept] === "kept") === (which === "kept");
  for (const button of outcomes.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", button.dataset.show === which);
  }
  table.search.fixed("outcome", which === "all" ? null : test).draw();
}
outcomes.addEventListener("click", ({ target }) => {
  const which = target.closest("[data-show]")?.dataset.show;
  if (which) show(which);
});

document.getElementById("reset").addEventListener("click", () => {
  for (const field of filters.querySelectorAll("input, select")) {
    if (field.options) field.selectedIndex = 0;
    else field.value = "";
    field.classList.remove("on");
  }
  for (const index of shown.keys()) {
    for (const name of ["least", "most", "choice", "part"]) table.column(index).search.fixed(name, null);
  }
  table.search("");
  show("all");
});

element.tBodies[0].addEventListener("click", ({ target }) => {
  const row = table.row(target.closest("tr")).data();
  if (row) open(row[0]);
});

/* ---- contents: mark the part in view ---- */

const spy = new IntersectionObserver(
  (seen) => {
    for (const { target } of seen.filter((entry) => entry.isIntersecting)) {
      const part = target.getAttribute("aria-labelledby") ?? target.id;
      for (const link of document.querySelectorAll("body > nav a")) {
        if (link.hash === `#${part}`) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  },
  { rootMargin: "-10% 0px -80%" },
);
for (const part of document.querySelectorAll("main > header, main > section")) spy.observe(part);
