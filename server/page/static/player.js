// Plays the reader's own file, straight from the browser.

import { byId, make } from "./dom.js";

export class Player {
  // onTime(seconds, whether it plays).
  constructor({ onTime }) {
    this.onTime = onTime;
    this.media = null;
    this.address = "";
  }

  open(file) {
    this.media?.pause();
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(file);
    const kind = file.type.startsWith("audio/") ? "audio" : "video";
    const media = make(kind, {
      controls: true, playsinline: true, preload: "metadata", src: this.address, "aria-label": "Your recording",
    });
    const tell = () => this.onTime(media.currentTime, !media.paused);
    for (const event of ["timeupdate", "seeked", "play", "pause"]) media.addEventListener(event, tell);
    media.addEventListener("play", () => this.#follow(media));
    // A file whose picture the browser cannot show, or that has none: no black box for it.
    media.addEventListener("loadedmetadata", () => {
      media.classList.toggle("blind", kind === "video" && !media.videoWidth);
    });
    media.addEventListener("error", () => {
      if (media !== this.media) return;
      this.media = null;
      media.remove();
      byId("unplayable").hidden = false;
    });
    byId("unplayable").hidden = true;
    byId("player").replaceChildren(media);
    this.media = media;
  }

  // timeupdate comes four times a second only; the playhead should glide.
  #follow(media) {
    const step = () => {
      if (media.paused || media !== this.media) return;
      this.onTime(media.currentTime, true);
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  seek(time, start = false) {
    if (!this.media) return;
    this.media.currentTime = time;
    if (start) this.media.play().catch(() => {});
  }

  toggle() {
    if (!this.media) return;
    if (this.media.paused) this.media.play().catch(() => {});
    else this.media.pause();
  }
}
