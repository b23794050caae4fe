// What is saved: the JSON of the server, and the rows of `predict --csv`.

import { make } from "./dom.js";

const COLUMNS = ["path", "start_s", "end_s", "label", "face_coverage", "sound_coverage",
  "speech_share", "known_word_share", "streams"];

// A float as Python writes it, so that the file equals that of the command line.
function float(value) {
  if (value === null || value === undefined) return "";
  if (Number.isInteger(value)) return `${value}.0`;
  if (Math.abs(value) >= 1e-4) return String(value);
  const [digits, exponent] = value.toExponential().split("e-");
  return `${digits}e-${exponent.padStart(2, "0")}`;
}

const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

export function csvOf(result, labels) {
  const rows = result.windows.map((window) => [
    quoted(result.path),
    float(window.start_s),
    float(window.end_s),
    quoted(window.label),
    float(window.face_coverage),
    float(window.sound_coverage),
    float(window.speech_share),
    float(window.known_word_share),
    Object.keys(window.streams).join("+"),
    ...labels.map((label) => float(window.probabilities[label])),
  ]);
  return [[...COLUMNS, ...labels.map(quoted)], ...rows].map((row) => `${row.join(",")}\n`).join("");
}

export function save(text, name, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
