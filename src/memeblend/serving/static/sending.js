// Many memes to `/v1/predict`, in requests that the server's limits allow, patiently and cancellably.
import { ask, dataUri, Refused } from "./api.js";
import { BadZip } from "./zip.js";

const MOST_AT_ONCE = 16; // so that progress moves
const MOST_READ_AT_ONCE = 4; // memes whose text the server has to read take a second or more each, and a deadline holds
const SHARE_OF_BODY = 0.7; // base64 takes 4 bytes for 3, and the texts need room
const MOST_TRIES = 20;

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, 1000 * seconds);
  signal.addEventListener("abort", () => { clearTimeout(timer); reject(new DOMException("cancelled", "AbortError")); }, { once: true });
});

/**
 * Ask the model about memes, `ocr` says whether the server reads texts; `onresult(place, answer)` and `onfault(place, sentence)` are called for each, and
 * `onwait(seconds)` where the server is busy. Stops with an AbortError when `signal` says so.
 */
export async function predictMany(memes, { limits, ocr }, { onresult, onfault, onwait, signal }) {
  let most = Math.min(MOST_AT_ONCE, limits.max_memes);
  let next = 0;
  while (next < memes.length) {
    const chunk = [];
    let bytes = 0;
    let unread = 0;
    while (next < memes.length && chunk.length < most && unread < MOST_READ_AT_ONCE) {
      const read = await readMeme(memes[next], limits);
      if (read.fault) onfault(next, read.fault);
      else if (chunk.length && bytes + read.size > SHARE_OF_BODY * limits.max_body_bytes) break;
      else {
        chunk.push({ place: next, sent: read.sent });
        bytes += read.size;
        if (ocr && memes[next].text === null) unread += 1;
      }
      next += 1;
    }
    most = await send(chunk, most, { onresult, onfault, onwait, signal });
  }
}

async function readMeme(meme, limits) {
  try {
    const blob = meme.image ? await meme.image() : null;
    if (blob && blob.size > limits.max_image_bytes) return { fault: `The image is larger than the ${Math.round(limits.max_image_bytes / 2 ** 20)} MiB that are allowed.` };
    const letters = meme.text?.length ?? 0;
    if (letters > 2 * limits.max_text_characters) return { fault: `The text has about ${letters.toLocaleString("en")} characters, more than the ${limits.max_text_characters.toLocaleString("en")} that are allowed.` };
    if (!blob && !meme.text?.trim()) return { fault: "It holds neither text nor image." };
    const sent = { text: meme.text, image: blob ? await dataUri(blob) : null };
    return { sent, size: (sent.image?.length ?? 0) + 4 * letters };
  } catch (error) {
    if (error instanceof BadZip || error instanceof Refused) return { fault: error.message };
    throw error;
  }
}

/** Send a chunk until all of it is answered or refused; gives how many memes to send at once from now on. */
async function send(chunk, most, { onresult, onfault, onwait, signal }) {
  let waiting = [chunk];
  let tries = 0;
  while (waiting.length) {
    const part = waiting.shift();
    if (!part.length) continue;
    signal.throwIfAborted();
    try {
      const answer = await ask("/v1/predict", { body: { memes: part.map((one) => one.sent) }, signal });
      part.forEach((one, place) => onresult(one.place, answer.memes[place]));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const bad = new Map(error.problems.flatMap((problem) => {
        const place = /^memes\[(\d+)\]/.exec(problem.where);
        return place ? [[Number(place[1]), problem.what]] : [];
      }));
      if (error.status === 422 && bad.size) {
        bad.forEach((what, place) => onfault(part[place].place, what));
        waiting.unshift(part.filter((_, place) => !bad.has(place)));
      } else if ([408, 413, 504].includes(error.status) && part.length > 1) {
        const half = Math.ceil(part.length / 2);
        most = Math.max(1, Math.min(most, half));
        waiting.unshift(part.slice(0, half), part.slice(half));
      } else if ([429, 503].includes(error.status) && tries < MOST_TRIES) {
        tries += 1;
        const seconds = Math.max(1, error.retryAfter);
        onwait(seconds);
        await pause(seconds, signal);
        waiting.unshift(part);
      } else if (error.status === 0) throw error;
      else part.forEach((one) => onfault(one.place, error.sentence));
    }
  }
  return most;
}
