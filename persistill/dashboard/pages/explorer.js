"use strict";
// Sends the image and the controls to the server, and draws its answer. Of several changes the last is answered.
(() => {
  const { make, ask, color, onTheme, bytes, id } = page;
  const TOP = 255;
  const NAMED = 6;  // longest-lived components, each with a color and a number of its own
  const LARGEST = 24 * 2 ** 20;  // bytes of a file, as the server has it
  // Three stops of cividis (Nunez et al., 2018), which color-blind readers see alike
  const HEAT = [[0, 32, 76], [124, 123, 120], [255, 234, 70]];
  const CHANNELS = ["red", "green", "blue"];
  const WEIGHTS = { linear: "by persistence", constant: "all alike" };
  let published = null;
  let image = null;
  let answer = null;
  let busy = false;
  let waiting = false;
  let playing = false;

  for (let digit = 0; digit < 10; digit++) id("digits").append(make("option", { value: `digit-${digit}` }, `digit ${digit}`));

  const number = (name) => Number(id(name).value);
  const bandwidth = () => Number((10 ** number("bandwidth")).toPrecision(2));
  const hue = (position) => `--hue-${1 + (position % NAMED)}`;

  function request() {
    return {
      image, channel: id("channel").value, scan: id("scan").value, level: number("level"), cells: number("cells"),
      bandwidth: bandwidth(), weight: id("weight").value, min_persistence: number("least"),
      births: [number("birth-low"), number("birth-high")], persistences: [number("life-low"), number("life-high")],
    };
  }

  function complain(error) {
    const sentence = error && error.message.charAt(0).toUpperCase() + error.message.slice(1);
    id("problem").replaceChildren(...(error ? [make("p", { class: "missing wrong" }, sentence)] : []));
  }

  // Says that it is at work where the answer takes long.
  async function patiently(path, options) {
    const say = (text) => () => (id("told").textContent = text);
    const waits = [
      setTimeout(say("Computing …"), 400),
      setTimeout(say("Computing … The first time, libraries are loaded and kernels are compiled: ten seconds or so."), 2000),
    ];
    try {
      return await ask(path, options);
    } finally {
      waits.forEach(clearTimeout);
    }
  }

  async function update() {
    id("value").textContent = `${id("level").value} (${(number("level") / TOP).toFixed(2)})`;
    id("level").setAttribute("aria-valuetext", id("value").textContent);
    id("bandwidth-value").textContent = bandwidth();
    id("bandwidth").setAttribute("aria-valuetext", String(bandwidth()));
    if (!image) return;
    if (busy) {
      waiting = true;
      return;
    }
    busy = true;
    do {
      waiting = false;
      try {
        const asked = request();
        const found = await patiently("/api/explore", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) });
        answer = { ...found, asked, labels: new Uint16Array(bytes(found.labels).buffer), persistenceImage: bytes(found.persistence_image) };
        complain(null);
        draw();
      } catch (error) {
        complain(error);
      }
    } while (waiting);
    busy = false;
  }

  // Pixels a side, sharp on every screen; the context's unit is a CSS pixel.
  function start(name) {
    const canvas = id(name);
    const ratio = window.devicePixelRatio || 1;
    const side = canvas.clientWidth;
    canvas.width = canvas.height = Math.round(side * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = `12px ${color("--font")}`;
    return { canvas, pen, side };
  }

  const parsed = (name) => {
    const text = color(name);
    return [1, 3, 5].map((place) => parseInt(text.slice(place, place + 2), 16));
  };

  function raster(width, height, at) {
    const sheet = document.createElement("canvas");
    sheet.width = width;
    sheet.height = height;
    const pen = sheet.getContext("2d");
    const data = pen.createImageData(width, height);
    for (let place = 0; place < width * height; place++) {
      const [red, green, blue] = at(place);
      data.data.set([red, green, blue, 255], 4 * place);
    }
    pen.putImageData(data, 0, 0);
    return sheet;
  }

  function gray() {
    const { channels, height, width } = answer.asked.image;
    const all = bytes(answer.asked.image.pixels);
    const size = height * width;
    if (channels === 1) return (place) => all[place];
    const which = CHANNELS.indexOf(answer.asked.channel);
    if (which >= 0) return (place) => all[which * size + place];
    return (place) => (19595 * all[place] + 38470 * all[size + place] + 7471 * all[2 * size + place] + 32768) >> 16;
  }

  function badge(pen, text, x, y, fill) {
    pen.font = `700 12px ${color("--font")}`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.beginPath();
    pen.arc(x, y, 8.5, 0, 2 * Math.PI);
    pen.fillStyle = color("--paper");
    pen.fill();
    pen.lineWidth = 2;
    pen.strokeStyle = fill;
    pen.stroke();
    pen.fillStyle = color("--ink");
    pen.fillText(text, x, y + 0.5);
  }

  function drawImage() {
    const { canvas, pen, side } = start("image");
    const { height, width, labels, bars, level } = answer;
    const shade = gray();
    const hues = Array.from({ length: NAMED }, (_, position) => parsed(hue(position)));
    const sheet = raster(width, height, (place) => {
      const value = shade(place);
      if (!labels[place]) return [value, value, value];
      const position = labels[place] - 1;
      const share = position < NAMED ? 0.75 : 0.45;
      return hues[position % NAMED].map((part) => share * part + (1 - share) * value);
    });
    const scale = side / Math.max(height, width);
    const [left, top] = [(side - scale * width) / 2, (side - scale * height) / 2];
    pen.imageSmoothingEnabled = false;
    pen.drawImage(sheet, left, top, scale * width, scale * height);
    const alive = bars.slice(0, NAMED).map((bar, position) => [bar, position]).filter(([bar]) => bar[0] <= level && (bar[1] === null || bar[1] > level));
    for (const [bar, position] of alive.reverse()) {
      const [x, y] = [left + scale * ((bar[2] % width) + 0.5), top + scale * (Math.floor(bar[2] / width) + 0.5)];
      badge(pen, position + 1, Math.min(side - 10, Math.max(10, x)), Math.min(side - 10, Math.max(10, y)), color(hue(position)));
    }
    canvas.setAttribute("aria-label", `The image, ${height} by ${width} pixels, with ${answer.alive} components at level ${level}.`);
  }

  function axes(pen, side, across, down, names) {
    const box = { left: 44, top: 8, right: side - 8, bottom: side - 40 };
    const x = (value) => box.left + ((value - across[0]) / (across[1] - across[0])) * (box.right - box.left);
    const y = (value) => box.bottom - ((value - down[0]) / (down[1] - down[0])) * (box.bottom - box.top);
    pen.strokeStyle = color("--rule");
    pen.fillStyle = color("--quiet");
    pen.lineWidth = 1;
    pen.strokeRect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    const short = (value) => String(Number(value.toFixed(2)));
    pen.textAlign = "center";
    pen.textBaseline = "top";
    for (const value of [across[0], (across[0] + across[1]) / 2, across[1]]) pen.fillText(short(value), Math.min(x(value), side - 12), box.bottom + 5);
    pen.fillText(names[0], (box.left + box.right) / 2, box.bottom + 22);
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const value of [down[0], (down[0] + down[1]) / 2, down[1]]) pen.fillText(short(value), box.left - 6, Math.max(14, y(value)));
    pen.save();
    pen.translate(10, (box.top + box.bottom) / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(names[1], 0, 0);
    pen.restore();
    return { x, y, box };
  }

  function drawDiagram() {
    const { canvas, pen, side } = start("diagram");
    const { bars, level, asked } = answer;
    const { x, y, box } = axes(pen, side, [0, 1], [0, 1], ["birth", "death"]);
    const line = (points, strokes) => {
      pen.setLineDash(strokes);
      pen.beginPath();
      points.forEach(([birth, death], place) => (place ? pen.lineTo(x(birth), y(death)) : pen.moveTo(x(birth), y(death))));
      pen.stroke();
      pen.setLineDash([]);
    };
    pen.save();
    pen.beginPath();
    pen.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
    pen.clip();
    line([[0, 0], [1, 1]], []);
    const [b, p] = [asked.births, asked.persistences];
    line([[b[0], b[0] + p[0]], [b[1], b[1] + p[0]], [b[1], b[1] + p[1]], [b[0], b[0] + p[1]], [b[0], b[0] + p[0]]], [5, 4]);
    pen.strokeStyle = color("--accent");
    pen.lineWidth = 1.5;
    line([[0, level / TOP], [level / TOP, level / TOP]], []);
    pen.restore();
    const numbered = [];
    for (let position = bars.length - 1; position >= 0; position--) {
      const [birth, death] = bars[position];
      if (birth > level) continue;
      const ended = death !== null && death <= level;
      const [left, top] = [x(birth / TOP), y((ended ? death : level) / TOP)];
      const named = position < NAMED;
      const size = named ? 6 : 3;
      pen.globalAlpha = named ? 1 : 0.6;
      pen.fillStyle = pen.strokeStyle = color(hue(position));
      pen.lineWidth = 1.5;
      pen.beginPath();
      if (death === null) {
        pen.moveTo(left, top - 8);
        pen.lineTo(left + 7, top + 5);
        pen.lineTo(left - 7, top + 5);
        pen.closePath();
      } else {
        pen.arc(left, top, size, 0, 2 * Math.PI);
      }
      if (ended) {
        pen.fill();
      } else {
        pen.stroke();
      }
      if (named) numbered.push([position + 1, left, top - 15]);
    }
    pen.globalAlpha = 1;
    // Numbers that would hide each other are stacked.
    const set = [];
    for (const [text, left, wished] of numbered.sort((a, b) => a[1] - b[1])) {
      let top = wished;
      while (set.some(([x0, y0]) => Math.abs(x0 - left) < 9 && Math.abs(y0 - top) < 13)) top -= 13;
      set.push([left, top]);
      pen.font = `700 12px ${color("--font")}`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      pen.lineWidth = 3;
      pen.strokeStyle = color("--paper");
      pen.strokeText(text, left, top);
      pen.fillStyle = color("--ink");
      pen.fillText(text, left, top);
    }
    canvas.setAttribute("aria-label", `Persistence diagram at level ${level}: ${answer.ended} points of components that ended, ${answer.alive} alive.`);
  }

  function drawPersistenceImage() {
    const { canvas, pen, side } = start("persistence-image");
    const { persistenceImage, cells, asked } = answer;
    const { box } = axes(pen, side, asked.births, asked.persistences, ["birth", "persistence"]);
    const sheet = raster(cells, cells, (place) => {
      const share = (2 * persistenceImage[place]) / TOP;
      const low = Math.min(1, Math.floor(share));
      return HEAT[low].map((part, which) => part + (share - low) * (HEAT[low + 1][which] - part));
    });
    pen.imageSmoothingEnabled = false;
    pen.drawImage(sheet, box.left, box.top, box.right - box.left, box.bottom - box.top);
    const brightest = Math.max(...persistenceImage) / TOP;
    canvas.setAttribute("aria-label", answer.peak > 0
      ? `Persistence image of ${answer.ended} ended components; its brightest cell holds ${(100 * brightest).toFixed(0)} percent of the largest intensity.`
      : "Persistence image, blank: no point lies in its window.");
  }

  function tell() {
    const { alive, ended, unborn, drawn, bars, peak, level, width } = answer;
    const finite = bars.length - 1;
    id("told").textContent = `${alive} component${alive === 1 ? "" : "s"} at level ${level}; ${ended} of ${finite} have ended, ${unborn} are not born yet. `
      + (finite === 0 ? "This image has one component only." : peak > 0 ? `${drawn} are long enough for the persistence image.` : "None of them lies in the window of the persistence image: move it.");
    id("longest").replaceChildren(...bars.slice(0, 2 * NAMED).map(([birth, death, pixel], position) => make("tr", {},
      make("th", { scope: "row" }, String(position + 1)), make("td", {}, (birth / TOP).toFixed(3)), make("td", {}, death === null ? "never" : (death / TOP).toFixed(3)),
      make("td", {}, death === null ? "—" : ((death - birth) / TOP).toFixed(3)), make("td", {}, `${Math.floor(pixel / width)}, ${pixel % width}`),
      make("td", {}, birth > level ? "not born" : death !== null && death <= level ? "ended" : "alive"))));
  }

  function draw() {
    if (!answer) return;
    drawImage();
    drawDiagram();
    drawPersistenceImage();
    tell();
  }

  async function take(load, own) {
    try {
      const found = await load();
      image = found;
      complain(null);
      id("own").hidden = !own;
      id("own").disabled = !own;
      if (own) id("sample").value = "";
      const gray = found.channels === 1;
      id("channel").disabled = gray;
      if (gray) id("channel").value = "luminance";
      await update();
    } catch (error) {
      complain(error);
    }
  }

  function read(file) {
    if (!file) return;
    take(async () => {
      if (file.size > LARGEST) throw new Error(`the file has ${Math.round(file.size / 2 ** 20)} MiB; at most ${LARGEST / 2 ** 20} MiB are read. Make the image smaller.`);
      return patiently("/api/image", { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
    }, true);
  }

  const sample = () => id("sample").value && take(() => patiently(`/api/sample?name=${encodeURIComponent(id("sample").value)}`), false);

  function frame(births, persistences) {
    [id("birth-low").value, id("birth-high").value] = births;
    [id("life-low").value, id("life-high").value] = persistences;
  }

  // Ranges and published values are declared in Python; the page asks for them before it asks for anything else.
  async function begin() {
    try {
      const fields = await ask("/api/explorer-fields");
      published = fields.published;
      [id("cells").min, id("cells").max] = fields.cells;
      id("least").min = fields.min_persistence;
      id("least").value = published.min_persistence;
      id("cells").value = published.cells;
      for (const word of fields.weights) id("weight").append(make("option", { value: word }, WEIGHTS[word] || word));
      id("weight").value = published.weight;
      id("published").disabled = false;
    } catch (error) {
      complain(error);
      return;
    }
    update();
    sample();
  }

  async function play() {
    playing = !playing;
    id("play").setAttribute("aria-pressed", String(playing));
    id("play").textContent = playing ? "Stop" : "Play";
    if (playing && number("level") >= TOP) id("level").value = 0;
    while (playing && number("level") < TOP) {
      id("level").value = number("level") + 1;
      await update();
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    if (playing) play();
  }

  id("sample").addEventListener("change", sample);
  id("file").addEventListener("change", () => read(id("file").files[0]));
  for (const name of ["channel", "scan", "weight"]) id(name).addEventListener("change", update);
  for (const name of ["level", "bandwidth", "least", "cells", "birth-low", "birth-high", "life-low", "life-high"]) id(name).addEventListener("input", update);
  id("settings").addEventListener("submit", (event) => event.preventDefault());
  id("play").addEventListener("click", play);
  id("published").addEventListener("click", () => {
    frame(published.births, published.persistences);
    id("bandwidth").value = Math.log10(published.bandwidth);
    id("least").value = published.min_persistence;
    id("cells").value = published.cells;
    id("weight").value = published.weight;
    update();
  });
  id("fitting").addEventListener("click", () => {
    const finite = answer ? answer.bars.filter((bar) => bar[1] !== null && bar[1] - bar[0] > TOP * number("least")) : [];
    if (!finite.length) return;
    const births = finite.map((bar) => bar[0] / TOP);
    const up = (value) => (Math.ceil(20 * value + 1e-9) / 20).toFixed(2);
    const down = (value) => (Math.floor(20 * value - 1e-9) / 20).toFixed(2);
    const low = Math.max(0, down(Math.min(...births)));
    frame([low, Math.max(low + 0.05, up(Math.max(...births))).toFixed(2)], [0, up(Math.max(...finite.map((bar) => (bar[1] - bar[0]) / TOP)))]);
    update();
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("drop");
  });
  document.addEventListener("dragleave", () => document.body.classList.remove("drop"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("drop");
    read(event.dataTransfer.files[0]);
  });
  onTheme(draw);
  begin();
})();
