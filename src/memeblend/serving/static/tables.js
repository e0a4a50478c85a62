// Tables of memes as text: .csv, .tsv and .jsonl read, .csv written. Columns are found by the names that
// `memeblend.data.inference` knows, so a table that `predict` reads is read here.

export const ROLES = {
  meme_id: ["meme_id", "id", "image_id", "img_id", "uid"],
  image: ["image", "img", "image_path", "img_path", "image_name", "img_name", "image_file", "img_file", "file_name", "filename", "file_path", "filepath", "path", "file", "picture"],
  text: ["ocr_text", "text_corrected", "text", "ocr", "text_ocr", "img_text", "text_transcription", "transcription", "caption", "captions"],
};

/** A table that can't be read; the message is a sentence. */
export class BadTable extends Error {}

export const isTable = (name) => /\.(csv|tsv|jsonl)$/i.test(name);

/** Rows of delimited text, quotes as RFC 4180 has them. */
export function parseDelimited(text, delimiter) {
  const rows = [];
  let row = [];
  let cell = "";
  let quoted = false;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text[at];
    if (quoted) {
      if (letter !== '"') cell += letter;
      else if (text[at + 1] === '"') { cell += '"'; at += 1; } else quoted = false;
    } else if (letter === '"' && cell === "") quoted = true;
    else if (letter === delimiter) { row.push(cell); cell = ""; }
    else if (letter === "\n" || letter === "\r") {
      if (letter === "\r" && text[at + 1] === "\n") at += 1;
      row.push(cell);
      if (row.length > 1 || row[0] !== "") rows.push(row);
      row = [];
      cell = "";
    } else cell += letter;
  }
  if (quoted) throw new BadTable("A quote in the table is never closed.");
  row.push(cell);
  if (row.length > 1 || row[0] !== "") rows.push(row);
  return rows;
}

const key = (name) => name.trim().toLowerCase().replace(/[\s-]+/g, "_");

function delimiterOf(text, name) {
  const expected = /\.tsv$/i.test(name) ? "\t" : ",";
  const first = text.replace(/^[\r\n]+/, "").split(/[\r\n]/, 1)[0];
  const width = (delimiter) => first.split(delimiter).length;
  return [expected, ",", "\t", ";", "|"].reduce((best, one) => (width(one) > width(best) ? one : best));
}

function recordsOf(text, name, problems) {
  if (/\.jsonl$/i.test(name)) {
    return text.split("\n").flatMap((line, number) => {
      if (!line.trim()) return [];
      try {
        const value = JSON.parse(line);
        if (value && typeof value === "object" && !Array.isArray(value)) return [value];
      } catch { /* told below */ }
      problems.push(`${name} line ${number + 1} is not a JSON object.`);
      return [];
    });
  }
  const [header, ...rows] = parseDelimited(text, delimiterOf(text, name));
  if (!header) throw new BadTable(`'${name}' is empty.`);
  return rows.flatMap((row, number) => {
    if (row.length !== header.length) {
      problems.push(`${name} row ${number + 2} has ${row.length} cells, expected ${header.length}.`);
      return [];
    }
    return [Object.fromEntries(header.map((column, place) => [column, row[place]]))];
  });
}

/** Memes of a table: { memes: [{ meme_id, image, text }], problems }; `image` is "" and `text` null where the table has none. */
export function readTable(text, name) {
  const problems = [];
  const records = recordsOf(text.replace(/^\ufeff/, ""), name, problems);
  const spelled = new Map(records.flatMap((record) => Object.keys(record)).reverse().map((column) => [key(column), column]));
  const columns = Object.fromEntries(Object.entries(ROLES).map(([role, names]) => [role, spelled.get(names.find((one) => spelled.has(one)))]));
  if (records.length && !columns.image && !columns.text) {
    throw new BadTable(`'${name}' has neither a column of images nor one of texts; its columns are ${[...spelled.values()].slice(0, 20).join(", ")}.`);
  }
  const cell = (record, role) => (columns[role] === undefined || record[columns[role]] == null ? "" : String(record[columns[role]]));
  const memes = records.map((record, number) => ({
    meme_id: cell(record, "meme_id").trim() || cell(record, "image").trim() || String(number + 1),
    image: cell(record, "image").trim(),
    text: columns.text === undefined ? null : cell(record, "text"),
  }));
  return { memes, problems };
}

/** Rows of cells as CSV; every cell is quoted, so that no text ends a row. */
export const writeCsv = (rows) => rows.map((row) => row.map((cell) => `"${String(cell ?? "").replaceAll('"', '""')}"`).join(",") + "\n").join("");
