"use strict";
// What both pages share: elements made of text and never of markup, requests, and colors of the style sheet.
const page = (() => {
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  async function ask(path, options) {
    let answer;
    try {
      answer = await fetch(path, options);
    } catch {
      throw new Error("The server does not answer. Start it again: persistill dashboard");
    }
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error);
    return content;
  }

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const onTheme = (redraw) => {
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    let waiting = 0;
    window.addEventListener("resize", () => {
      clearTimeout(waiting);
      waiting = setTimeout(redraw, 100);
    });
  };

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  return { make, ask, color, onTheme, bytes, id: (name) => document.getElementById(name) };
})();
