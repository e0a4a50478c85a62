// What the model says of a meme, as elements.
import { bar, h, percent, said } from "./dom.js";

const VERDICTS = { auto: "acted on automatically", review: "for review", pass: "passes" };

export const categoryNames = (model) => model.categories.map((category) => category.name);

/** Probability that a category is there: all classes but the first. */
export function harm(model, labels, name) {
  const { classes } = model.label_tasks.find((task) => task.name === name);
  return classes.slice(1).reduce((sum, one) => sum + labels[name].probabilities[one], 0);
}

/** How far the two likeliest classes are apart: small where the model is unsure. */
export function margin(entry) {
  const [first, second] = Object.values(entry.probabilities).sort((a, b) => b - a);
  return first - (second ?? 0);
}

export function verdictTag(verdict) {
  return h("span", { className: `verdict ${verdict}` }, VERDICTS[verdict] ?? verdict);
}

/** A label task's class, bars and votes. */
export function taskBox(name, entry, beside = null, below = null) {
  const bars = h("dl", { className: "bars" });
  for (const [label, value] of Object.entries(entry.probabilities)) {
    const decided = label === entry.class ? " decided" : "";
    bars.append(
      h("dt", { className: decided.trim() }, said(label)),
      h("dd", {}, bar(value)),
      h("dd", { className: `number${decided}` }, percent(value)),
    );
  }
  const votes = Object.entries(entry.votes ?? {}).map(([member, label]) => h("li", {}, said(member), ": ", said(label)));
  const agreeing = Object.values(entry.votes ?? {}).filter((label) => label === entry.class).length;
  return h(
    "section", { className: "task", "data-task": name },
    h("div", { className: "task-head" },
      h("h3", {}, said(name), ": ", said(entry.class)), beside),
    bars,
    votes.length
      ? h("details", {}, h("summary", {}, `${agreeing} of ${votes.length} members vote so`), h("ul", { className: "plain-list" }, votes))
      : null,
    below,
  );
}
