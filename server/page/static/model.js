// Shows the facts about the model, and the inputs that it takes.

import { renderMarkdown } from "./card.js";
import { byId, bytes, make } from "./dom.js";

const TAKES_NOTHING =
  "This model takes numbers of tokens, no recordings; export it without --text-input.";

export function showAbout(about) {
  byId("model-line").textContent =
    `${about.name}, version ${about.version}: ${about.streams.join(", ")} to ${about.labels.length} labels`;
  document.title = `${about.name} – Affectstream`;
  const stamps = [
    about.synthetic && "SYNTHETIC: trained on made-up data; it recognises nobody's emotion.",
    about.leak_allowed && "LEAK ALLOWED: its scores are too high.",
  ].filter(Boolean);
  byId("stamps").replaceChildren(...stamps.map((text) => make("p", { class: "stamp" }, text)));
  byId("stamps").hidden = !stamps.length;
  const facts = {
    Name: about.name, Version: about.version, Recipe: about.recipe,
    Streams: about.streams.join(", "), Labels: about.labels.join(", "),
  };
  byId("facts").replaceChildren(...Object.entries(facts).map(
    ([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(text))),
  ));
  byId("card").replaceChildren(...renderMarkdown(about.card_markdown));
  byId("law").textContent = about.law;
  byId("meaning").replaceChildren(...about.meaning.map((text) => make("li", {}, text)));
  const { max_upload_bytes: size, max_media_s: length } = about.limits;
  byId("limits").textContent =
    `Sound or video of any usual kind, up to ${bytes(size)} and ${Math.round(length)} seconds.`;
  showInputs(about);
}

// Shows the inputs that the model takes: recordings, text, or neither.
function showInputs(about) {
  const reads = about.streams.includes("text");
  const takesNothing = about.text_input === "token_ids";
  const textOnly = reads && about.streams.length === 1;
  byId("takes-nothing").textContent = takesNothing ? TAKES_NOTHING : "";
  byId("takes-nothing").hidden = !takesNothing;
  byId("text-field").hidden = !reads || takesNothing;
  byId("drop").hidden = takesNothing || textOnly;
  byId("source-title").textContent = textOnly ? "Text" : "Recording";
  byId("text-label").textContent = textOnly
    ? "Text to be judged" : "Text: what is said in the recording, or alone";
}
