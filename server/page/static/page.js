// The page: a recording in, an answer out.

import { showAnswer, showTable, showWindow } from "./answer.js";
import { byId, bytes, colorOf, percent, seconds } from "./dom.js";
import { Refusal, analyze, authorization, fetchOrRefuse, throwRefusal } from "./events.js";
import { showAbout } from "./model.js";
import { Player } from "./player.js";
import { Recorder } from "./record.js";
import { csvOf, save } from "./save.js";
import { TimeLine } from "./timeline.js";

const UNAUTHORIZED = 401;
const DEFAULT_MAX_S = 600;
const SPOKEN_STEP = 0.25;

const state = { about: null, file: null, token: "", running: null, result: null, retry: null };

// === What the reader is told ===

const say = (text) => { byId("status").textContent = text; };

// Clears the status, for example "Sending.", and shows the error.
function fail(sentence) {
  say("");
  const box = byId("error");
  box.hidden = false;
  box.textContent = sentence;
  box.scrollIntoView({ block: "nearest" });
}

function clearError() {
  byId("error").hidden = true;
  byId("error").textContent = "";
}

function askForToken(retry) {
  const wrong = Boolean(state.token);
  state.retry = retry;
  byId("token-form").hidden = false;
  byId("token").value = "";
  byId("token").focus();
  fail(wrong ? "The server did not accept this token." : "This server asks for an access token.");
}

// Says what went wrong; a missing token is asked for, then `retry` is called.
function handleError(error, retry) {
  if (error.status === UNAUTHORIZED) askForToken(retry);
  else if (error instanceof Refusal) fail(error.message);
  else {
    console.error(error);
    fail(`The page failed: ${error.message}`);
  }
}

// === The model ===

// Raises what `fetchOrRefuse` and `throwRefusal` raise.
async function fetchAbout(signal) {
  const response = await fetchOrRefuse("v1/about", { headers: authorization(state.token), signal });
  if (!response.ok) await throwRefusal(response);
  state.about = await response.json();
  showAbout(state.about);
  updateActions();
  if (state.about.needs_token && !state.token) byId("token-form").hidden = false;
}

async function loadAbout() {
  try {
    await fetchAbout();
  } catch (error) {
    byId("model-line").textContent = "The model is not known.";
    handleError(error, loadAbout);
  }
}

const words = () => (byId("text-field").hidden ? "" : byId("text").value.trim());

// There is something to ask about: a recording, or words.
function updateActions() {
  byId("actions").hidden = !state.file && !words();
}

// === The recording ===

const player = new Player({
  onTime: (time, playing) => timeline.playAt(time, playing),
});

function useFile(file) {
  // While it records or analyses there is no other file.
  if (!file || byId("choose").disabled || byId("drop").hidden) return;
  clearError();
  const limit = state.about?.limits.max_upload_bytes ?? Infinity;
  if (file.size > limit) {
    fail(`${file.name} has ${bytes(file.size)}; this server accepts up to ${bytes(limit)}.`);
    return;
  }
  state.file = file;
  byId("chosen-name").textContent = `${file.name}, ${bytes(file.size)}`;
  byId("chosen").hidden = false;
  updateActions();
  byId("answer").hidden = true;
  byId("result").hidden = true;
  player.open(file);
  byId("analyze").focus();
  say(`${file.name} is ready to be analysed.`);
}

const recorder = new Recorder({
  onDone: (file) => {
    setBusy(false);
    if (file) useFile(file);
    else fail("Nothing was recorded. Try again.");
  },
  onFail: (sentence) => {
    setBusy(false);
    fail(sentence);
  },
});

async function record(withPicture) {
  clearError();
  setBusy(true);
  const limits = state.about?.limits;
  if (await recorder.start(withPicture, limits?.max_media_s ?? DEFAULT_MAX_S)) {
    say("Recording.");
    byId("stop").focus();
  }
}

function setBusy(busy) {
  for (const id of ["choose", "record-sound", "record-picture", "analyze", "text"]) {
    byId(id).disabled = busy;
  }
}

// === The analysis ===

const timeline = new TimeLine({
  onShow: (index) => showWindow(timeline.windows, index, timeline.labels, timeline.streams),
  onPlay: (time, start) => (time === null ? player.toggle() : player.seek(time, start)),
});

function showProgress(event) {
  const bar = byId("bar");
  if (!event.duration_s) {
    bar.removeAttribute("value");
    byId("bar-label").textContent = `${seconds(event.done_s)} s analysed`;
    return;
  }
  const done = Math.min(1, event.done_s / event.duration_s);
  bar.value = done;
  byId("bar-label").textContent = `${seconds(event.done_s)} of ${seconds(event.duration_s)} s analysed`;
  if (done >= state.announced + SPOKEN_STEP && done < 1) {
    state.announced = done;
    say(`${percent(done)} analysed`);
  }
}

const colorsOf = (labels) => new Map(labels.map((label, i) => [label, colorOf(i)]));

function finish(event) {
  state.result = event;
  const { result } = event;
  // Text alone sends no window event before the result.
  if (!timeline.labels.length) timeline.labels = Object.keys(result.probabilities);
  showAnswer(result, colorsOf(timeline.labels));
  showTable(result.windows, timeline.labels);
  timeline.describe();
  const count = result.windows.length;
  say(result.duration_s
    ? `Done: ${result.label} over ${seconds(result.duration_s)} seconds, ${count} window${count === 1 ? "" : "s"}.`
    : `Done: ${result.label}.`);
  byId("answer-title").focus();
}

const HANDLERS = {
  start: (event) => {
    byId("bar-label").textContent = "Analysing";
    say("Analysing.");
    byId("result").hidden = false;
    timeline.begin(event);
  },
  progress: showProgress,
  sound: (event) => timeline.addSound(event),
  window: (event) => timeline.addWindow(event),
  result: finish,
};

function setRunning(is) {
  setBusy(is);
  byId("cancel").hidden = !is;
  byId("analyze").hidden = is;
  byId("progress").hidden = !is;
  byId("source").setAttribute("aria-busy", is);
}

async function start() {
  if ((!state.file && !words()) || state.running) return;
  clearError();
  state.running = new AbortController();
  state.announced = 0;
  state.result = null;
  byId("answer").hidden = true;
  byId("result").hidden = true;
  byId("window").hidden = true;
  byId("bar").removeAttribute("value");
  const size = state.file ? bytes(state.file.size) : "text";
  byId("bar-label").textContent = `Sending ${size}, then waiting for the server`;
  setRunning(true);
  byId("cancel").focus();
  say("Sending.");
  try {
    const { signal } = state.running;
    // The rows of the time line need the labels and streams of the model.
    if (!state.about) await fetchAbout(signal);
    timeline.reset(state.about.labels, state.about.streams);
    for await (const event of analyze(state.file, { words: words(), token: state.token, signal })) {
      HANDLERS[event.event]?.(event);
    }
    setRunning(false);
  } catch (error) {
    setRunning(false);
    if (!timeline.windows.length) byId("result").hidden = true;
    byId("analyze").focus();
    if (error.name === "AbortError") say("Cancelled.");
    else handleError(error, start);
  } finally {
    state.running = null;
  }
}

// === Buttons, dropping, colours ===

function listen() {
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => {
    useFile(event.target.files[0]);
    event.target.value = "";
  });
  byId("record-sound").addEventListener("click", () => record(false));
  byId("record-picture").addEventListener("click", () => record(true));
  byId("text").addEventListener("input", updateActions);
  byId("analyze").addEventListener("click", start);
  byId("cancel").addEventListener("click", () => state.running?.abort());
  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    state.token = byId("token").value.trim();
    byId("token-form").hidden = true;
    clearError();
    const { retry } = state;
    state.retry = null;
    retry?.();
  });
  const stem = () => state.result.result.path.replace(/\.[^.]*$/, "") || "answer";
  byId("save-json").addEventListener("click", () => (
    save(state.result.raw, `${stem()}.json`, "application/json")));
  byId("save-csv").addEventListener("click", () => (
    save(csvOf(state.result.result, timeline.labels), `${stem()}.csv`, "text/csv")));
}

function listenToDrops() {
  const area = byId("drop");
  addEventListener("dragover", (event) => {
    event.preventDefault();
    area.classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) area.classList.remove("over");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    if (area.hidden) return;
    if (event.dataTransfer.files.length > 1) fail("Drop one file at a time.");
    else useFile(event.dataTransfer.files[0]);
  });
}

function listenToColours() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const tell = () => {
    byId("theme").setAttribute("aria-pressed", isDark());
    timeline.schedule();
  };
  byId("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    tell();
  });
  dark.addEventListener("change", tell);
  tell();
}

listen();
listenToDrops();
listenToColours();
loadAbout();
