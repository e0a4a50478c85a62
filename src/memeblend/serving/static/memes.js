// From the files that a person chose to memes: [{ meme_id, text, image }], where `image` is null or gives a Blob, and `text` is null
// where nothing said what it is, so that the server may read it from the image.
import { counted } from "./dom.js";
import { BadTable, isTable, readTable } from "./tables.js";
import { BadZip, readZip } from "./zip.js";

const IMAGE = /\.(jpe?g|png|gif|webp|bmp|tiff?)$/i;
const MAX_TABLE_BYTES = 64 * 2 ** 20;
const HIDDEN = /(^|\/)(__MACOSX\/|\.)/;

/** What the files hold: { memes, problems }; problems are sentences. */
export async function gather(files) {
  const problems = [];
  const entries = [];
  for (const file of files) {
    if (!/\.zip$/i.test(file.name)) {
      entries.push({ name: file.webkitRelativePath || file.name, size: file.size, read: async () => file });
      continue;
    }
    try {
      entries.push(...(await readZip(file)));
    } catch (error) {
      if (!(error instanceof BadZip)) throw error;
      problems.push(`${file.name}: ${error.message}`);
    }
  }
  const seen = entries.filter((entry) => !HIDDEN.test(entry.name));
  const images = seen.filter((entry) => IMAGE.test(entry.name));
  const tables = seen.filter((entry) => isTable(entry.name));
  const others = seen.length - images.length - tables.length;
  if (others) problems.push(`${counted(others, "file")} of other kinds ${others === 1 ? "is" : "are"} left out (an archive in an archive is not opened).`);
  if (!tables.length) {
    return { memes: images.map((entry) => ({ meme_id: entry.name, text: null, image: entry.read })), problems };
  }
  const memes = [];
  for (const table of tables) memes.push(...(await ofTable(table, images, problems)));
  return { memes, problems };
}

async function ofTable(table, images, problems) {
  if (table.size > MAX_TABLE_BYTES) {
    problems.push(`${table.name} is larger than 64 MiB; cut it into parts.`);
    return [];
  }
  let found;
  try {
    const bytes = await (await table.read()).arrayBuffer();
    found = readTable(new TextDecoder("utf-8", { fatal: true }).decode(bytes), table.name);
  } catch (error) {
    if (error instanceof TypeError) problems.push(`${table.name} is not UTF-8; save it as UTF-8.`);
    else if (error instanceof BadTable || error instanceof BadZip) problems.push(`${table.name}: ${error.message}`);
    else throw error;
    return [];
  }
  problems.push(...found.problems);
  const byName = new Map(images.map((entry) => [entry.name, entry]));
  const byLast = new Map(images.map((entry) => [last(entry.name), entry]));
  return found.memes.flatMap((meme) => {
    if (!meme.image) return [{ ...meme, image: null }];
    const beside = table.name.includes("/") ? table.name.slice(0, table.name.lastIndexOf("/") + 1) : "";
    const entry = byName.get(beside + meme.image) ?? byName.get(meme.image) ?? byLast.get(last(meme.image));
    if (entry) return [{ ...meme, image: entry.read }];
    problems.push(`${table.name}: there is no image '${meme.image}' beside it.`);
    return [];
  });
}

const last = (name) => name.slice(name.lastIndexOf("/") + 1);
