// One window: its position in the time line, its description for screen readers, and its face.

import { STREAM_NAMES, makeSvg, seconds, share, sorted } from "./dom.js";

const LETTER_PX = 7.2;

export const faceSource = (window) => `data:image/jpeg;base64,${window.face_jpeg}`;

// Windows overlap; each is drawn from half way to its neighbours, so that every moment has one.
export function windowCells(windows) {
  const centers = windows.map((window) => (window.start_s + window.end_s) / 2);
  return windows.map((window, i) => ({
    from: i === 0 ? window.start_s : (centers[i - 1] + centers[i]) / 2,
    to: i === windows.length - 1 ? window.end_s : (centers[i] + centers[i + 1]) / 2,
  }));
}

export function describeWindow(window, index, count) {
  const told = sorted(window.probabilities).map(([label, p]) => `${label} ${share(p)}`);
  const streams = Object.entries(window.streams).map(([stream, shares]) => {
    const [label, p] = sorted(shares)[0];
    return `${STREAM_NAMES[stream]} alone: ${label} ${share(p)}.`;
  });
  const span = `${seconds(window.start_s)} to ${seconds(window.end_s)} seconds`;
  const place = count > 1 ? `Window ${index + 1} of ${count}, ` : "";
  return [`${place}${span}: ${told.join(", ")}.`, ...streams].join(" ");
}

// A name for every run of neighbours with the same label, where there is room for it.
export function labelTexts(tops) {
  const runs = [];
  for (const top of tops) {
    const run = runs.find((one) => {
      const last = one.parts.at(-1);
      return one.label === top.label && Math.abs(one.right - top.x) < 0.6
        && Math.abs(last.middle - top.middle) < Math.min(last.room, top.room) / 2;
    });
    if (!run) runs.push({ ...top, parts: [top] });
    else {
      run.right = top.right;
      run.parts.push(top);
    }
  }
  const needed = (run) => run.label.length * LETTER_PX + 4;
  return runs.filter((run) => run.right - run.x > needed(run)).map((run) => {
    const widest = run.parts.reduce((a, b) => (b.right - b.x > a.right - a.x ? b : a));
    const fits = widest.right - widest.x > needed(run);
    const x = fits ? (widest.x + widest.right) / 2 : (run.x + run.right) / 2;
    const part = fits ? widest : run.parts.find((one) => x <= one.right) ?? run.parts[0];
    return makeSvg("text", { x: x.toFixed(1), y: part.middle.toFixed(1), class: "name" }, run.label);
  });
}
