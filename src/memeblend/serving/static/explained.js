// An explanation of `/v1/explain` as elements, label task by label task.
import { h, percent, said, signed, signedBar } from "./dom.js";
import { wordHeat } from "./heat.js";

const METHODS = {
  occlusion: "left out one by one",
  integrated_gradients: "integrated gradients",
  rollout: "attention",
  linear: "weights of n-grams",
};

const named = (one) => `${one.of === "ensemble" ? "all members" : one.of}, ${METHODS[one.method] ?? one.method}`;

function select(label, options, onchange) {
  const made = h("select", { onchange: () => onchange(made.value) }, options.map(([value, text]) => h("option", { value }, text)));
  return { made, labelled: h("label", { className: "light" }, `${label} `, made) };
}

/**
 * The choices of what the heat shows.
 * `onshow` gets the elements of the words and the scores of the patches (null where images are not read).
 */
export function heatChoices(explanation, onshow) {
  const tasks = Object.keys(explanation.label_tasks);
  let task = tasks[0];
  let listener = () => {};
  const of = () => explanation.label_tasks[task].attributions;
  const show = () => {
    const one = of()[Number(method.made.value)];
    onshow(one.words ? wordHeat(explanation.words, one.words) : [h("p", { className: "quiet small" }, "It reads no text.")], one.patches);
  };
  const choose = (name) => {
    task = name;
    method.made.replaceChildren(...of().map((one, place) => h("option", { value: place }, named(one))));
    listener(task);
    show();
  };
  const method = select("by", [], show);
  const which = select("Heat for", tasks.map((name) => [name, name]), choose);
  const off = h("label", { className: "light" }, h("input", { type: "checkbox", checked: true, onchange: ({ target }) => (target.checked ? show() : onshow([], null)) }), " show");
  return {
    controls: [which.labelled, method.labelled, off],
    showTask: (call) => { listener = call; },
    start: () => choose(task),
  };
}

function split(one) {
  const terms = [["Text alone", one.text], ["Image alone", one.image], ["Both together", one.interaction]];
  const reach = Math.max(0.05, ...terms.map(([, value]) => Math.abs(value)));
  const rows = terms.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, signedBar(value, reach)), h("dd", { className: "number" }, signed(value))]);
  return [
    h("dl", { className: "bars split" }, rows),
    h("p", { className: "quiet small" },
      `${percent(one.baseline)} without the meme, ${percent(one.value)} with it. `,
      `Sharing “both together” evenly (Shapley): text ${signed(one.shapley.text)}, image ${signed(one.shapley.image)}.`),
  ];
}

function without(found) {
  const likeliest = (shares) => Object.entries(shares).reduce((most, one) => (one[1] > most[1] ? one : most));
  const line = (gone, shares) => {
    const [label, share] = likeliest(shares);
    return h("li", {}, `Without the ${gone}: `, said(label), ` (${percent(share)})`, label === found.class ? ", as before" : ", something else");
  };
  return h("ul", { className: "plain-list" }, line("text", found.alone.image), line("image", found.alone.text));
}

function members(found) {
  const rows = Object.entries(found.members).map(([name, vote]) =>
    h("li", {}, said(name), " votes ", said(vote.class), ` (${percent(vote.probabilities[vote.class])})`,
      vote.pivotal ? h("strong", {}, "; without it: ", said(vote.without)) : ""));
  return h("ul", { className: "plain-list" }, rows);
}

function precedents(found, name) {
  const lists = Object.entries(found.precedents).map(([member, memes]) => [
    h("p", { className: "small quiet" }, `Remembered by ${member}:`),
    h("ol", { className: "plain-list" }, memes.map((one) =>
      h("li", {}, said(one.meme_id), ": ", said(one.labels[name] ?? "no label"), ` (similarity ${one.similarity.toFixed(2)})`))),
  ]);
  if (!lists.length) return [h("p", { className: "quiet small" }, "No member of this model remembers labelled memes (a knn member does).")];
  return lists.flat();
}

/** The explanation; `onTask` is given a function to call with the label task to show. */
export function explanationBox(explanation, onTask) {
  const body = h("div");
  onTask((name) => {
    const found = explanation.label_tasks[name];
    body.replaceChildren(
      h("h3", {}, "What speaks for ", said(`${name}: ${found.explained_class}`)),
      h("p", { className: "small" }, h("span", { className: "legend for" }), " for   ", h("span", { className: "legend against" }), " against"),
      h("div", { id: "word-heat" }),
      h("h3", {}, "Text and image"), ...split(found.modalities[found.explained_class]), without(found),
      h("p", { className: "small" }, `Irony index ${found.irony.toFixed(2)}: how far the answer departs from every compromise between text and image.`),
      h("h3", {}, "Votes"), members(found),
      h("h3", {}, "Nearest labelled memes"), ...precedents(found, name),
    );
  });
  const notes = explanation.notes.map((note) => h("li", {}, note));
  return h("div", { id: "explanation" }, body, notes.length ? h("details", {}, h("summary", {}, "What to know of it"), h("ul", { className: "plain-list" }, notes)) : null);
}
