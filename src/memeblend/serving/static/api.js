// Requests to the server that this page came from, with its key where it has one, and refusals as sentences.
import { byId } from "./dom.js";

const KEY = "memeblend-key";

/** A request that was not served; `problems` are its single faults, `retryAfter` seconds or 0. */
export class Refused extends Error {
  constructor(status, message, problems = [], retryAfter = 0) {
    super(message);
    this.status = status;
    this.problems = problems;
    this.retryAfter = retryAfter;
  }

  /** Everything that the server said. */
  get sentence() {
    const single = this.problems.map((problem) => `${problem.where}: ${problem.what}`);
    return [this.message, ...single].join(" ");
  }
}

/** Ask the server; `body` is sent as JSON. Gives the answer's JSON. */
export async function ask(path, { body, signal } = {}) {
  for (;;) {
    const key = sessionStorage.getItem(KEY);
    const headers = key ? { authorization: `Bearer ${key}` } : {};
    if (body !== undefined) headers["content-type"] = "application/json";
    let response;
    try {
      const method = body === undefined ? "GET" : "POST";
      response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The server can't be reached, or hung up. Is it still running?");
    }
    if (response.status === 401) {
      await askForKey(key);
      continue;
    }
    if (response.ok) return response.json();
    const said = await response.json().catch(() => ({}));
    const message = said.error?.message ?? `The server answered with status ${response.status}.`;
    const after = Number(response.headers.get("retry-after")) || 0;
    throw new Refused(response.status, message, said.error?.problems ?? [], after);
  }
}

let asking = null;

/** Opens the dialog, once for all requests that wait for the key. `tried` is the key that was refused. */
function askForKey(tried) {
  if (tried !== sessionStorage.getItem(KEY)) return Promise.resolve(); // another request has asked meanwhile
  asking ??= new Promise((resolve) => {
    const dialog = byId("key-dialog");
    byId("key-title").textContent = tried ? "That was not the server's key" : "This server asks for its key";
    byId("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, byId("key-input").value.trim());
      dialog.close();
      asking = null;
      resolve();
    };
    dialog.oncancel = (event) => event.preventDefault();
    dialog.showModal();
  });
  return asking;
}

/** A file as a `data:` URI, which the API reads. */
export function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => {
      const comma = reader.result.indexOf(",");
      resolve(`data:application/octet-stream;base64,${comma < 0 ? "" : reader.result.slice(comma + 1)}`);
    };
    reader.onerror = () => reject(new Refused(0, "The file can't be read. Was it moved or changed?"));
    reader.readAsDataURL(blob);
  });
}

/** The blob of a `data:` URI in base64. */
export function blobOf(uri) {
  const [head, data] = uri.split(",");
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: head.slice(5).split(";")[0] });
}

/** What to tell a person of an error. */
export function sentence(error) {
  return error instanceof Refused ? error.sentence : `Something went wrong on this page: ${error.message}`;
}
