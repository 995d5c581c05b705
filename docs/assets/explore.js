// A formula with sliders for its parameters: the plot, and the table of values beside it. tests/site/test_explore.py
// holds every formula equal to the implementation.

(() => {
  const OBJECT = 1000;
  const IMAGE = 20000;

  const priced = (alpha, truth) => (alpha === undefined ? 1 : truth ? alpha : 1 - alpha);
  const logit = (p) => Math.log(p / (1 - p));
  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const focal = (p, truth, { gamma, alpha }) => -priced(alpha, truth) * (1 - p) ** gamma * Math.log(p);
  const tversky = ({ tp, fp, fn }, { alpha, beta, smooth }) => 1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth);
  const dice = ({ tp, fp, fn }) => 1 - (2 * tp) / (2 * tp + fp + fn);
  const robust = (p, { gamma, squared, smooth }) => {
    const size = squared ? p ** 2 + (1 - p) ** 2 + 1 : 2;
    return (2 * OBJECT * (1 - p) ** gamma) / (OBJECT * size + smooth);
  };

  const formulas = {
    voxel: {
      focal_loss: focal,
      weighted_focal_loss: focal,
      focal_star_loss: (p, truth, { gamma, shift, alpha }) =>
        (priced(alpha, truth) * softplus(-gamma * logit(p) - shift)) / gamma,
      asymmetric_focal_margin_loss: (p, truth, { gamma, margin }) =>
        truth ? softplus(margin - logit(p)) : focal(p, truth, { gamma }),
    },
    overlap: {
      tversky_loss: tversky,
      focal_tversky_loss: (counts, params) => tversky(counts, params) ** (1 / params.gamma),
      f_beta_loss: (counts, { beta, smooth }) =>
        tversky(counts, { alpha: 1 / (1 + beta ** 2), beta: beta ** 2 / (1 + beta ** 2), smooth }),
      generalised_f_beta_loss: ({ tp, fp, fn }, { alpha_p, alpha_n, beta, smooth }) => {
        const hits = (1 + beta ** 2) * tp + smooth;
        return 1 - hits / (hits + alpha_p * fp + beta ** 2 * alpha_n * fn);
      },
      weighted_asymmetric_similarity_loss: ({ tp, fp, fn }, { beta }) =>
        1 - ((1 + beta ** 2) * tp) / (beta ** 2 * (tp + fn) + tp + fp),
      penalised_generalised_dice_loss: (counts, { k }) => 1 - (1 - dice(counts)) / (1 + k * dice(counts)),
      sensitivity_specificity_loss: ({ tp, fp, fn, tn }, { r }) => (r * fn) / (tp + fn) + ((1 - r) * fp) / (fp + tn),
      tvmf_dice_loss: ({ tp, fp, fn }, { kappa }) => {
        const cosine = tp / Math.sqrt((tp + fp) * (tp + fn));
        return (2 - (1 + cosine) / (1 + kappa * (1 - cosine))) ** 2;
      },
    },
    confidence: { noise_robust_dice_loss: robust },
  };
  const references = {
    voxel: (p) => -Math.log(p),
    overlap: (x) => dice(counts(x, 0)),
    confidence: (p) => robust(p, { gamma: 2, squared: true, smooth: 0 }),
  };

  function counts(x, line) {
    const [tp, fp] = line ? [OBJECT, OBJECT / x - OBJECT] : [OBJECT * x, 0];
    const fn = OBJECT - tp;
    return { tp, fp, fn, tn: IMAGE - tp - fp - fn };
  }

  function value(kind, name, params, x, line) {
    const formula = formulas[kind][name];
    if (kind === "voxel") return formula(x, line === 0, params);
    return kind === "overlap" ? formula(counts(x, line), params) : formula(x, params);
  }
  window.seglossFormula = value;

  // The drawing
  const [WIDTH, HEIGHT, LEFT, RIGHT, ABOVE, BELOW] = [640, 312, 46, 12, 12, 52];
  const FIRST = { voxel: 0.004, overlap: 0.1, confidence: 0 };
  const LAST = { voxel: 0.9999, overlap: 1, confidence: 1 };

  function svg(tag, attributes = {}, text = "") {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, each] of Object.entries(attributes)) node.setAttribute(name, each);
    node.textContent = text;
    return node;
  }

  function html(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, each] of Object.entries(attributes)) node.setAttribute(name, each);
    node.append(...children);
    return node;
  }

  function frame({ kind, top, axis }) {
    const x = (at) => LEFT + at * (WIDTH - LEFT - RIGHT);
    const y = (at) => HEIGHT - BELOW - (Math.min(Math.max(at, 0), top) / top) * (HEIGHT - ABOVE - BELOW);
    const plot = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" });
    for (const at of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
      plot.append(svg("line", { x1: x(at), x2: x(at), y1: y(0), y2: y(top), class: "grid" }));
      plot.append(svg("text", { x: x(at), y: y(0) + 18, class: "tick" }, String(at)));
      plot.append(svg("line", { x1: x(0), x2: x(1), y1: y(at * top), y2: y(at * top), class: "grid" }));
      plot.append(svg("text", { x: x(0) - 6, y: y(at * top) + 4, class: "tick side" }, String(+(at * top).toFixed(2))));
    }
    plot.append(svg("text", { x: x(0.5), y: HEIGHT - 8, class: "tick" }, axis));
    const path = (of) => {
      const points = [];
      for (let at = 0; at <= 240; at += 1) {
        const p = FIRST[kind] + (LAST[kind] - FIRST[kind]) * (at / 240);
        const v = of(p);
        if (Number.isFinite(v) && v <= top * 1.001) points.push(`${x(p).toFixed(1)} ${y(v).toFixed(1)}`);
      }
      return points.length ? `M${points.join("L")}` : "";
    };
    return { plot, path };
  }

  function slider({ name, low, high, step }, id, value_) {
    const input = html("input", { type: "range", id, min: low, max: high, step, "aria-label": name });
    input.value = value_;
    const output = html("output", { for: id });
    return { name, input, output, row: html("label", { for: id }, html("code", {}, name), input, output) };
  }

  const shown = (number) => String(+number.toFixed(3));

  function start(root) {
    const facts = JSON.parse(root.dataset.explore);
    const { function: name, kind, lines, points, reference } = facts;
    const query = new URLSearchParams(location.search);
    const controls = facts.sliders.map((each) => {
      const asked = query.get(`${name}.${each.name}`);
      const wanted = asked && Number.isFinite(Number(asked)) ? asked : facts.params[each.name];
      return slider(each, `explore-${name}-${each.name}`, wanted);
    });
    const reset = html("button", { type: "button" }, "As in the paper");
    const table = root.querySelector(".explore-values");
    const rows = [...table.tBodies[0].rows];
    const given = rows.map((row) => [...row.cells].map((cell) => cell.textContent));
    const { plot, path } = frame(facts);
    const dashed = svg("path", { class: "reference", d: path(references[kind]) });
    const drawn = lines.map((_, line) => svg("path", { class: `line line-${line}` }));
    plot.append(dashed, ...drawn);
    const key = html("p", { class: "explore-key", "aria-hidden": "true" });
    [...lines, `${reference}, to compare`].forEach((text, at) => {
      key.append(html("span", { class: at < lines.length ? `line-${at}` : "reference" }, text));
    });
    const form = html("div", { class: "explore-sliders" }, ...controls.map(({ row }) => row), reset);
    table.before(form, plot, key);

    const asked = (own) => Number.isFinite(Number(query.get(`${name}.${own}`) || NaN));
    const moved = new Set(facts.sliders.map(({ name: own }) => own).filter(asked));
    const params = () => {
      const changed = controls.filter(({ name: own }) => moved.has(own));
      return { ...facts.params, ...Object.fromEntries(changed.map(({ name: own, input }) => [own, Number(input.value)])) };
    };
    const draw = () => {
      const now = params();
      for (const { name: own, output } of controls) output.textContent = shown(now[own]);
      drawn.forEach((each, line) => each.setAttribute("d", path((x) => value(kind, name, now, x, line))));
      rows.forEach((row, line) => {
        points.forEach((x, at) => {
          const v = value(kind, name, now, x, line);
          row.cells[at + 1].textContent = moved.size ? (Math.abs(v) < 5e-5 ? 0 : v).toFixed(3) : given[line][at + 1];
        });
      });
      reset.disabled = moved.size === 0;
    };
    const write = () => {
      const address = new URLSearchParams(location.search);
      for (const { name: own, input } of controls) {
        if (moved.has(own)) address.set(`${name}.${own}`, input.value);
        else address.delete(`${name}.${own}`);
      }
      history.replaceState(null, "", (address.size ? `?${address}` : location.pathname) + location.hash);
    };
    for (const { name: own, input } of controls) {
      input.addEventListener("input", () => {
        moved.add(own);
        draw();
      });
      input.addEventListener("change", write);
    }
    reset.addEventListener("click", () => {
      moved.clear();
      for (const { name: own, input } of controls) input.value = facts.params[own];
      draw();
      write();
    });
    draw();
  }

  document$.subscribe(() => {
    for (const root of document.querySelectorAll(".explore")) if (!root.querySelector("svg")) start(root);
  });
})();
