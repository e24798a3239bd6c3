"use strict";
// Asks for the state of all runs every few seconds, and for the curves of those that are shown and have grown.
(() => {
  const { make, ask, color, onTheme, id } = page;
  const EVERY = 3000;
  const FIRST = 8;  // runs that are shown before anybody asks
  const HUES = 7;
  const DASHES = ["solid", "7px,3px", "2px,3px", "8px,3px,2px,3px", "12px,4px"];
  const chosen = new Map();  // folder -> whether it is shown; what the reader chose stays
  const curves = new Map();  // folder -> {version, curve}
  const places = new Map();  // folder -> its number, which gives color and dash and never changes
  let trainings = [];
  let drawn = "";

  const dash = (folder) => DASHES[places.get(folder) % DASHES.length];
  const hue = (folder) => `--hue-${places.get(folder) % HUES}`;
  const BEFORE = { teacher: "teacher: ", quantized: "for int8: " };
  const label = (run) => `${BEFORE[run.kind] || ""}${run.name}`;
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function age(seconds) {
    if (seconds < 90) return `${Math.round(seconds)} s ago`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
    return seconds < 172800 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
  }

  function swatch(folder) {
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
    line.setAttribute("stroke-dasharray", dash(folder) === "solid" ? "none" : dash(folder).replace(/px/g, ""));
    line.style.setProperty("--c", `var(${hue(folder)})`);
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
    if (!found.length) id("reports").append(make("li", { class: "note" }, "No comparison yet. A recipe writes one when all of its students are judged."));
  }

  function listRuns(seen) {
    id("rows").replaceChildren(...seen.runs.map((run) => make(
      "tr", {},
      make("th", { scope: "row" }, run.name), make("td", {}, run.kind),
      make("td", {}, make("span", { class: `state ${run.state.replace(" ", "-")}` }, run.state)),
      make("td", {}, run.progress), make("td", {}, run.accuracy), make("td", {}, age(run.age)),
      make("td", {}, make("code", {}, run.folder)),
    )));
    id("problems").replaceChildren(...seen.problems.map((text) => make("p", { class: "missing" }, text)));
  }

  function choose(seen) {
    trainings = seen.runs.filter((run) => run.curves).reverse();
    const fresh = trainings.filter((run) => !chosen.has(run.folder));
    for (const run of trainings) if (!places.has(run.folder)) places.set(run.folder, places.size);
    const wanted = [...fresh].reverse().sort((a, b) => (b.state === "at work") - (a.state === "at work"));
    let room = FIRST - [...chosen.values()].filter(Boolean).length;
    for (const run of wanted) chosen.set(run.folder, run.state === "at work" || room-- > 0);
    if (!fresh.length && id("runs").childElementCount === trainings.length) return;
    id("runs").replaceChildren(...trainings.map((run) => {
      const button = make("button", { type: "button", "aria-pressed": String(chosen.get(run.folder)), title: run.folder });
      button.append(swatch(run.folder), ` ${label(run)}`);
      button.addEventListener("click", async () => {
        chosen.set(run.folder, !chosen.get(run.folder));
        button.setAttribute("aria-pressed", String(chosen.get(run.folder)));
        await follow();
      });
      return button;
    }));
    const hidden = trainings.filter((run) => !chosen.get(run.folder)).length;
    id("few").hidden = !hidden && trainings.length > 0;
    id("few").textContent = trainings.length ? `${hidden} more runs can be switched on.` : "No training has begun.";
  }

  async function follow() {
    for (const run of trainings.filter((one) => chosen.get(one.folder))) {
      if (curves.get(run.folder)?.version === run.version) continue;
      const curve = await ask(`/api/curves?run=${encodeURIComponent(run.folder)}`);
      curves.set(run.folder, { version: run.version, curve });
    }
    draw();
  }

  function layout(place, title) {
    const axis = { gridcolor: color("--line"), linecolor: color("--rule"), zeroline: false, automargin: true, exponentformat: "power", ticks: "outside", tickcolor: color("--rule"), ticklen: 4 };
    const font = { family: color("--font"), size: place.clientWidth < 420 ? 11 : 13, color: color("--quiet") };
    return {
      height: 300, width: place.clientWidth, margin: { l: 40, r: 12, t: 8, b: 40 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font, hovermode: "closest", showlegend: false, uirevision: "keep",
      hoverlabel: { bgcolor: color("--paper"), bordercolor: color("--rule"), font: { ...font, color: color("--ink") } },
      dragmode: window.matchMedia("(pointer: coarse)").matches ? false : "zoom",
      xaxis: { ...axis, title: { text: "step", standoff: 8 }, rangemode: "tozero" }, yaxis: { ...axis, title: { text: title, standoff: 8 } },
    };
  }

  function plot(name, title, unit, series) {
    let figure = document.querySelector(`figure[data-name="${CSS.escape(name)}"]`);
    if (!figure) {
      figure = make("figure", { class: "half", "data-name": name }, make("figcaption", {}, make("h3", {}, title)),
        make("div", { class: "plot", role: "img" }), make("details", {}, make("summary", {}, `${title}: latest values`), make("ul", { class: "note latest" })));
      id("plots").append(figure);
    }
    const place = figure.querySelector(".plot");
    const last = series.filter((one) => one.y.length).map((one) => `${label(one.run)} ${Number(one.y.at(-1)).toPrecision(4)}`);
    const text = `${title}, latest: ${last.join("; ") || "nothing yet"}.`;
    place.setAttribute("aria-label", text);
    figure.querySelector(".latest").replaceChildren(...last.map((one) => make("li", {}, one)));
    const traces = series.map((one) => ({
      type: "scatter", mode: one.y.length < 60 ? "lines+markers" : "lines", x: one.x, y: one.y,
      line: { color: color(hue(one.run.folder)), dash: dash(one.run.folder), width: 2 }, marker: { size: 5 },
      hovertemplate: `${escaped(label(one.run)).replace(/%/g, "&#37;")}, step %{x}: <b>%{y:.4g}</b>${unit}<extra></extra>`,
    }));
    Plotly.react(place, traces, layout(place, unit ? `${title},${unit}` : title), { displayModeBar: false, showTips: false });
  }

  function draw(again = false) {
    const shown = trainings.filter((run) => chosen.get(run.folder) && curves.has(run.folder));
    const state = JSON.stringify(shown.map((run) => [run.folder, curves.get(run.folder).version]));
    if (state === drawn && !again) return;
    drawn = state;
    const of = (run) => curves.get(run.folder).curve;
    const terms = [...new Set(shown.flatMap((run) => Object.keys(of(run).terms)))];
    for (const figure of [...id("plots").children]) {
      const name = figure.dataset.name;
      if (!shown.length || (name !== "accuracy" && !terms.includes(name.slice(5)))) figure.remove();
    }
    if (!shown.length) return;
    plot("accuracy", `Validation ${of(shown[0]).validation.name}`, " %", shown.map((run) => ({ run, x: of(run).validation.step, y: of(run).validation.accuracy })));
    for (const term of terms) {
      const having = shown.filter((run) => of(run).terms[term]);
      plot(`term ${term}`, term === "loss" ? "Loss, all terms weighed" : `Term ${term}, not weighed`, "",
        having.map((run) => ({ run, x: of(run).terms[term].step, y: of(run).terms[term].value })));
    }
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
