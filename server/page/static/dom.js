// Small helpers: elements are made here and nowhere from strings of HTML.

export const byId = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function makeSvg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

export const share = (value) => value.toFixed(2);
export const seconds = (value) => value.toFixed(1);
// A share above 0 is never said to be 0.
export const percent = (value) => (
  value > 0 && value < 0.005 ? "less than 1 %" : `${Math.round(100 * value)} %`);

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const mib = count / 2 ** 20;
  if (mib < 0.1) return `${(count / 1024).toFixed(1)} KiB`;
  return `${mib < 10 ? mib.toFixed(1) : Math.round(mib)} MiB`;
}

// [[label, share], ...], the largest first.
export const sorted = (shares) => Object.entries(shares).sort((a, b) => b[1] - a[1]);

export const STREAM_NAMES = { answer: "Answer", audio: "Voice", video: "Face", text: "Text" };
export const MISSING_TEXTS = { audio: "no sound", video: "no face", text: "no words" };
export const NUM_COLORS = 8;
export const colorOf = (index) => `c${index % NUM_COLORS}`;
