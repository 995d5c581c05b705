// "Which loss should I use?": the table of questions and answers becomes a form, and the answers order the losses.
// The rows of the table carry the data; the answers stand in the address.

(() => {
  function readQuestions(table) {
    const questions = new Map();
    for (const row of table.querySelectorAll("[data-answer]")) {
      const { name, must, none, value, fits } = JSON.parse(row.dataset.answer);
      if (!questions.has(name)) {
        questions.set(name, { name, must, none, text: row.cells[0].textContent, answers: [] });
      }
      const text = row.cells[row.cells.length - 2].textContent;
      questions.get(name).answers.push({ value, text, fits: new Map(Object.entries(fits)) });
    }
    return [...questions.values()];
  }

  function choose(form, name, value) {
    for (const input of form.elements[name]) input.checked = input.value === value;
  }

  function makeForm(questions) {
    const made = (tag, attributes = {}, ...children) => {
      const node = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
      node.append(...children);
      return node;
    };
    const option = (name, value, text) =>
      made("label", {}, made("input", { type: "radio", name, value }), made("span", {}, text));
    const form = made("form", { class: "questions", "aria-label": "Questions" });
    for (const { name, text, none, answers } of questions) {
      const options = [option(name, "", none), ...answers.map((answer) => option(name, answer.value, answer.text))];
      form.append(made("fieldset", {}, made("legend", {}, text), ...options));
    }
    form.append(
      made("p", { class: "outcome" }, made("output", { "aria-live": "polite" }), made("button", { type: "reset" }, "Clear")),
    );
    return form;
  }

  // The losses of a paper that no answer leaves out, and the wishes that speak for it.
  function judged(choice, chosen) {
    const key = choice.id;
    let items = JSON.parse(choice.dataset.names).map((_, index) => index);
    const reasons = new Set();
    let wishes = 0;
    for (const { question, answer } of chosen) {
      const fits = answer.fits.get(key) ?? [];
      if (question.must) items = items.filter((index) => fits.includes(index));
      else wishes += 1;
      if (fits.length) reasons.add(`${question.name}=${answer.value}`);
    }
    const wished = chosen.filter(
      ({ question, answer }) => !question.must && (answer.fits.get(key) ?? []).some((index) => items.includes(index)),
    ).length;
    return { choice, items, reasons, wished, shown: items.length > 0 && (wishes === 0 || wished > 0) };
  }

  function show(place, order, questions, form) {
    const chosen = questions.flatMap((question) => {
      const value = form.elements[question.name].value;
      return question.answers.filter((answer) => answer.value === value).map((answer) => ({ question, answer }));
    });
    const wishes = chosen.filter(({ question }) => !question.must).length;
    const found = order.map((choice) => judged(choice, chosen)).sort((a, b) => b.wished - a.wished);
    for (const { choice, items, reasons, shown } of found) {
      choice.hidden = !shown;
      const names = JSON.parse(choice.dataset.names);
      const fitting = new Set(items.map((index) => names[index]));
      for (const code of choice.querySelectorAll("code[data-name]")) {
          const unfit = !fitting.has(code.dataset.name);
          code.classList.toggle("unfit", unfit);
          code.title = unfit ? "does not fit the answers" : "";
        }
      for (const reason of choice.querySelectorAll("[data-reason]")) {
        reason.hidden = chosen.length > 0 && !reasons.has(reason.dataset.reason);
      }
    }
    place.append(...found.map(({ choice }) => choice));
    const shown = found.filter((each) => each.shown);
    const all = shown.filter(({ wished }) => wished === wishes).length;
    form.querySelector("output").textContent = !shown.length
      ? "No paper of the catalogue fits all of this; take an answer back."
      : wishes > 1
        ? `${shown.length} of ${order.length} papers, ${all} of them for every reason given; those come first`
        : `${shown.length} of ${order.length} papers`;
  }

  document$.subscribe(() => {
    const root = document.querySelector(".choose");
    const table = root?.querySelector(".choose-answers");
    if (!table || root.querySelector("form")) return;
    const questions = readQuestions(table);
    const form = makeForm(questions);
    const place = root.querySelector(".choice-list");
    const order = [...place.children];
    table.before(form);
    table.hidden = true;
    const query = new URLSearchParams(location.search);
    for (const { name, answers } of questions) {
      const wanted = answers.some(({ value }) => value === query.get(name)) ? query.get(name) : "";
      choose(form, name, wanted);
    }
    const update = () => {
      const answers = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
      history.replaceState(null, "", (answers.size ? `?${answers}` : location.pathname) + location.hash);
      show(place, order, questions, form);
    };
    form.addEventListener("change", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () =>
      setTimeout(() => {
        for (const { name } of questions) choose(form, name, "");
        update();
      }),
    );
    update();
  });
})();
