// The overall answer, the values of one window, and all windows as a table.

import { MISSING_TEXTS, STREAM_NAMES, byId, make, percent, seconds, share, sorted } from "./dom.js";
import { faceSource } from "./windows.js";

const NARROW = matchMedia("(max-width: 36rem)");

function bar(label, value, colors) {
  const fill = make("span", { class: `bar-fill ${colors.get(label)}` });
  fill.style.width = `${(100 * value).toFixed(1)}%`;
  return make("li", {},
    make("span", { class: "bar-label" }, label),
    make("span", { class: "bar", "aria-hidden": "true" }, fill),
    make("span", { class: "bar-value" }, share(value)),
  );
}

const headerCell = (scope, text) => make("th", { scope }, text);
const cell = (text) => make("td", {}, text);

function table(caption, head, rows) {
  return make("table", {},
    make("caption", { class: "unseen" }, caption),
    make("thead", {}, make("tr", {}, ...head.map((text) => headerCell("col", text)))),
    make("tbody", {}, ...rows),
  );
}

// Sentences on the coverage of face and sound, and on the shares of speech and known words.
function coverageSentences(result) {
  const sentences = [];
  if (typeof result.face_coverage === "number") {
    sentences.push(`A face was found in ${percent(result.face_coverage)} of the frames looked at.`);
  }
  if (typeof result.sound_coverage === "number") {
    sentences.push(`There is sound in ${percent(result.sound_coverage)} of the time.`);
  }
  if (typeof result.speech_share === "number") {
    sentences.push(`Speech was found in ${percent(result.speech_share)} of the sound.`);
  }
  if (typeof result.known_word_share === "number") {
    sentences.push(`The model knows ${percent(result.known_word_share)} of the words.`);
  }
  return sentences;
}

export function showAnswer(result, colors) {
  const used = Object.keys(result.streams).map((stream) => STREAM_NAMES[stream].toLowerCase());
  byId("answer-line").replaceChildren(
    make("strong", { class: "big" }, result.label),
    result.duration_s ? ` over ${seconds(result.duration_s)} s,` : "", ` from ${used.join(" and ")}`,
  );
  const shares = sorted(result.probabilities);
  byId("answer-bars").replaceChildren(...shares.map(([label, p]) => bar(label, p, colors)));
  const streams = Object.entries(result.streams);
  byId("answer-streams").replaceChildren(...(streams.length < 2 ? [] : streams.map(([stream, p]) => {
    const [[label, value]] = sorted(p);
    return make("p", { class: "quiet" }, `${STREAM_NAMES[stream]} alone: ${label} ${share(value)}`);
  })));
  const coverage = byId("coverage");
  coverage.textContent = coverageSentences(result).join(" ");
  coverage.hidden = !coverage.textContent;
  byId("warnings").hidden = !result.warnings.length;
  byId("warning-list").replaceChildren(...result.warnings.map((text) => make("li", {}, text)));
  byId("answer").hidden = false;
}

// A row a stream.
function wide(caption, labels, rows) {
  return table(caption, ["", ...labels], rows.map(([name, values]) => make("tr", {},
    headerCell("row", STREAM_NAMES[name]),
    ...(values
      ? labels.map((label) => cell(share(values[label])))
      : [make("td", { colspan: labels.length, class: "quiet" }, MISSING_TEXTS[name])]),
  )));
}

// A row a label, for phones.
function tall(caption, labels, rows) {
  return table(caption, ["", ...rows.map(([name]) => STREAM_NAMES[name])], labels.map((label) => make("tr", {},
    headerCell("row", label),
    ...rows.map(([name, values]) => cell(values ? share(values[label]) : MISSING_TEXTS[name])),
  )));
}

// streams: rows of the time line beside the answer; [] where the model has one stream only.
export function showWindow(windows, index, labels, streams) {
  const window = windows[index];
  byId("window").hidden = !window;
  if (!window) return;
  const face = byId("window-face");
  face.hidden = !window.face_jpeg;
  if (window.face_jpeg) {
    face.src = faceSource(window);
    face.alt = `Face found in window ${index + 1}`;
  }
  const coverage = [["face", window.face_coverage], ["sound", window.sound_coverage],
    ["speech", window.speech_share]]
    .filter(([, share]) => typeof share === "number")
    .map(([name, share]) => `, ${name} in ${percent(share)}`).join("");
  byId("window-title").textContent =
    `${seconds(window.start_s)} to ${seconds(window.end_s)} s: ${window.label}${coverage}`;
  const rows = [["answer", window.probabilities], ...streams.map((s) => [s, window.streams[s]])];
  const caption = windows.length > 1 ? `Values of window ${index + 1} of ${windows.length}` : "Values of the window";
  byId("window-table").replaceChildren((NARROW.matches ? tall : wide)(caption, labels, rows));
}

export function showTable(windows, labels) {
  const rows = windows.map((window) => make("tr", {},
    headerCell("row", `${seconds(window.start_s)} to ${seconds(window.end_s)}`),
    cell(window.label),
    cell(Object.keys(window.streams).map((stream) => STREAM_NAMES[stream].toLowerCase()).join(", ")),
    ...labels.map((label) => cell(share(window.probabilities[label]))),
  ));
  byId("value-table").replaceChildren(
    table("Answer of every window", ["seconds", "label", "from", ...labels], rows),
  );
}
