// Recording from microphone and camera.

import { byId } from "./dom.js";

const TYPES = {
  sound: ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"],
  picture: ["video/webm;codecs=vp8,opus", "video/webm", "video/mp4"],
};
const REASONS = {
  NotAllowedError: (what) => `The browser was not allowed to use the ${what}. Allow it beside the address, then try again.`,
  NotFoundError: (what) => `No ${what} was found. Connect one, or choose a file.`,
  NotReadableError: (what) => `The ${what} is used by another program. Close that, then try again.`,
  OverconstrainedError: (what) => `No ${what} was found. Connect one, or choose a file.`,
};
const INSECURE =
  "A browser records only on pages of this computer (127.0.0.1, localhost) or over HTTPS. Choose a file instead.";

const clock = (passedS) =>
  `${Math.floor(passedS / 60)}:${String(Math.floor(passedS % 60)).padStart(2, "0")}`;

export class Recorder {
  // onDone(file or null): null where nothing was recorded; onFail(sentence).
  constructor({ onDone, onFail }) {
    this.onDone = onDone;
    this.onFail = onFail;
    byId("stop").addEventListener("click", () => this.stop());
  }

  async start(withPicture, maxS) {
    const what = withPicture ? "camera or microphone" : "microphone";
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      this.onFail(INSECURE);
      return false;
    }
    try {
      const video = withPicture ? { width: { ideal: 640 }, facingMode: "user" } : false;
      this.source = await navigator.mediaDevices.getUserMedia({ audio: true, video });
      this.#begin(withPicture ? "picture" : "sound", maxS);
    } catch (error) {
      this.#release();
      const sentence = REASONS[error.name] ?? (() => `The ${what} could not be opened: ${error.message}`);
      this.onFail(sentence(what));
      return false;
    }
    return true;
  }

  stop() {
    if (this.recorder?.state === "recording") this.recorder.stop();
  }

  #begin(kind, maxS) {
    const mimeType = TYPES[kind].find((type) => MediaRecorder.isTypeSupported(type)) ?? "";
    const pieces = [];
    this.recorder = new MediaRecorder(this.source, mimeType ? { mimeType } : {});
    this.recorder.addEventListener("dataavailable", (event) => {
      if (event.data.size) pieces.push(event.data);
    });
    this.recorder.addEventListener("stop", () => {
      const type = (this.recorder.mimeType || mimeType).split(";")[0];
      this.#release();
      const ending = type.split("/")[1] || "webm";
      this.onDone(pieces.length ? new File(pieces, `recording.${ending}`, { type }) : null);
    });
    this.recorder.start(1000);
    const live = byId("live");
    live.hidden = kind !== "picture";
    if (kind === "picture") {
      live.srcObject = this.source;
      live.play().catch(() => {});
    }
    byId("recording").hidden = false;
    this.#watch(maxS);
  }

  // Shows time and loudness; ends the recording where the server would refuse a longer one.
  #watch(maxS) {
    this.context = new AudioContext();
    const analyser = this.context.createAnalyser();
    this.context.createMediaStreamSource(this.source).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const startMs = performance.now();
    const step = () => {
      const passedS = (performance.now() - startMs) / 1000;
      byId("elapsed").textContent = clock(passedS);
      analyser.getFloatTimeDomainData(samples);
      const rms = Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);
      // -60 dB to 0 dB of full scale.
      byId("level").value = Math.min(1, Math.max(0, 1 + Math.log10(rms + 1e-9) / 3));
      if (passedS >= maxS) this.stop();
    };
    this.timer = setInterval(step, 100);
  }

  #release() {
    clearInterval(this.timer);
    this.context?.close().catch(() => {});
    this.context = null;
    this.source?.getTracks().forEach((track) => track.stop());
    this.source = null;
    byId("live").srcObject = null;
    byId("recording").hidden = true;
  }
}
