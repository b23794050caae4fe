// Waveform and spectrogram, drawn as their pieces arrive.

const ENVELOPE_STEP_S = 1 / 50;

// Magma (Smith & van der Walt 2015), a few of its points; brightness grows with loudness.
const STOPS = [
  [0, 0, 4], [40, 17, 89], [81, 18, 124], [130, 38, 129], [183, 55, 121],
  [230, 81, 98], [252, 137, 97], [254, 194, 135], [252, 253, 191],
];

const COLORS = Array.from({ length: 256 }, (_, level) => {
  const at = (level / 255) * (STOPS.length - 1);
  const low = Math.min(STOPS.length - 2, Math.floor(at));
  return STOPS[low].map((part, i) => part + (STOPS[low + 1][i] - part) * (at - low));
});

// Column after column, row 0 lowest -> a canvas of its own, lowest row at the bottom.
function picture({ rows, columns, values }) {
  const canvas = document.createElement("canvas");
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows);
  const levels = Uint8Array.from(atob(values), (letter) => letter.charCodeAt(0));
  for (let column = 0; column < columns; column += 1) {
    for (let row = 0; row < rows; row += 1) {
      const [red, green, blue] = COLORS[levels[column * rows + row]];
      image.data.set([red, green, blue, 255], 4 * ((rows - 1 - row) * columns + column));
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

// Width and height in device pixels follow those on the page; null while it is not shown.
function fitCanvas(canvas) {
  const { width, height } = canvas.getBoundingClientRect();
  if (!width) return null;
  const scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  return canvas.getContext("2d");
}

export class SoundView {
  constructor(wave, spectrogram) {
    this.wave = wave;
    this.spectrogram = spectrogram;
    this.reset();
  }

  reset() {
    this.pieces = [];
  }

  get endS() {
    return this.pieces.length ? this.pieces.at(-1).endS : 0;
  }

  add(event) {
    const { columns } = event.spectrogram ?? { columns: 0 };
    this.pieces.push({
      startS: event.start_s,
      endS: event.end_s,
      envelope: event.envelope,
      drawnS: columns ? columns / event.spectrogram.columns_a_second : 0,
      picture: columns ? picture(event.spectrogram) : null,
    });
  }

  draw(durationS) {
    this.#drawWave(durationS);
    this.#drawSpectrogram(durationS);
  }

  #drawWave(durationS) {
    const context = fitCanvas(this.wave);
    if (!context) return;
    const { width, height } = this.wave;
    const lows = new Float32Array(width);
    const highs = new Float32Array(width);
    for (const piece of this.pieces) {
      piece.envelope.forEach(([low, high], i) => {
        const from = Math.floor(((piece.startS + i * ENVELOPE_STEP_S) / durationS) * width);
        const to = Math.ceil(((piece.startS + (i + 1) * ENVELOPE_STEP_S) / durationS) * width);
        for (let x = Math.max(0, from); x < Math.min(width, Math.max(to, from + 1)); x += 1) {
          lows[x] = Math.min(lows[x], low);
          highs[x] = Math.max(highs[x], high);
        }
      });
    }
    // Quiet recordings are drawn larger, but noise is not blown up to full height.
    const peak = Math.max(0.1, ...this.#peaks());
    const middle = height / 2;
    context.fillStyle = getComputedStyle(this.wave).color;
    for (let x = 0; x < Math.min(width, (this.endS / durationS) * width); x += 1) {
      const top = middle - (highs[x] / peak) * middle * 0.96;
      const bottom = middle - (lows[x] / peak) * middle * 0.96;
      context.fillRect(x, top, 1, Math.max(1, bottom - top));
    }
  }

  #drawSpectrogram(durationS) {
    const context = fitCanvas(this.spectrogram);
    if (!context) return;
    const { width, height } = this.spectrogram;
    context.imageSmoothingEnabled = true;
    for (const piece of this.pieces.filter((one) => one.picture)) {
      const from = Math.round((piece.startS / durationS) * width);
      const to = Math.round(((piece.startS + piece.drawnS) / durationS) * width);
      context.drawImage(piece.picture, from, 0, Math.max(1, to - from), height);
    }
  }

  * #peaks() {
    for (const piece of this.pieces) {
      let peak = 0;
      for (const [low, high] of piece.envelope) peak = Math.max(peak, -low, high);
      yield peak;
    }
  }

  // Describes waveform and spectrogram for screen readers.
  describe() {
    let [peak, peakS] = [0, 0];
    for (const piece of this.pieces) {
      piece.envelope.forEach(([low, high], i) => {
        if (Math.max(-low, high) <= peak) return;
        peak = Math.max(-low, high);
        peakS = piece.startS + i * ENVELOPE_STEP_S;
      });
    }
    const loudest = peak
      ? `loudest at ${peakS.toFixed(1)} seconds, ${Math.round(100 * peak)} percent of full scale`
      : "silence";
    this.wave.setAttribute("aria-label", `Waveform of ${this.endS.toFixed(1)} seconds: ${loudest}`);
    this.spectrogram.setAttribute(
      "aria-label", `Spectrogram of ${this.endS.toFixed(1)} seconds, low pitches below, loud is bright`,
    );
  }
}
