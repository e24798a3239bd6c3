"use strict";
// Asks for the state of all runs every few seconds, and for the curves of those that are shown and have grown.
(() => {
  const { make, ask, color, onTheme, id } = page;
  const EVERY = 3000;
  const FIRST = 8;  // networks that are shown before anybody asks
  const HUES = 7;
  const DASHES = ["solid", "7px,3px", "2px,3px", "8px,3px,2px,3px", "12px,4px"];
  const chosen = new Map();  // network -> whether it is shown; what the reader chose stays
  const curves = new Map();  // folder -> {version, curve}
  const places = new Map();  // network -> its number, which gives color and dash and never changes
  let networks = new Map();  // network -> its trainings, one a seed, oldest first
  let drawn = "";

  const dash = (network) => DASHES[places.get(network) % DASHES.length];
  const hue = (network) => `--hue-${places.get(network) % HUES}`;
  const BEFORE = { teacher: "teacher: ", quantized: "for int8: " };
  const label = (run) => `${BEFORE[run.kind] || ""}${run.name}`;

  // Seeds of an arm are one network. An arm and seed that was trained before, with other settings, is another.
  function grouped(trainings) {
    const found = new Map();
    const before = new Map();
    for (const run of trainings) {
      const time = (before.get(label(run)) || 0) + 1;
      before.set(label(run), time);
      const network = label(run).replace(/-seed\d+$/, "") + (time > 1 ? `, run ${time}` : "");
      found.set(network, [...(found.get(network) || []), run]);
    }
    return found;
  }
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function age(seconds) {
    if (seconds < 90) return `${Math.round(seconds)} s ago`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
    return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
  }

  function swatch(network) {
    const space = "http://www.w3.org/2000/svg";
    const image = document.createElementNS(space, "svg");
    const line = document.createElementNS(space, "path");
    image.setAttribute("viewBox", "0 0 34 14");
    image.setAttribute("width", "34");
    image.setAttribute("height", "14");
    image.setAttribute("class", "swatch");
    image.setAttribute("aria-hidden", "true");
    line.setAttribute("class", "stroke");
    line.setAttribute("d", "M1 7H33");
    line.setAttribute("stroke-dasharray", dash(network) === "solid" ? "none" : dash(network).replace(/px/g, ""));
    line.style.setProperty("--c", `var(${hue(network)})`);
    image.append(line);
    return image;
  }

  function tell(seen) {
    const count = (state) => seen.runs.filter((run) => run.state === state).length;
    id("summary").textContent = !seen.there
      ? `There is no folder ${seen.root} yet. Runs appear here as soon as one starts.`
      : `${seen.runs.length} run folders in ${seen.root}: ${count("at work")} at work, ${count("finished")} finished, ${count("not finished")} not finished.`;
  }

  function listReports(seen) {
    const found = seen.runs.filter((run) => run.kind === "comparison");
    id("reports").replaceChildren(...found.map((run) => {
      const when = run.created.slice(0, 16).replace("T", " ");
      const what = run.report
        ? make("a", { href: `/report/${encodeURIComponent(run.folder)}` }, `Report of ${run.name}`)
        : make("span", {}, `${run.name}: no report yet`);
      return make("li", {}, what, make("span", { class: "note" }, ` ${run.folder}, begun ${when} UTC`));
    }));
    if (!found.length) id("reports").append(make("li", { class: "note" }, "No comparison yet. A recipe writes one when all of its students are evaluated."));
  }

  function listRuns(seen) {
    id("rows").replaceChildren(...seen.runs.map((run) => make(
      "tr", {},
      make("th", { scope: "row" }, run.name), make("td", {}, run.kind),
      make("td", {}, make("span", { class: `state ${run.state.replace(" ", "-")}` }, run.state)),
      make("td", {}, run.progress), make("td", {}, run.figure), make("td", {}, age(run.age)),
      make("td", {}, make("code", {}, run.folder)),
    )));
    id("problems").replaceChildren(...seen.problems.map((text) => make("p", { class: "missing" }, text)));
  }

  function choose(seen) {
    const before = JSON.stringify([...networks].map(([network, runs]) => [network, runs.length]));
    networks = grouped(seen.runs.filter((run) => run.curves).reverse());
    for (const network of networks.keys()) if (!places.has(network)) places.set(network, places.size);
    const working = (network) => networks.get(network).some((run) => run.state === "at work");
    const wanted = [...networks.keys()].filter((network) => !chosen.has(network)).reverse().sort((a, b) => working(b) - working(a));
    let room = FIRST - [...chosen.values()].filter(Boolean).length;
    for (const network of wanted) chosen.set(network, working(network) || room-- > 0);
    if (before === JSON.stringify([...networks].map(([network, runs]) => [network, runs.length]))) return;
    id("networks").replaceChildren(...[...networks].map(([network, runs]) => {
      const button = make("button", { type: "button", "aria-pressed": String(chosen.get(network)), title: runs.map((run) => run.folder).join("\n") });
      button.append(swatch(network), ` ${network}${runs.length > 1 ? ` (${runs.length} seeds)` : ""}`);
      button.addEventListener("click", async () => {
        chosen.set(network, !chosen.get(network));
        button.setAttribute("aria-pressed", String(chosen.get(network)));
        tellHidden();
        await follow();
      });
      return button;
    }));
    tellHidden();
  }

  function tellHidden() {
    const hidden = [...networks.keys()].filter((network) => !chosen.get(network)).length;
    id("few").hidden = !hidden && networks.size > 0;
    id("few").textContent = networks.size ? `${hidden} more can be switched on.` : "No training has begun.";
  }

  const shownRuns = () => [...networks].filter(([network]) => chosen.get(network)).flatMap(([network, runs]) => runs.map((run) => ({ ...run, network })));

  async function follow() {
    for (const run of shownRuns()) {
      if (curves.get(run.folder)?.version === run.version) continue;
      const curve = await ask(`/api/curves?run=${encodeURIComponent(run.folder)}`);
      curves.set(run.folder, { version: run.version, curve });
    }
    draw();
  }

  // Before there are points, axes span what is sure to come and bear no numbers that mean nothing.
  function layout(place, title, series, span, steps) {
    const empty = !series.some((one) => one.y.some((value) => value !== null));
    const last = Math.max(steps || 0, ...series.flatMap((one) => one.x));
    const axis = { gridcolor: color("--line"), linecolor: color("--rule"), zeroline: false, automargin: true, exponentformat: "power", ticks: "outside", tickcolor: color("--rule"), ticklen: 4 };
    const font = { family: color("--font"), size: place.clientWidth < 420 ? 11 : 13, color: color("--quiet") };
    return {
      height: 300, width: place.clientWidth, margin: { l: 40, r: 12, t: 8, b: 40 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font, hovermode: "closest", showlegend: false, uirevision: "keep",
      hoverlabel: { bgcolor: color("--paper"), bordercolor: color("--rule"), font: { ...font, color: color("--ink") } },
      dragmode: window.matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, title: { text: "step", standoff: 8 }, range: [0, 1.02 * (last || 1)], showticklabels: last > 0 },
      yaxis: { ...axis, title: { text: title, standoff: 8 }, ...(empty ? { range: span, showticklabels: span[1] > 1 } : {}) },
      annotations: empty ? [{ text: "Computing …<br>the first point comes with the first epoch", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.5 }] : [],
    };
  }

  function plot(name, title, unit, series, span, steps) {
    let figure = document.querySelector(`figure[data-name="${CSS.escape(name)}"]`);
    if (!figure) {
      figure = make("figure", { class: "half", "data-name": name }, make("figcaption", {}, make("h3", {}, title)),
        make("div", { class: "plot", role: "img" }), make("details", {}, make("summary", {}, `${title}: latest values`), make("ul", { class: "note latest" })));
      id("plots").append(figure);
    }
    const place = figure.querySelector(".plot");
    const last = series.filter((one) => one.y.length).map((one) => `${label(one.run)} ${Number(one.told.at(-1)).toPrecision(4)}`);
    const text = `${title}, latest: ${last.join("; ") || "nothing yet"}.`;
    place.setAttribute("aria-label", text);
    figure.querySelector(".latest").replaceChildren(...last.map((one) => make("li", {}, one)));
    const traces = series.map((one) => ({
      type: "scatter", mode: one.y.length < 60 ? "lines+markers" : "lines", x: one.x, y: one.y, customdata: one.told,
      line: { color: color(hue(one.run.network)), dash: dash(one.run.network), width: 2 }, marker: { size: 5 },
      hovertemplate: `${escaped(label(one.run)).replace(/%/g, "&#37;")}, step %{x}: <b>%{customdata:.4g}</b>${unit}<extra></extra>`,
    }));
    Plotly.react(place, traces, layout(place, unit ? `${title},${unit}` : title, series, span, steps), { displayModeBar: false, showTips: false });
  }

  function draw(again = false) {
    const shown = shownRuns().filter((run) => curves.has(run.folder));
    const state = JSON.stringify(shown.map((run) => [run.folder, curves.get(run.folder).version]));
    if (state === drawn && !again) return;
    drawn = state;
    const of = (run) => curves.get(run.folder).curve;
    const terms = [...new Set(["loss", ...shown.flatMap((run) => Object.keys(of(run).terms))])];
    for (const figure of [...id("plots").children]) {
      const name = figure.dataset.name;
      if (!shown.length || (name !== "accuracy" && !terms.includes(name.slice(5)))) figure.remove();
    }
    if (!shown.length) return;
    const steps = Math.max(...shown.map((run) => of(run).steps || 0));
    const judged = shown.map((run) => ({ run, x: of(run).validation.step, y: of(run).validation.percent, told: of(run).validation.percent }));
    plot("accuracy", `Validation ${of(shown[0]).validation.name}`, " %", judged, [0, 100], steps);
    for (const term of terms) {
      const series = shown.map((run) => ({ run, curve: of(run).terms[term] || { step: [], value: [] } }))
        .filter(({ curve }) => term === "loss" || curve.value.length)
        .map(({ run, curve }) => ({ run, x: curve.step, y: term === "loss" ? shares(curve.value) : curve.value, told: curve.value }));
      plot(`term ${term}`, term === "loss" ? "Loss, in shares of its first value" : `Term ${term}, unweighted`, "", series, [0, 1], steps);
    }
  }

  function shares(values) {
    const first = values.find((value) => value);
    return values.map((value) => (value === null || !first ? value : value / first));
  }

  async function refresh() {
    try {
      const seen = await ask("/api/runs");
      tell(seen);
      listReports(seen);
      listRuns(seen);
      choose(seen);
      await follow();
    } catch (error) {
      id("summary").textContent = error.message;
    }
    setTimeout(refresh, EVERY);
  }

  onTheme(() => draw(true));
  refresh();
})();
