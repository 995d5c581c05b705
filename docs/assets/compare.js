// Two to four losses side by side. What is chosen stands in the address; the data is compare.json.
(() => {
  const DATA = new URL("../compare.json", document.currentScript.src);
  const MOST = 4;

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  const normal = (name) => name.replace(/\s|\(\)$/g, "");

  // Names as the address has them: the call, or the function alone for the call with its defaults, else its first.
  function readNames(losses) {
    const names = new Map();
    for (const loss of losses) if (!names.has(loss.function)) names.set(loss.function, loss);
    for (const loss of losses) names.set(loss.name, loss);
    return names;
  }

  function readAddress(names) {
    const asked = [...new Set(new URLSearchParams(location.search).getAll("loss").map(normal).filter(Boolean))];
    const found = [...new Set(asked.map((name) => names.get(name)).filter(Boolean))];
    const notes = [];
    const unknown = asked.filter((name) => !names.has(name)).map((name) => (name.length > 80 ? `${name.slice(0, 80)}…` : name));
    if (unknown.length) notes.push(`Not in the catalogue: ${unknown.slice(0, MOST).join(", ")}${unknown.length > MOST ? " and others" : ""}.`);
    if (found.length > MOST) notes.push(`Of ${found.length} losses the first ${MOST} are shown.`);
    return { chosen: found.slice(0, MOST), notes };
  }

  function writeAddress(chosen) {
    const query = new URLSearchParams(chosen.map((loss) => ["loss", loss.name]));
    history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  }

  function makeForm(losses) {
    const form = element("form", { class: "filters choices" });
    const families = new Map();
    for (const loss of losses) families.set(loss.family, [...(families.get(loss.family) ?? []), loss]);
    for (let at = 1; at <= MOST; at++) {
      const groups = [...families].map(([family, members]) =>
        element("optgroup", { label: family }, ...members.map((loss) => element("option", { value: loss.name }, `${loss.call} · ${loss.papers[0][1]}`))),
      );
      const choice = element("select", { name: "loss" }, element("option", { value: "" }, at > 2 ? "none" : "choose a loss"), ...groups);
      form.append(element("label", {}, `Loss ${at}`, choice));
    }
    form.append(element("button", { type: "reset" }, "Clear"));
    return form;
  }

  function formula(tex) {
    const place = element("div", { class: "formula", tabindex: "0", role: "group", "aria-label": "Formula" });
    katex.render(tex, place, { displayMode: true, throwOnError: false });
    return place;
  }

  function picture(file, alt, more) {
    return element("img", { src: new URL(`pictures/${file}`, DATA).href, alt, loading: "lazy", ...more });
  }

  function papers(loss) {
    const links = loss.papers.map(([key, name]) => element("a", { href: new URL(`papers/${key}/`, DATA).href }, name));
    return links.flatMap((link, at) => (at ? [", ", link] : [link]));
  }

  const ZOOMED = { width: 256, height: 256 };

  // Title of each row, and for each loss what stands in it; empty where the loss has no such thing.
  function* contents(data, chosen) {
    yield ["Papers", chosen.map(papers)];
    yield ["Formula", chosen.map((loss) => loss.formulas.map(formula))];
    for (const [at, state] of data.states.entries()) {
      const cells = chosen.map(({ stem, panels }) => (panels?.[at] ? [picture(stem + panels[at][0], data.leads[at] + panels[at][1], ZOOMED)] : []));
      yield [`Gradient: ${state.toLowerCase()}`, cells, "pictured"];
    }
    yield ["Full colour at", chosen.map(({ panels, scale }) => (panels?.length ? [scale] : []))];
    for (const [at, title] of data.rows.entries()) {
      yield [title, chosen.map(({ card }) => (at in card ? [data.texts[card[at]]] : []))];
    }
  }

  function table(data, chosen) {
    const heads = chosen.map((loss) => element("th", { scope: "col", role: "columnheader" }, element("code", {}, loss.call)));
    const head = element("tr", { role: "row" }, element("td", { role: "cell" }), ...heads);
    const body = element("tbody", { role: "rowgroup" });
    for (const [title, cells, kind] of contents(data, chosen)) {
      if (!cells.some((cell) => cell.length)) continue;
      const row = element("tr", { role: "row", class: kind ?? "told" }, element("th", { scope: "row", role: "rowheader" }, title));
      if (cells.every(([only]) => typeof only === "string" && only === cells[0][0])) {
        row.append(element("td", { role: "cell", colspan: chosen.length, "aria-colspan": chosen.length, "data-label": "all" }, ...cells[0]));
      } else for (const [at, cell] of cells.entries()) {
        row.append(element("td", { role: "cell", "data-label": chosen[at].call }, ...(cell.length ? cell : ["none"])));
      }
      body.append(row);
    }
    const caption = element("caption", {}, `${chosen.length} losses side by side`);
    return element("table", { class: "compared", role: "table" }, caption, element("thead", { role: "rowgroup" }, head), body);
  }

  // The curves are too wide to stand side by side.
  function curves(chosen) {
    const drawn = chosen.filter(({ stem }) => stem);
    const figures = drawn.map((loss) =>
      element("figure", {}, element("figcaption", {}, element("code", {}, loss.call)), picture(`${loss.stem}.svg`, loss.curves, { class: "curves" })),
    );
    return figures.length ? [element("h2", {}, "Value as an error grows"), ...figures] : [];
  }

  const LEGEND =
    "Gradient with respect to the logits: blue raises the foreground, red lowers it; the strength of the colour is the square root " +
    "of the size, full at the value given. Contours: the truth in black, the prediction in orange.";

  function show(data, place, chosen) {
    if (chosen.length < 2) {
      place.replaceChildren(element("p", {}, chosen.length ? "Choose one more loss." : "Choose two to four losses."));
      return;
    }
    place.replaceChildren(table(data, chosen), element("p", { class: "legend" }, LEGEND), ...curves(chosen));
  }

  async function start(root) {
    root.setAttribute("data-ready", "");
    const status = element("p", { role: "status" }, "The data is loaded …");
    root.replaceChildren(status);
    let data;
    try {
      const answer = await fetch(DATA);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      data = await answer.json();
    } catch (error) {
      status.textContent = `The data could not be loaded (${error.message}). The papers below show the same.`;
      return;
    }
    const names = readNames(data.losses);
    const form = makeForm(data.losses);
    const place = element("div", { class: "side-by-side" });
    root.replaceChildren(form, status, place);
    const choices = [...form.elements.loss];
    const { chosen, notes } = readAddress(names);
    chosen.forEach((loss, at) => (choices[at].value = loss.name));
    status.textContent = notes.join(" ");
    const update = () => {
      const now = [...new Set(choices.map((choice) => names.get(choice.value)).filter(Boolean))];
      writeAddress(now);
      show(data, place, now);
    };
    form.addEventListener("change", () => {
      status.textContent = "";
      update();
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(() => form.dispatchEvent(new Event("change"))));
    show(data, place, chosen);
  }

  document$.subscribe(() => {
    const root = document.querySelector(".compare:not([data-ready])");
    if (root) start(root);
  });
})();
