// The tab for many memes: what was chosen, how far the model is, and a table that can be sorted and taken away.
import { sentence } from "./api.js";
import { categoryNames, harm, verdictTag } from "./answers.js";
import { byId, counted, download, dropZone, h, percent, said } from "./dom.js";
import { gather } from "./memes.js";
import { predictMany } from "./sending.js";
import { writeCsv } from "./tables.js";
import { verdictOf, VERDICT_ORDER } from "./verdicts.js";

const ROWS_A_PAGE = 50;

/** The batch: `rows` of memes with their `answer` or `fault`; tells of changes by the event "batch" of the document. */
export function startBatch({ model, state }) {
  const batch = { rows: [] };
  let stopper = null;
  const table = new ResultTable(model, batch);

  const showNotes = (problems) => {
    const notes = byId("batch-notes");
    notes.hidden = !problems.length;
    notes.replaceChildren(...problems.slice(0, 100).map((problem) => h("li", {}, said(problem))));
    if (problems.length > 100) notes.append(h("li", {}, `… and ${counted(problems.length - 100, "more problem")}.`));
  };

  async function take(files) {
    if (stopper) return;
    byId("batch-found").textContent = "Looking …";
    byId("batch-start").disabled = true;
    try {
      const { memes, problems } = await gather(files);
      batch.rows = memes.map((meme, place) => ({ ...meme, place, answer: null, fault: "" }));
      byId("batch-found").textContent = memes.length ? `${counted(memes.length, "meme")} found.` : "No memes found.";
      byId("batch-start").disabled = !memes.length;
      byId("batch-download").disabled = true;
      showNotes(problems);
      table.show();
      document.dispatchEvent(new CustomEvent("batch"));
    } catch (error) {
      byId("batch-found").textContent = sentence(error);
    }
  }

  async function run() {
    stopper = new AbortController();
    const open = batch.rows.filter((row) => !row.answer);
    let done = 0;
    const progress = (words = "") => {
      byId("batch-progress").value = done / open.length;
      byId("batch-progress-text").textContent = `${done.toLocaleString("en")} of ${counted(open.length, "meme")}${words}`;
    };
    byId("batch-start").disabled = true;
    byId("batch-cancel").hidden = byId("batch-progress-box").hidden = false;
    progress();
    const note = (place, set) => { set(open[place]); done += 1; progress(); table.showSoon(); };
    try {
      await predictMany(open, { limits: model.limits, ocr: state.ocr }, {
        signal: stopper.signal,
        onresult: (place, answer) => note(place, (row) => {
          row.answer = answer;
          row.text ??= answer.ocr_text ?? null;
          row.fault = "";
        }),
        onfault: (place, fault) => note(place, (row) => { row.fault = fault; }),
        onwait: (seconds) => progress(`; the server is busy, next try in ${seconds} s`),
      });
      const faults = open.filter((row) => row.fault).length;
      progress(faults ? `; ${counted(faults, "meme")} could not be judged` : "; done");
    } catch (error) {
      if (error.name === "AbortError") progress("; cancelled. Start goes on.");
      else progress(`; stopped. ${sentence(error)}`);
    } finally {
      stopper = null;
      byId("batch-cancel").hidden = true;
      byId("batch-start").disabled = batch.rows.every((row) => row.answer);
      byId("batch-download").disabled = !batch.rows.some((row) => row.answer || row.fault);
      table.show();
      document.dispatchEvent(new CustomEvent("batch"));
    }
  }

  byId("batch-file").addEventListener("change", ({ target }) => {
    if (target.files.length) take([...target.files]);
    target.value = "";
  });
  dropZone(byId("batch-drop"), take);
  byId("batch-form").addEventListener("submit", (event) => { event.preventDefault(); if (!stopper) run(); });
  byId("batch-cancel").addEventListener("click", () => stopper?.abort());
  byId("batch-download").addEventListener("click", () => download(csvOf(model, batch.rows), "memes-judged.csv"));
  return batch;
}

/** The batch as a table, columns called as `memeblend predict --out` calls them. */
function csvOf(model, rows) {
  const withVerdict = rows.some((row) => row.answer && verdictOf(row.answer));
  const tasks = model.label_tasks;
  const header = ["meme_id", "text", ...(withVerdict ? ["verdict"] : []), ...tasks.flatMap((task) => [task.name, ...task.classes.map((one) => `${task.name}_p_${one}`)]), "problem"];
  const lines = rows.map((row) => {
    const said = (task) => row.answer?.label_tasks[task.name];
    const cells = tasks.flatMap((task) => [said(task)?.class, ...task.classes.map((one) => said(task)?.probabilities[one])]);
    return [row.meme_id, row.text, ...(withVerdict ? [row.answer && verdictOf(row.answer)] : []), ...cells, row.fault];
  });
  return new Blob([writeCsv([header, ...lines])], { type: "text/csv" });
}

const LONGEST_SHOWN = 300;
const shortened = (text) => (text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)} …` : text);
const answered = (entry) => [said(entry.class), h("small", { className: "quiet" }, percent(entry.probabilities[entry.class]))];

/** The table of results: sorted by any column, a page at a time, with thumbnails of that page alone. */
class ResultTable {
  constructor(model, batch) {
    this.model = model;
    this.batch = batch;
    this.page = 0;
    this.sorted = null;
    this.down = false;
    this.timer = null;
    this.addresses = [];
    const categories = categoryNames(model);
    this.columns = [
      { name: "meme", className: "name", value: (row) => row.meme_id, cell: (row) => said(row.meme_id) },
      { name: "text", className: "text", value: (row) => row.text ?? "", cell: (row) => (row.fault ? h("span", { className: "problem" }, said(row.fault)) : said(shortened(row.text ?? ""))) },
      { name: "verdict", value: (row) => VERDICT_ORDER.indexOf(row.answer && verdictOf(row.answer)), cell: (row) => (row.answer && verdictOf(row.answer) ? verdictTag(verdictOf(row.answer)) : ""), when: (rows) => rows.some((row) => row.answer && verdictOf(row.answer)) },
      ...model.label_tasks.filter((task) => !task.derived).map((task) => ({
        name: task.name,
        className: "answer",
        value: (row) => (row.answer ? this.share(row, task, categories) : -1),
        cell: (row) => (row.answer ? answered(row.answer.label_tasks[task.name]) : row.fault ? "" : "…"),
        hint: categories.includes(task.name) ? "sorts by the probability that it is there" : "sorts by the class, then its probability",
      })),
    ];
  }

  /** What a label task's column is sorted by. */
  share(row, task, categories) {
    const entry = row.answer.label_tasks[task.name];
    if (categories.includes(task.name)) return harm(this.model, row.answer.label_tasks, task.name);
    return task.classes.indexOf(entry.class) + entry.probabilities[entry.class] / 1.001;
  }

  showSoon() {
    this.timer ??= setTimeout(() => { this.timer = null; this.show(); }, 300);
  }

  sortBy(column) {
    this.down = this.sorted === column ? !this.down : typeof column.value(this.batch.rows[0] ?? { text: "", meme_id: "", place: 0 }) === "number";
    this.sorted = column;
    this.page = 0;
    this.show();
    byId("batch-table").querySelector(`th[data-column="${CSS.escape(column.name)}"] button`).focus();
  }

  show() {
    const { rows } = this.batch;
    const box = byId("batch-table");
    this.addresses.forEach((address) => URL.revokeObjectURL(address));
    this.addresses = [];
    if (!rows.length) return box.replaceChildren();
    const columns = this.columns.filter((column) => !column.when || column.when(rows));
    const shown = this.ordered(rows);
    const pages = Math.ceil(shown.length / ROWS_A_PAGE);
    this.page = Math.min(this.page, pages - 1);
    const part = shown.slice(this.page * ROWS_A_PAGE, (this.page + 1) * ROWS_A_PAGE);
    const head = h("tr", {}, h("th", { scope: "col" }, h("span", { className: "visually-hidden" }, "picture")), columns.map((column) => this.headCell(column)));
    const body = part.map((row) => h("tr", {}, h("td", {}, this.thumb(row)), columns.map((column) => h("td", { className: column.className ?? "", dir: column.className === "text" ? "auto" : null }, column.cell(row)))));
    return box.replaceChildren(
      h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Judged memes" }, h("table", {}, h("thead", {}, head), h("tbody", {}, body))),
      pages > 1 ? this.pager(pages) : "",
    );
  }

  ordered(rows) {
    if (!this.sorted) return rows;
    const { value } = this.sorted;
    const sign = this.down ? -1 : 1;
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    return rows.map((row) => [value(row), row]).sort((a, b) => sign * compare(a[0], b[0]) || a[1].place - b[1].place).map(([, row]) => row);
  }

  headCell(column) {
    const mine = this.sorted === column;
    const arrow = mine ? (this.down ? " ▼" : " ▲") : "";
    return h("th", { scope: "col", "data-column": column.name, "aria-sort": mine ? (this.down ? "descending" : "ascending") : "none" },
      h("button", { type: "button", title: column.hint ?? null, onclick: () => this.sortBy(column) }, said(column.name), h("span", { "aria-hidden": "true" }, arrow)));
  }

  thumb(row) {
    if (!row.image) return "";
    const image = h("img", { className: "thumb", alt: "", loading: "lazy" });
    row.image().then((blob) => {
      const address = URL.createObjectURL(blob);
      this.addresses.push(address);
      image.src = address;
    }, () => {}); // an image that can't be read has its fault in the row
    return image;
  }

  pager(pages) {
    const turn = (by) => () => { this.page += by; this.show(); byId("batch-table").scrollIntoView(); };
    return h("div", { className: "pager" },
      h("button", { type: "button", disabled: this.page === 0, onclick: turn(-1) }, "Previous"),
      `Page ${this.page + 1} of ${pages}`,
      h("button", { type: "button", disabled: this.page === pages - 1, onclick: turn(1) }, "Next"));
  }
}
