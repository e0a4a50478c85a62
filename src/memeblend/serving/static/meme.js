// The tab for one meme: its picture and text, what the model says of it, and why.
import { ask, blobOf, dataUri, sentence } from "./api.js";
import { categoryNames, harm, taskBox } from "./answers.js";
import { byId, counted, dropZone, h, said } from "./dom.js";
import { explanationBox, heatChoices } from "./explained.js";
import { drawHeat, drawMeme } from "./heat.js";
import { intervalLine, memeVerdict, taskVerdict } from "./verdicts.js";

const INVISIBLE = /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/gu;

export function startMeme({ model, state }) {
  const [canvas, text, status, answer] = ["meme-canvas", "meme-text", "meme-status", "meme-answer"].map(byId);
  let file = null;
  let picture = null;
  let turn = 0; // answers that come after the meme was changed are dropped
  let reading = null; // of the text in the image; who asks without a text waits for it

  const say = (words, bad = false) => {
    status.className = bad ? "notice bad" : "quiet";
    status.textContent = words;
  };
  const redraw = (patches = null) => {
    drawMeme(canvas, picture, state.fitted.fit);
    if (patches) drawHeat(canvas, patches);
  };
  const forget = () => {
    turn += 1;
    answer.replaceChildren();
    byId("heat-controls").hidden = true;
    redraw();
  };

  const noteText = () => {
    const most = model.limits.max_text_characters;
    const letters = [...text.value].length;
    const hidden = text.value.match(INVISIBLE)?.length ?? 0;
    byId("text-note").textContent = [
      letters > most ? `${letters.toLocaleString("en")} characters, more than the ${most.toLocaleString("en")} that are allowed.` : "",
      hidden ? `${counted(hidden, "invisible character")} in it; the model sees ${hidden === 1 ? "it" : "them"}.` : "",
      !text.value && !state.ocr ? "This server reads no text from images; type what the meme says." : "",
    ].filter(Boolean).join(" ");
  };

  async function take(blob, words = null) {
    file = blob;
    forget();
    canvas.hidden = false;
    byId("drop-hint").textContent = "Drop, paste or choose another";
    try {
      picture = await createImageBitmap(blob, { imageOrientation: "from-image" });
      canvas.setAttribute("aria-label", `The meme${blob.name ? ` ${blob.name}` : ""}`);
    } catch {
      picture = null;
      canvas.setAttribute("aria-label", "A file that this browser can't show");
    }
    redraw();
    if (words !== null) text.value = words;
    else text.value = "";
    noteText();
    say(picture ? "Ask the model when the text is right." : "This browser can't show the file; the server may still read it.");
    if (words === null && state.ocr) await (reading = readText());
  }

  async function readText() {
    const mine = turn;
    say("Reading the text in the image …");
    try {
      const read = await ask("/ui/read-text", { body: { image: await dataUri(file) } });
      if (mine !== turn) return;
      if (text.value) return say("Ask the model when the text is right."); // typed while it was read
      text.value = read.text;
      noteText();
      const doubtful = read.lines.filter((line) => line.confidence < 0.8).length;
      say(read.text ? `${counted(read.lines.length, "line")} of text read${doubtful ? `, ${doubtful} with doubts` : ""}. Correct the text where it is wrong.` : "No text was found in the image.");
    } catch (error) {
      if (mine === turn) say(sentence(error), true);
    }
  }

  const meme = async () => ({ text: text.value, image: file ? await dataUri(file) : null });

  async function predict() {
    byId("ask").disabled = true;
    if (!text.value) await reading;
    forget();
    const mine = turn;
    say("Asking …");
    try {
      const said = await ask("/v1/predict", { body: { memes: [await meme()] } });
      if (mine === turn) show(said.memes[0]);
    } catch (error) {
      if (mine === turn) say(sentence(error), true);
    } finally {
      byId("ask").disabled = false;
    }
  }

  function show(one) {
    say("");
    const derived = new Set(model.label_tasks.filter((task) => task.derived).map((task) => task.name));
    const boxes = (wanted) => Object.entries(one.label_tasks).filter(([name]) => derived.has(name) === wanted)
      .map(([name, entry]) => taskBox(name, entry, taskVerdict(one, name), intervalLine(one, name)));
    const followed = boxes(true).length ? h("details", { className: "task" }, h("summary", {}, "What follows from these"), boxes(true)) : null;
    const why = h("div", { id: "why", className: "card" });
    answer.replaceChildren(verdictCard(one), h("div", { className: "card", id: "label-tasks" }, boxes(false), followed), why);
    if (matchMedia("(max-width: 52rem)").matches) answer.scrollIntoView({ block: "start" });
    if (!state.explain) {
      why.append(h("p", { className: "quiet" }, "This server's engine predicts only, so there is no explanation here."));
      return;
    }
    why.append(
      h("h2", {}, "Why?"),
      h("div", { className: "row" },
        h("button", { type: "button", id: "explain", onclick: () => explain(why, true) }, "Explain"),
        state.gradients
          ? h("button", { type: "button", id: "explain-exactly", onclick: () => explain(why, false) }, "With integrated gradients (slower)")
          : null),
      h("p", { className: "quiet small" }, "Words and patches that speak for the answer, what text and image each add, votes that matter, the nearest labelled memes."),
    );
  }

  function verdictCard(one) {
    const verdict = memeVerdict(one);
    if (verdict) return h("div", { className: "card" }, verdict);
    const named = categoryNames(model).filter((name) => one.label_tasks[name]);
    if (!named.length) return h("p", { className: "visually-hidden" }, "The model's answer:");
    const worst = named.reduce((most, name) => (harm(model, one.label_tasks, name) > harm(model, one.label_tasks, most) ? name : most));
    return h("p", { className: "notice" }, "Most likely category: ", said(worst), ` (${Math.round(100 * harm(model, one.label_tasks, worst))} %). `,
      h("span", { className: "small" }, "This server has no policy, so there is no verdict."));
  }

  async function explain(box, cheap) {
    const mine = turn;
    for (const button of box.querySelectorAll("button")) button.disabled = true;
    const waiting = h("p", { role: "status" }, cheap ? "Explaining …" : "Explaining with integrated gradients; this can take half a minute …");
    box.append(waiting);
    try {
      const found = await ask("/v1/explain", { body: { ...(await meme()), cheap } });
      if (mine !== turn) return;
      const { explanation } = found;
      waiting.remove();
      box.querySelector("#explanation")?.remove();
      const controls = byId("heat-controls");
      const choices = heatChoices(explanation, (words, patches) => {
        redraw(picture ? patches : null);
        box.querySelector("#word-heat").replaceChildren(...words);
      });
      box.append(explanationBox(explanation, choices.showTask));
      controls.replaceChildren(...choices.controls);
      controls.hidden = false;
      choices.start();
    } catch (error) {
      if (mine !== turn) return;
      waiting.textContent = sentence(error);
      waiting.className = "notice bad";
    } finally {
      for (const button of box.querySelectorAll("button")) button.disabled = false;
    }
  }

  function clear() {
    file = picture = null;
    text.value = "";
    byId("meme-file").value = "";
    canvas.hidden = true;
    byId("drop-hint").replaceChildren(h("strong", {}, "Drop a meme here"), ", paste one, or choose a file");
    forget();
    noteText();
    say("The answer appears here.");
  }

  byId("meme-file").addEventListener("change", ({ target }) => target.files[0] && take(target.files[0]));
  dropZone(byId("drop"), ([first]) => take(first));
  document.addEventListener("paste", (event) => {
    const pasted = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (pasted && !byId("panel-meme").hidden) {
      event.preventDefault();
      take(pasted);
    }
  });
  text.addEventListener("input", () => {
    noteText();
    if (answer.childElementCount) {
      forget();
      say("The text has changed; ask again.");
    }
  });
  text.addEventListener("paste", (event) => {
    const letters = event.clipboardData.getData("text").length;
    if (letters <= model.limits.max_text_characters) return;
    event.preventDefault(); // megabytes in a text box bring a browser to a stand
    byId("text-note").textContent = `What was pasted has ${letters.toLocaleString("en")} characters, more than the ${model.limits.max_text_characters.toLocaleString("en")} that are allowed; it was left out.`;
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) predict();
  });
  byId("meme-form").addEventListener("submit", (event) => { event.preventDefault(); predict(); });
  byId("clear").addEventListener("click", clear);
  noteText();
  showSamples(take, predict);
}

async function showSamples(take, predict) {
  let samples;
  try {
    samples = await ask("/ui/samples");
  } catch {
    return; // the page is whole without them
  }
  byId("samples").append(...samples.map((sample) =>
    h("button", { type: "button", "aria-label": `Sample: ${sample.text}`, onclick: async () => { await take(blobOf(sample.image), sample.text); predict(); } },
      h("img", { src: sample.image, alt: "", width: 72, height: 72 }))));
  byId("samples-box").hidden = false;
}
