// The meme as the encoders see it, and the heat of an explanation over its patches and words.
import { h } from "./dom.js";

const FOR = [91, 143, 191];
const AGAINST = [200, 116, 58];
const GREY = "rgb(128, 128, 128)";
const MOST = 0.72; // of opacity, so that the picture shows through

/** Draw an image into the square canvas as the encoders' square holds it; `fit` is "letterbox" or "crop". */
export function drawMeme(canvas, image, fit) {
  const context = canvas.getContext("2d");
  const side = canvas.width;
  context.fillStyle = GREY;
  context.fillRect(0, 0, side, side);
  if (!image) return;
  const choose = fit === "crop" ? Math.min : Math.max;
  const scale = side / choose(image.width, image.height);
  const [width, height] = [image.width * scale, image.height * scale];
  context.drawImage(image, (side - width) / 2, (side - height) / 2, width, height);
}

const largest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

const colour = (value, most) => {
  const [red, green, blue] = value < 0 ? AGAINST : FOR;
  return `rgba(${red}, ${green}, ${blue}, ${most ? (MOST * Math.abs(value)) / most : 0})`;
};

/** Lay the scores of patches over what `drawMeme` drew. */
export function drawHeat(canvas, patches) {
  const context = canvas.getContext("2d");
  const side = canvas.width / patches.length;
  const most = largest(patches.flat());
  patches.forEach((row, down) => row.forEach((value, across) => {
    context.fillStyle = colour(value, most);
    context.fillRect(across * side, down * side, side, side);
  }));
}

/** The text's words on the colour of their scores, and the strongest in words. */
export function wordHeat(words, scores) {
  const most = largest(scores);
  const line = h("p", { className: "words", dir: "auto", "aria-hidden": "true" });
  words.forEach((word, place) => {
    const span = h("span", { title: scores[place].toFixed(3) }, word);
    span.style.backgroundColor = colour(scores[place], most);
    line.append(span, " ");
  });
  const ranked = words.map((word, place) => [word, scores[place]]).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const told = ranked.slice(0, 3).filter(([, score]) => score !== 0);
  const strongest = h("p", { className: "quiet small" }, told.length ? "Strongest: " : "No word changes anything.");
  told.forEach(([word, score], place) => {
    strongest.append(place ? ", " : "", h("bdi", {}, word), ` (${score < 0 ? "against" : "for"}, ${score.toFixed(2)})`);
  });
  return [line, strongest];
}
