// Elements made from plain values. Data only ever becomes text: nothing here parses HTML.

/** An element with properties, listeners (`onclick`), ARIA and data attributes, and children (strings are text). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Text of a person, kept from reordering what stands around it. */
export const said = (text) => h("bdi", {}, text);

export const percent = (value) => `${(100 * value).toFixed(value > 0 && value < 0.01 ? 1 : 0)} %`;
export const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
export const counted = (number, one, many = one + "s") => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

/** A bar from 0 to a share. */
export function bar(share) {
  const fill = h("div", { className: "fill" });
  fill.style.insetInlineStart = "0";
  fill.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
  return h("div", { className: "track", "aria-hidden": "true" }, fill);
}

/** A bar from the middle, to the right above 0 and to the left below; `reach` fills a half. */
export function signedBar(value, reach) {
  const width = 50 * Math.min(1, Math.abs(value) / (reach || 1));
  const fill = h("div", { className: value < 0 ? "fill against" : "fill" });
  fill.style.left = `${value < 0 ? 50 - width : 50}%`;
  fill.style.width = `${width}%`;
  return h("div", { className: "track", "aria-hidden": "true" }, fill, h("div", { className: "middle" }));
}

/** Lets a person drop files on an element. */
export function dropZone(element, take) {
  element.addEventListener("dragover", (event) => { event.preventDefault(); element.classList.add("over"); });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
  });
}

/** Offers a blob as a file. */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = h("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
