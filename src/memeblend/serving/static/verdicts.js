// What a server with a policy says beyond probabilities.
import { verdictTag } from "./answers.js";
import { h, percent, said } from "./dom.js";

/** From the mildest to the gravest. */
export const VERDICT_ORDER = ["pass", "review", "auto"];

/** The verdict on a meme, "" from a server without a policy. */
export const verdictOf = (answer) => answer.policy?.verdict ?? "";

export function memeVerdict(answer) {
  const verdict = verdictOf(answer);
  if (!verdict) return null;
  const grave = Object.entries(answer.policy.categories).filter(([, one]) => one.verdict === verdict && verdict !== "pass");
  return h("p", { id: "verdict" }, "Verdict: ", verdictTag(verdict), grave.length ? " because of " : "", grave.flatMap(([name], place) => [place ? ", " : "", said(name)]));
}

export function taskVerdict(answer, name) {
  const one = answer.policy?.categories[name];
  return one ? verdictTag(one.verdict) : null;
}

/** The calibrated probability of a category, and the classes that the truth is likely among. */
export function intervalLine(answer, name) {
  const one = answer.policy?.categories[name];
  const set = answer.policy?.sets[name];
  const words = [];
  if (one?.interval) words.push(`Calibrated: ${percent(one.calibrated)} that it is there (95 % interval ${percent(one.interval[0])} to ${percent(one.interval[1])}). `);
  if (set) words.push("Not ruled out: ", ...set.flatMap((label, place) => [place ? ", " : "", said(label)]), ".");
  return words.length ? h("p", { className: "quiet small" }, words) : null;
}
