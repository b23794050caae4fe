// The model card: the little Markdown that serving/export/model_card.py writes, as elements.

import { make } from "./dom.js";

// **bold** and `code`; all else is text.
function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`)/).map((part) => {
    if (part.length > 4 && part.startsWith("**")) return make("strong", {}, part.slice(2, -2));
    if (part.length > 2 && part.startsWith("`")) return make("code", {}, part.slice(1, -1));
    return part;
  });
}

const tableCells = (line) => line.replace(/^\|\s*|\s*\|$/g, "").split(/\s*\|\s*/);

function table(lines) {
  const head = make("tr", {}, ...tableCells(lines[0]).map(
    (cell) => make("th", { scope: "col" }, ...inline(cell)),
  ));
  const rows = lines.slice(1).filter((line) => !/^[|\s:-]+$/.test(line)).map((line) => make(
    "tr", {}, ...tableCells(line).map((cell) => make("td", {}, ...inline(cell))),
  ));
  const whole = make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
  return make("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Table" }, whole);
}

const BLOCKS = [
  [/^#{1,6}\s/, ([line]) => {
    const level = line.indexOf(" ");
    return [make(`h${Math.min(6, level + 2)}`, {}, ...inline(line.slice(level + 1)))];
  }, false],
  [/^-\s/, (lines) => [
    make("ul", {}, ...lines.map((line) => make("li", {}, ...inline(line.slice(2))))),
  ], true],
  [/^\|/, (lines) => [table(lines)], true],
  [/^\S/, (lines) => [make("p", {}, ...inline(lines.join(" ")))], true],
];

const kindOf = (line) => BLOCKS.findIndex(([pattern]) => pattern.test(line));

// Markdown text -> list of elements; nothing in it is taken as HTML.
export function renderMarkdown(markdown) {
  const lines = markdown.split("\n");
  const elements = [];
  for (let at = 0; at < lines.length; ) {
    const kind = kindOf(lines[at]);
    if (kind < 0) {
      at += 1;
      continue;
    }
    const [, build, grows] = BLOCKS[kind];
    let end = at + 1;
    while (grows && end < lines.length && kindOf(lines[end]) === kind) end += 1;
    elements.push(...build(lines.slice(at, end)));
    at = end;
  }
  return elements;
}
