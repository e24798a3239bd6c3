"use strict";
// Draws the plots from the JSON beside them, each as it comes near the window, and the others when the browser has
// nothing else to do. Colors are variables of the style sheet, looked up anew whenever the theme changes, so that plots
// follow it.
(() => {
  const root = document.documentElement;
  const narrow = window.matchMedia("(max-width: 36rem)");
  const touch = window.matchMedia("(pointer: coarse)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const config = { displayModeBar: false, responsive: false, showTips: false };
  const PAPER_WIDTH = 640;

  const plots = [...document.querySelectorAll("script[data-plot]")].map((source) => {
    const place = document.getElementById(source.dataset.plot);
    return { place, section: place.closest("section"), ...JSON.parse(source.textContent) };
  });
  const undrawn = new Set(plots);

  function resolved(value, style) {
    if (typeof value === "string") {
      const name = /^var\((--[\w-]+)\)$/.exec(value);
      return name ? style.getPropertyValue(name[1]).trim() : value;
    }
    if (Array.isArray(value)) return value.map((item) => resolved(item, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, resolved(item, style)]));
    }
    return value;
  }

  function shown(trace, section) {
    if (trace.choice !== undefined && trace.choice !== section.querySelector(".choice select").value) return false;
    const button = section.querySelector(`.key [data-group="${trace.legendgroup}"]`);
    return !button || button.getAttribute("aria-pressed") === "true";
  }

  function draw(plot) {
    undrawn.delete(plot);
    const style = getComputedStyle(root);
    const traces = resolved(plot.traces.filter((trace) => shown(trace, plot.section)), style);
    const layout = resolved(plot.layout, style);
    const paper = plot.place.closest(".half") ? 0.47 * PAPER_WIDTH : PAPER_WIDTH;
    const printing = root.classList.contains("printing");
    layout.width = Math.round(printing ? Math.min(paper, plot.place.clientWidth) : plot.place.clientWidth);
    if (plot.ratio) {
      layout.width = Math.min(layout.width, layout.height / plot.ratio);
      layout.height = Math.round(layout.width * plot.ratio);
      plot.place.style.minHeight = "0";
    }
    if (narrow.matches) layout.font.size = 11;
    if (touch.matches) layout.dragmode = false;  // a finger on a plot means to scroll the page
    Plotly.react(plot.place, traces, layout, config);
  }

  const drawAll = () => plots.forEach(draw);
  const redrawAll = () => plots.filter((plot) => !undrawn.has(plot)).forEach(draw);

  for (const section of new Set(plots.map((plot) => plot.section))) {
    const redraw = () => plots.filter((plot) => plot.section === section).forEach(draw);
    for (const button of section.querySelectorAll(".key button")) {
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
        redraw();
      });
    }
    const chooser = section.querySelector(".choice select");
    const choose = () => {
      for (const table of section.querySelectorAll("[data-choice]")) table.hidden = table.dataset.choice !== chooser.value;
    };
    chooser?.addEventListener("change", () => {
      choose();
      redraw();
    });
    choose();  // a browser may bring back what was chosen before the page was loaded again
  }

  let width = root.clientWidth;
  let waiting = 0;
  window.addEventListener("resize", () => {
    if (root.clientWidth === width) return;  // a phone's address bar changes the height only
    width = root.clientWidth;
    clearTimeout(waiting);
    waiting = setTimeout(redrawAll, 100);
  });
  dark.addEventListener("change", redrawAll);
  window.addEventListener("beforeprint", () => {
    root.classList.add("printing");
    drawAll();
  });
  window.addEventListener("afterprint", () => {
    root.classList.remove("printing");
    redrawAll();
  });

  const near = new IntersectionObserver((entries) => {
    const places = new Set(entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target));
    [...undrawn].filter((plot) => places.has(plot.place)).forEach(draw);
  }, { rootMargin: "50% 0px" });
  for (const { place } of plots) near.observe(place);
  const idle = window.requestIdleCallback ?? ((call) => setTimeout(call, 50));  // Safari has none
  idle(function drawNext() {
    const [next] = undrawn;
    if (!next) return near.disconnect();
    draw(next);
    idle(drawNext);
  });
})();
