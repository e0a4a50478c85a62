// The tab for labels: one meme of the batch after the other, the keyboard first, kept in a table that `fit` reads.
import { ask, dataUri, sentence } from "./api.js";
import { categoryNames, harm, margin, taskBox } from "./answers.js";
import { byId, counted, download, h, said } from "./dom.js";
import { writeCsv } from "./tables.js";
import { memeVerdict, taskVerdict, verdictOf, VERDICT_ORDER } from "./verdicts.js";
import { writeZip } from "./zip.js";

const SUFFIXES = { "ffd8ff": ".jpg", "89504e": ".png", "474946": ".gif", "524946": ".webp", "424d": ".bmp", "49492a": ".tiff", "4d4d00": ".tiff" };

export function startReview(server, batch) {
  const review = new Review(server, batch);
  document.addEventListener("batch", () => review.begin());
  document.addEventListener("tab", ({ detail }) => detail === "review" && review.show());
  document.addEventListener("keydown", (event) => review.key(event));
  addEventListener("beforeunload", (event) => review.unsaved && event.preventDefault());
  review.begin();
}

class Review {
  constructor({ model, state }, batch) {
    this.model = model;
    this.onServer = state.review_folder;
    this.batch = batch;
    this.tasks = model.label_tasks.filter((task) => !task.derived);
    this.task = this.tasks.find((task) => categoryNames(model).includes(task.name)) ?? this.tasks[0];
    this.order = "unsure";
    this.waiting = new Set(); // rows whose labels are in this tab alone
    this.line = "";
    this.answerShown = true; // whoever would rather judge without it closes it once
    this.address = null;
  }

  /** A new batch, or new answers: the order is made anew. */
  async begin() {
    this.queue = [];
    this.place = 0;
    this.undone = [];
    if (this.onServer) await this.recall();
    this.arrange();
    this.show();
  }

  /** Labels that the server's folder already has of these memes. */
  async recall() {
    try {
      const known = new Map((await ask("/ui/review")).map((one) => [`${one.meme_id}\n${one.text}`, one.labels]));
      for (const row of this.batch.rows) row.labels ??= { ...known.get(`${row.meme_id.replace(/\s+/g, " ").trim()}\n${row.text ?? ""}`) };
    } catch (error) {
      this.line = sentence(error);
    }
  }

  arrange() {
    const rows = this.batch.rows.filter((row) => row.answer);
    const name = this.task.name;
    const value = {
      unsure: (row) => margin(row.answer.label_tasks[name]),
      harmful: (row) => -Math.max(VERDICT_ORDER.indexOf(verdictOf(row.answer)), 0) * 10 - Math.max(0, ...categoryNames(this.model).map((one) => harm(this.model, row.answer.label_tasks, one))),
      table: (row) => row.place,
    }[this.order];
    this.queue = rows.map((row) => [value(row), row]).sort((a, b) => a[0] - b[0] || a[1].place - b[1].place).map(([, row]) => row);
    this.place = Math.max(0, this.queue.findIndex((row) => !row.labels?.[name]));
  }

  get row() { return this.queue[this.place]; }

  numLabelled() { return this.queue.filter((row) => row.labels?.[this.task.name]).length; }

  async label(name) {
    const row = this.row;
    const before = row.labels?.[this.task.name];
    this.undone.push({ row, task: this.task.name, before, place: this.place });
    this.set(row, this.task.name, name);
    this.move(1);
    await this.save(row);
  }

  set(row, task, name) {
    row.labels = { ...row.labels, [task]: name };
    if (name === undefined) delete row.labels[task];
  }

  async undo() {
    const last = this.undone.pop();
    if (!last) return;
    this.set(last.row, last.task, last.before);
    this.place = last.place;
    this.show();
    await this.save(last.row);
  }

  move(by) {
    this.place = Math.max(0, Math.min(this.queue.length - 1, this.place + by));
    this.show();
  }

  get unsaved() { return this.waiting.size > 0; }

  async save(row) {
    this.waiting.add(row);
    if (!this.onServer) return;
    // One after the other, so that an undo can't overtake what it undoes.
    this.saving = (this.saving ?? Promise.resolve()).then(() => this.sendWaiting());
    await this.saving;
  }

  /** Send all labels that are in this tab alone, so those, too, that could not be kept before. */
  async sendWaiting() {
    let fault = null;
    for (const row of this.waiting) {
      const { labels } = row;
      try {
        const image = row.image ? await dataUri(await row.image()) : null;
        await ask("/ui/review", { body: { meme_id: row.meme_id, text: row.text ?? "", image, labels } });
        if (row.labels === labels) this.waiting.delete(row);
      } catch (error) {
        fault = error;
        if (error.status === 0) break; // there is no server to try the others on
      }
    }
    if (fault) this.say(`${counted(this.waiting.size, "meme")} not saved on the server; the next label tries again. Download the labels before you leave. ${sentence(fault)}`);
    else this.say("Saved on the server.");
  }

  say(words) {
    this.line = words;
    const line = byId("review-line");
    if (line) line.textContent = words;
  }

  key(event) {
    if (byId("panel-review").hidden || !this.row || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog, [role=tablist]")) return;
    const number = Number(event.key);
    const act = number >= 1 && number <= this.task.classes.length && number <= 9 ? () => this.label(this.task.classes[number - 1])
      : { ArrowRight: () => this.move(1), s: () => this.move(1), ArrowLeft: () => this.move(-1), u: () => this.undo() }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  show() {
    if (byId("panel-review").hidden) return;
    const box = byId("review");
    const focused = [...box.querySelectorAll("button, select")].indexOf(document.activeElement);
    this.fill(box);
    // What had the focus was made anew; whoever goes by the Tab key stays where they were.
    if (focused >= 0) box.querySelectorAll("button, select")[focused]?.focus();
  }

  fill(box) {
    if (!this.queue.length) {
      box.replaceChildren(h("div", { className: "card" }, h("h2", {}, "Nothing to review yet"),
        h("p", {}, "Let the model judge a batch first; then the memes that it is least sure of, or that it finds most harmful, come here first."),
        h("p", { className: "quiet" }, this.onServer ? "Labels are kept in the server's review folder." : "Labels stay in this tab until you download them; start the server with --review-folder to keep them there.")));
      return;
    }
    box.replaceChildren(this.controls(), h("div", { className: "columns" }, this.memeCard(), this.labelCard()));
  }

  controls() {
    const choose = (label, options, chosen, set) => {
      const select = h("select", { onchange: () => { set(select.value); this.arrange(); this.show(); } }, options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
      return h("label", { className: "light" }, `${label} `, select);
    };
    const orders = [["unsure", "least certain first"], ["harmful", "most harmful first"], ["table", "as in the batch"]]
      .filter(([name]) => name !== "harmful" || categoryNames(this.model).length);
    return h("div", { className: "row" },
      choose("Label", this.tasks.map((task) => [task.name, task.name]), this.task.name, (name) => { this.task = this.tasks.find((task) => task.name === name); }),
      choose("Order", orders, this.order, (order) => { this.order = order; }),
      h("span", { className: "grow", id: "review-count", role: "status" }, `${this.numLabelled()} of ${counted(this.queue.length, "meme")} labelled`),
      h("button", { type: "button", id: "review-download", disabled: !this.batch.rows.some(hasLabels), onclick: () => this.download() }, "Download labels"));
  }

  memeCard() {
    const { row } = this;
    const image = row.image ? h("img", { className: "review-image", alt: `Picture of ${row.meme_id}` }) : null;
    if (image) {
      row.image().then((blob) => {
        if (this.address) URL.revokeObjectURL(this.address);
        this.address = URL.createObjectURL(blob);
        image.src = this.address;
      }, () => { image.alt = "The picture can't be read."; });
    }
    return h("div", { className: "card" }, image, h("p", { className: "words", dir: "auto", id: "review-text" }, row.text || "(no text)"),
      h("p", { className: "quiet small" }, said(row.meme_id)));
  }

  labelCard() {
    const { row, task } = this;
    const given = row.labels?.[task.name];
    const buttons = task.classes.map((name, place) => h("button", { type: "button", "aria-pressed": String(given === name), onclick: () => this.label(name) },
      place < 9 ? h("kbd", {}, String(place + 1)) : null, said(name)));
    const entry = row.answer.label_tasks[task.name];
    return h("div", { className: "card" },
      h("h2", {}, "Which is it? ", said(task.name)),
      h("div", { className: "classes", role: "group", "aria-label": `Classes of ${task.name}` }, buttons),
      h("div", { className: "row" },
        h("button", { type: "button", onclick: () => this.move(-1), disabled: this.place === 0 }, h("kbd", {}, "←"), " Back"),
        h("button", { type: "button", onclick: () => this.move(1), disabled: this.place === this.queue.length - 1 }, h("kbd", {}, "→"), " Skip"),
        h("button", { type: "button", onclick: () => this.undo(), disabled: !this.undone.length }, h("kbd", {}, "u"), " Undo")),
      h("p", { className: "quiet small" }, `Meme ${this.place + 1} of ${this.queue.length}. `, h("span", { id: "review-line", role: "status" }, this.line)),
      this.onServer ? null : h("p", { className: "quiet small" }, "Labels are in this tab alone: download them before you leave."),
      h("details", { open: this.answerShown, ontoggle: ({ target }) => { this.answerShown = target.open; } }, h("summary", {}, "What the model says"), memeVerdict(row.answer), taskBox(task.name, entry, taskVerdict(row.answer, task.name))));
  }

  /** The labelled memes as a zip of `memes.csv` and `images/`, which `memeblend fit` reads once it is unpacked. */
  async download() {
    const rows = this.batch.rows.filter(hasLabels);
    const lines = [["id", "image", "text", ...this.tasks.map((task) => task.name)]];
    const files = [];
    const used = new Set();
    for (const row of rows) {
      let image = "";
      if (row.image) {
        const blob = await row.image();
        image = `images/${String(row.place + 1).padStart(5, "0")}${await suffixOf(blob)}`;
        files.push({ name: image, blob });
      }
      const id = used.has(row.meme_id) ? `${row.meme_id}~${row.place + 1}` : row.meme_id;
      used.add(id);
      lines.push([id, image, (row.text ?? "").replaceAll("\0", ""), ...this.tasks.map((task) => row.labels[task.name] ?? "")]);
    }
    files.unshift({ name: "memes.csv", blob: new Blob([writeCsv(lines)]) });
    download(await writeZip(files), "memes-reviewed.zip");
    if (!this.onServer) this.waiting.clear();
    this.say(`${counted(rows.length, "labelled meme")} downloaded; unpack the file and give its folder to memeblend fit.`);
  }
}

const hasLabels = (row) => Object.keys(row.labels ?? {}).length > 0;

/** The suffix of an image by its first bytes. */
async function suffixOf(blob) {
  const first = [...new Uint8Array(await blob.slice(0, 3).arrayBuffer())].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return SUFFIXES[first] ?? SUFFIXES[first.slice(0, 4)] ?? ".img";
}
