// Search, filters, sorting and export of the catalogue. The rows hold the data; the state lives in the address.
// The text is not called q there: with a q in the address the theme opens its own search.

const FACETS = {
  family: "Family", task: "Task", dims: "Dimensions", year: "Year", venue: "Venue", needs: "Needs",
  labels: "Labels", alone: "Stand-alone", code: "Code", verified: "Verified",
};
const SEVERAL = new Set(["task", "dims", "needs"]); // values separated by spaces
const ORDERS = {
  "date-": "newest first", date: "oldest first", paper: "title, A to Z", "paper-": "title, Z to A",
  cost: "cost, least first", "cost-": "cost, most first",
};
const FORMATS = { BibTeX: toBibtex, JSON: toJson, CSV: toCsv };

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function readRows(table) {
  return [...table.tBodies[0].rows].map((row) => ({
    row,
    key: row.dataset.key,
    text: plain(`${row.textContent} ${row.dataset.key}`),
    facts: Object.fromEntries(
      Object.keys(FACETS).map((name) => [name, SEVERAL.has(name) ? row.dataset[name].split(" ") : [row.dataset[name]]]),
    ),
    sorts: { date: row.dataset.date, paper: row.dataset.title, cost: Number(row.dataset.cost ?? Infinity) },
  }));
}

function makeForm(rows, hasCost) {
  const search = element("input", { type: "search", name: "text", placeholder: "title, author, function …", autocomplete: "off" });
  const sort = element("select", { name: "sort" });
  for (const [value, words] of Object.entries(ORDERS)) {
    if (hasCost || !value.startsWith("cost")) sort.append(element("option", { value }, words));
  }
  const selects = Object.entries(FACETS).map(([name, title]) => {
    const values = [...new Set(rows.flatMap(({ facts }) => facts[name]))].sort(collator.compare);
    if (name === "year") values.reverse();
    const options = values.map((value) => element("option", { value }, value));
    return element("label", {}, title, element("select", { name }, element("option", { value: "" }, "any"), ...options));
  });
  const exports = Object.keys(FORMATS).map((format) => element("button", { type: "button", "data-format": format }, format));
  return element(
    "form", { class: "filters", role: "search", "aria-label": "Papers" },
    element("div", { class: "first" }, element("label", {}, "Text", search), element("label", {}, "Sort by", sort)),
    element("details", {}, element("summary", {}, "Filters"), element("div", { class: "facets" }, ...selects)),
    element(
      "div", { class: "last" },
      element("output", { "aria-live": "polite" }),
      element("button", { type: "reset" }, "Clear"),
      element("span", { class: "export", role: "group", "aria-label": "Export the papers shown" }, "Export", ...exports),
    ),
  );
}

// Hides what does not match, and counts for every choice how many papers it would show beside the other choices.
function applyFilters(rows, form) {
  const words = plain(form.elements.text.value).split(/\s+/).filter(Boolean);
  const chosen = Object.keys(FACETS).map((name) => [name, form.elements[name].value]);
  const counts = Object.fromEntries(chosen.map(([name]) => [name, new Map()]));
  const count = (name, values) => values.forEach((value) => counts[name].set(value, (counts[name].get(value) ?? 0) + 1));
  let shown = 0;
  for (const { row, text, facts } of rows) {
    const found = words.every((word) => text.includes(word));
    const failed = found ? chosen.filter(([name, value]) => value && !facts[name].includes(value)) : [];
    const matches = found && failed.length === 0;
    if (row.hidden === matches) row.hidden = !matches;
    shown += matches;
    if (matches) for (const [name] of chosen) count(name, facts[name]);
    else if (failed.length === 1) count(failed[0][0], facts[failed[0][0]]);
  }
  for (const [name, value] of chosen) {
    for (const option of form.elements[name].options) {
      if (!option.value) continue;
      const number = counts[name].get(option.value) ?? 0;
      option.disabled = number === 0 && option.value !== value;
      option.textContent = `${option.value} (${number})`;
    }
  }
  const active = chosen.filter(([, value]) => value).length;
  form.querySelector("summary").textContent = active ? `Filters (${active})` : "Filters";
  for (const button of form.querySelectorAll("[data-format]")) button.disabled = shown === 0;
  return shown;
}

function applySort(rows, table, order) {
  const name = order.replace(/-$/, "");
  const sign = order.endsWith("-") ? -1 : 1;
  const compare = name === "cost"
    ? (a, b) => (a === b ? 0 : a === Infinity ? 1 : b === Infinity ? -1 : sign * (a - b)) // unmeasured last
    : (a, b) => sign * collator.compare(a, b);
  rows.sort((a, b) => compare(a.sorts[name], b.sorts[name]) || (a.key < b.key ? -1 : 1));
  table.tBodies[0].append(...rows.map(({ row }) => row));
  for (const header of table.tHead.rows[0].cells) {
    if (header.classList.contains(`of-${name}`)) header.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
    else header.removeAttribute("aria-sort");
  }
}

function writeAddress(form) {
  const query = new URLSearchParams([...new FormData(form)].filter(([name, value]) => value && (name !== "sort" || value !== "date-")));
  history.replaceState(history.state, "", query.size ? `?${query}` : location.pathname);
}

// Takes the state from the address and gives back what in it the catalogue does not have.
function readAddress(form) {
  const query = new URLSearchParams(location.search);
  const unknown = [];
  for (const name of ["text", "sort", ...Object.keys(FACETS)]) {
    const field = form.elements[name];
    const value = query.get(name) ?? (name === "sort" ? "date-" : "");
    field.value = value;
    if (field.value !== value) {
      unknown.push(`${name}=${value}`);
      field.value = name === "sort" ? "date-" : "";
    }
  }
  return unknown;
}

function toBibtex(records) {
  return `${records.map(({ bibtex }) => bibtex).join("\n\n")}\n`;
}

function toJson(records) {
  return `${JSON.stringify(records, null, 1)}\n`;
}

// Quoted throughout; what a spreadsheet could take for a formula gets an apostrophe in front.
function csvCell(value) {
  const text = String(value ?? "");
  return `"${(/^[\s\uFEFF]*[=+\-@\t\r\n＝＋－＠]/u.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
}

function toCsv(records) {
  const all = (record, field) => [...new Set(functions(record).flatMap((item) => item[field] ?? []))].join("; ");
  const functions = ({ losses = [], measures = [] }) => [...losses, ...measures];
  const columns = {
    key: ({ key }) => key,
    date: ({ date }) => date,
    title: ({ title }) => title,
    authors: ({ authors }) => authors.join("; "),
    venue: ({ venue }) => venue,
    family: ({ family }) => family,
    functions: (record) => all(record, "function"),
    task: (record) => all(record, "task"),
    dims: (record) => all(record, "dims"),
    needs: (record) => all(record, "needs"),
    soft_labels: (record) => functions(record).some((item) => item.soft_labels),
    official_code: ({ code = [] }) => code.some(({ official }) => official),
    doi: ({ doi }) => doi,
    arxiv: ({ arxiv }) => arxiv,
    url: ({ url }) => url,
  };
  const lines = records.map((record) => Object.values(columns).map((column) => csvCell(column(record))).join(","));
  return `\uFEFF${[Object.keys(columns).join(","), ...lines].join("\r\n")}\r\n`;
}

let data; // the whole catalogue, fetched with the first export

async function exportShown(rows, format, source) {
  data ??= fetch(source).then((response) => (response.ok ? response.json() : Promise.reject(new Error(response.statusText))));
  const known = new Map((await data).map((record) => [record.key, record]));
  const records = rows.filter(({ row }) => !row.hidden).map(({ key }) => known.get(key)).filter(Boolean);
  const [type, ending] = { BibTeX: ["text/plain", "bib"], JSON: ["application/json", "json"], CSV: ["text/csv", "csv"] }[format];
  const address = URL.createObjectURL(new Blob([FORMATS[format](records)], { type: `${type};charset=utf-8` }));
  element("a", { href: address, download: `segloss.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

document$.subscribe(() => {
  const table = document.querySelector(".catalogue table");
  if (!table || document.querySelector("form.filters")) return;
  const source = document.querySelector('a[href$="catalog.json"]').href;
  const rows = readRows(table);
  const form = makeForm(rows, rows.some(({ sorts }) => sorts.cost !== Infinity));
  const output = form.querySelector("output");
  const details = form.querySelector("details");
  const unknown = readAddress(form);
  let order = "date-"; // as the page comes
  const update = () => {
    const shown = applyFilters(rows, form);
    if (form.elements.sort.value !== order) applySort(rows, table, (order = form.elements.sort.value));
    const missing = unknown.length ? `; the catalogue has no ${unknown.join(", ")}` : "";
    output.textContent = `${shown} of ${rows.length} papers${missing}`;
    writeAddress(form);
  };
  for (const name of ["date", "paper", "cost"]) {
    const header = table.tHead.querySelector(`.of-${name}`);
    if (!header) continue;
    const button = element("button", { type: "button" }, ...header.childNodes);
    button.addEventListener("click", () => {
      const [first, second] = name === "date" ? ["date-", "date"] : [name, `${name}-`];
      form.elements.sort.value = order === first ? second : first;
      update();
    });
    header.append(button);
  }
  applySort(rows, table, order);
  details.open = matchMedia("(min-width: 60em)").matches || Object.keys(FACETS).some((name) => form.elements[name].value);
  form.addEventListener("input", () => {
    unknown.length = 0;
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    unknown.length = 0;
    setTimeout(update);
  });
  form.addEventListener("click", ({ target }) => {
    const format = target.dataset?.format;
    if (format) {
      exportShown(rows, format, source).catch(() => {
        data = undefined;
        output.textContent = "The data could not be fetched: is the site served, not opened as a file?";
      });
    }
  });
  update();
  document.querySelector(".catalogue").prepend(form);
});
