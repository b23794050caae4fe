// The request to /v1/analyze and the stream of events that answers it.

const SENTENCES = {
  401: "This server asks for an access token.",
  403: "The server refused the request.",
  404: "This server does not analyse recordings.",
  413: "The file is larger than this server accepts.",
  415: "The server does not know this kind of file.",
  429: "The server is busy with other recordings.",
  503: "The server is starting or stopping.",
  504: "The analysis took longer than this server allows.",
};
const GONE = "The server does not answer. Check that it is still running, then try again.";

// One sentence for the reader; status is that of HTTP, 0 where there was no answer.
export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function authorization(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// Raises Refusal with the server's own sentence where it sent one.
export async function throwRefusal(response) {
  let sentence = "";
  try {
    const answer = await response.json();
    if (typeof answer.error === "string") sentence = answer.error;
  } catch {
    sentence = "";
  }
  sentence ||= SENTENCES[response.status] ?? `The server answered with status ${response.status}.`;
  if (response.status === 429) {
    const wait = Number(response.headers.get("Retry-After"));
    sentence += wait > 0 ? ` Try again in ${wait} seconds.` : " Try again in a moment.";
  }
  throw new Refusal(sentence, response.status);
}

export async function fetchOrRefuse(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(GONE, 0);
  }
}

function requestOf(file, words, token, signal) {
  const headers = { Accept: "application/x-ndjson", ...authorization(token) };
  if (!words) {
    headers["Content-Type"] = "application/octet-stream";
    return { method: "POST", headers, body: file, signal };
  }
  const body = new FormData();
  body.append("text", words);
  if (file) body.append("file", file, file.name);
  return { method: "POST", headers, body, signal };
}

async function* linesOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) if (line.trim()) yield line;
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The connection to the server broke during the analysis. Try again.", 0);
  } finally {
    reader.cancel().catch(() => {});
  }
  if (rest.trim()) yield rest;
}

// The text of the result as the server wrote it, so that a saved file equals `predict --json`.
function rawResult(line, result) {
  const found = /"result"\s*:\s*/.exec(line);
  const raw = line.slice(found.index + found[0].length, line.lastIndexOf("}"));
  try {
    if (JSON.stringify(JSON.parse(raw)) === JSON.stringify(result)) return raw;
  } catch {
    return JSON.stringify(result);
  }
  return JSON.stringify(result);
}

// Of a recording, of words, or of both.
// Yields the events of the stream; that of the result carries its own text as `raw`.
// Raises Refusal for every answer that is not a result, AbortError when `signal` says so.
export async function* analyze(file, { words, token, signal }) {
  const address = file ? `v1/analyze?name=${encodeURIComponent(file.name)}` : "v1/analyze";
  const response = await fetchOrRefuse(address, requestOf(file, words, token, signal));
  if (!response.ok) await throwRefusal(response);
  let complete = false;
  for await (const line of linesOf(response.body)) {
    let event;
    try {
      event = JSON.parse(line);
    } catch {
      throw new Refusal("The server sent something that is no event of an analysis.", 0);
    }
    if (event.event === "error") throw new Refusal(event.error, event.status ?? 0);
    if (event.event === "result") {
      event.raw = rawResult(line, event.result);
      complete = true;
    }
    yield event;
  }
  if (!complete) throw new Refusal("The server ended its answer before it was complete.", 0);
}
