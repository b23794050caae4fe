// Fillings of the labels: a colour of its own and lines of its own, so that colour is never alone.

import { NUM_COLORS, colorOf, makeSvg } from "./dom.js";

const SIZE_PX = 10;
// One a colour; the first is plain. In a square of SIZE_PX that repeats.
const LINES = [
  "",
  "M0 10L10 0M-2 2L2 -2M8 12L12 8",
  "M0 5H10",
  "M5 0V10",
  "M0 0L10 10M-2 8L2 12M8 -2L12 2",
  "M5 2.5V7.5M2.5 5H7.5",
  "",
  "M0 0L10 10M10 0L0 10",
];
const GAP_LINES = "M0 6L6 0M-1 1L1 -1M5 7L7 5";

function pattern(id, size, ...children) {
  return makeSvg("pattern", { id, width: size, height: size, patternUnits: "userSpaceOnUse" }, ...children);
}

// An element that holds `pattern-0`, `pattern-1`, ... and `pattern-gap`.
export function patterns(numLabels) {
  const labels = Array.from({ length: numLabels }, (_, i) => {
    // From the ninth label on colours come again, with other lines.
    const lines = LINES[(i + Math.floor(i / NUM_COLORS) * 3) % LINES.length];
    return pattern(`pattern-${i}`, SIZE_PX,
      makeSvg("rect", { width: SIZE_PX, height: SIZE_PX, class: colorOf(i) }),
      makeSvg("path", { d: lines, class: "hatch" }),
    );
  });
  const gap = pattern("pattern-gap", 6, makeSvg("path", { d: GAP_LINES, class: "gap-line" }));
  return makeSvg("svg", { width: 0, height: 0, class: "patterns", "aria-hidden": "true" },
    makeSvg("defs", {}, ...labels, gap));
}
