// Sorting and filtering of the catalogue table. The cells are the data; the state lives in the address.

const DETAILS = { family: "Family", task: "Task", dims: "Dims", needs: "Needs", labels: "Labels", code: "Code" };

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const tokens = (cell) => cell.textContent.split(",").map((token) => token.trim()).filter(Boolean);

function readTable(table) {
  const headers = [...table.tHead.rows[0].cells];
  const column = new Map(headers.map((header, index) => [header.textContent.trim(), index]));
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row,
    text: plain(row.textContent),
    facts: Object.fromEntries(
      Object.entries(DETAILS).map(([name, title]) => [name, tokens(row.cells[column.get(title)])]),
    ),
  }));
  for (const { row } of rows) {
    headers.forEach((header, index) => row.cells[index].setAttribute("data-label", header.textContent.trim()));
  }
  return { headers, rows };
}

function makeFilters(rows) {
  const search = element("input", { type: "search", name: "q", placeholder: "title, author, function …" });
  const form = element("form", { class: "filters", role: "search" }, element("label", {}, "Text", search));
  for (const [name, title] of Object.entries(DETAILS)) {
    const values = [...new Set(rows.flatMap(({ facts }) => facts[name]))].sort();
    const options = values.map((value) => element("option", { value }, value));
    form.append(element("label", {}, title, element("select", { name }, element("option", { value: "" }, "any"), ...options)));
  }
  form.append(element("button", { type: "reset" }, "Clear"), element("output", { "aria-live": "polite" }));
  return form;
}

function applyFilters({ rows }, form) {
  const words = plain(form.elements.q.value).split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const { row, text, facts } of rows) {
    const matches =
      words.every((word) => text.includes(word)) &&
      Object.keys(DETAILS).every((name) => !form.elements[name].value || facts[name].includes(form.elements[name].value));
    row.hidden = !matches;
    shown += matches;
  }
  form.querySelector("output").textContent = `${shown} of ${rows.length} papers`;
}

function applySort({ headers, rows }, { index, descending }) {
  const key = ({ row }) => row.cells[index].textContent.trim();
  const order = [...rows].sort((a, b) => key(a).localeCompare(key(b), "en", { numeric: true }));
  if (descending) order.reverse();
  rows[0]?.row.parentElement.append(...order.map(({ row }) => row));
  headers.forEach((header, other) => {
    if (other === index) header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else header.removeAttribute("aria-sort");
  });
}

function writeAddress({ headers }, form, sort) {
  const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
  if (sort.index !== 0 || !sort.descending) {
    query.set("sort", headers[sort.index].textContent.trim().toLowerCase() + (sort.descending ? "-" : ""));
  }
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

function readAddress({ headers }, form) {
  const query = new URLSearchParams(location.search);
  for (const name of ["q", ...Object.keys(DETAILS)]) form.elements[name].value = query.get(name) ?? "";
  const wanted = query.get("sort") ?? "date-";
  const titles = headers.map((header) => header.textContent.trim().toLowerCase());
  return { index: Math.max(0, titles.indexOf(wanted.replace(/-$/, ""))), descending: wanted.endsWith("-") };
}

document$.subscribe(() => {
  const table = document.querySelector(".catalogue table");
  if (!table || table.tHead.querySelector("button")) return;
  const catalogue = readTable(table);
  const form = makeFilters(catalogue.rows);
  document.querySelector(".catalogue").prepend(form);
  const sort = readAddress(catalogue, form);
  const update = () => {
    applyFilters(catalogue, form);
    applySort(catalogue, sort);
    writeAddress(catalogue, form, sort);
  };
  catalogue.headers.forEach((header, index) => {
    const button = element("button", { type: "button" }, ...header.childNodes);
    button.addEventListener("click", () => {
      sort.descending = sort.index === index ? !sort.descending : false;
      sort.index = index;
      update();
    });
    header.append(button);
  });
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  update();
});
