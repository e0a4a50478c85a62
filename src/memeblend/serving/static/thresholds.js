// The tab for limits and costs: what they imply on the validation memes, and the policy that the server follows.
import { ask, sentence } from "./api.js";
import { byId, counted, download, h, percent, said } from "./dom.js";

const COSTS = [["false_alarm", "False alarm"], ["miss", "Miss"], ["review", "Review"]];
const COSTS_AT_FIRST = { false_alarm: 1, miss: 1, review: 0.2 };
const WAIT_MS = 150;

export function startThresholds() {
  const tab = new Thresholds();
  document.addEventListener("tab", ({ detail }) => detail === "thresholds" && tab.open());
}

class Thresholds {
  constructor() {
    this.opened = false;
    this.timer = null;
    this.turn = 0;
    this.cards = new Map();
  }

  async open() {
    if (this.opened) return;
    this.opened = true;
    const box = byId("thresholds");
    box.replaceChildren(h("p", { role: "status" }, "Fitting a proposal to the validation memes …"));
    try {
      this.begin(await ask("/ui/policy"));
    } catch (error) {
      this.opened = false;
      box.replaceChildren(h("div", { className: "notice bad", role: "alert" }, sentence(error)));
    }
  }

  /** Show what the server follows, and beside it what could be. */
  begin(state) {
    this.state = state;
    const box = byId("thresholds");
    const source = state.policy ?? state.proposal;
    if (!source || !state.has_validation) {
      box.replaceChildren(h("div", { className: "card" }, h("h2", {}, "No thresholds to set"),
        h("p", {}, state.has_validation
          ? "No label task of this model is binary or has intensity levels with enough labelled validation memes."
          : "This model's folder holds nothing of its validation memes, so nothing says what a threshold would imply. Fit the model anew to have it.")));
      return;
    }
    this.policy = structuredClone(source);
    this.spare = { ...structuredClone(state.proposal?.categories ?? {}) };
    const names = [...new Set([...Object.keys(this.spare), ...Object.keys(this.policy.categories)])];
    this.cards = new Map(names.map((name) => [name, new CategoryCard(name, this)]));
    box.replaceChildren(this.head(), ...[...this.cards.values()].map((card) => card.element));
    this.implySoon();
  }

  head() {
    const { policy, has_file: hasFile, fits } = this.state;
    const now = policy ? (fits ? "The server follows this policy." : "The server follows this policy, which was fitted on another model.") : "The server follows no policy yet; this is a proposal, calibrated on the validation memes.";
    return h("div", { className: "card" },
      h("h2", {}, "What is done about memes"),
      h("p", { id: "policy-state", className: fits ? "" : "notice warn" }, now),
      h("p", { className: "quiet small" }, "Below the lower limit a meme passes, from the upper limit it is acted on automatically, between them a person looks. Limits are on calibrated probabilities."),
      h("dl", { className: "facts", id: "policy-facts", "aria-live": "polite" }),
      h("div", { className: "row" },
        h("button", { type: "button", className: "main-button", id: "policy-apply", onclick: () => this.apply() }, hasFile ? "Apply and save" : "Apply to this server"),
        h("button", { type: "button", id: "policy-download", onclick: () => this.download() }, "Download policy.toml"),
        h("button", { type: "button", onclick: () => { this.opened = false; this.open(); } }, "Start over")),
      h("p", { id: "policy-line", role: "status", className: "small" }, hasFile ? "" : "The server was started without --policy FILE, so a policy applied here ends with it; download the file to keep it."));
  }

  say(words, bad = false) {
    byId("policy-line").className = bad ? "notice bad" : "small";
    byId("policy-line").textContent = words;
  }

  /** Something was moved. */
  changed() {
    byId("policy-state").textContent = this.state.policy
      ? "Changed here and not applied: the server follows its policy as it was."
      : "Changed here and not applied: the server follows no policy.";
    this.implySoon();
  }

  /** Ask what is shown implies, once the hand rests. */
  implySoon() {
    clearTimeout(this.timer);
    this.turn += 1;
    this.timer = setTimeout(() => this.imply(this.turn), WAIT_MS);
  }

  async imply(turn) {
    try {
      const { implied } = await ask("/ui/policy/implied", { body: { policy: this.policy } });
      if (turn !== this.turn) return;
      byId("policy-download").disabled = byId("policy-apply").disabled = false;
      if (byId("policy-line").className !== "small") this.say("");
      const { auto, review, pass } = implied.memes;
      byId("policy-facts").replaceChildren(
        fact("For review", share(review), `${counted(review.num, "meme")} of ${review.num_memes}`),
        fact("Acted on", share(auto), `${counted(auto.num, "meme")} of ${auto.num_memes}`),
        fact("Passed", share(pass), `${counted(pass.num, "meme")} of ${pass.num_memes}`));
      for (const [name, card] of this.cards) card.show(implied.categories[name]);
    } catch (error) {
      if (turn !== this.turn) return;
      byId("policy-download").disabled = byId("policy-apply").disabled = true;
      this.say(sentence(error), true);
    }
  }

  /** The file of what is shown, which the answer on its way may not know yet. */
  async download() {
    try {
      const { toml } = await ask("/ui/policy/implied", { body: { policy: this.policy } });
      download(new Blob([toml], { type: "application/toml" }), "policy.toml");
    } catch (error) {
      this.say(sentence(error), true);
    }
  }

  async apply() {
    try {
      const sent = this.turn;
      this.state = await ask("/ui/policy", { body: { policy: this.policy } });
      if (sent === this.turn) byId("policy-state").textContent = "The server follows this policy.";
      this.say(this.state.has_file ? "Applied, and written to the server's policy file. Memes judged before keep their verdicts until they are asked about again." : "Applied. Download the file to keep it: the server was started without --policy FILE.");
    } catch (error) {
      this.say(sentence(error), true);
    }
  }
}

const share = (one) => (one.share === null ? "none" : percent(one.share));
const within = (one) => (one.interval && one.share !== null ? `${percent(one.interval[0])} to ${percent(one.interval[1])}` : "too few memes");
const fact = (name, value, note) => h("div", {}, h("dt", {}, name), h("dd", {}, value, h("small", {}, note)));

/** One category: whether it is decided on, its limits as sliders, its costs, and what they imply. */
class CategoryCard {
  constructor(name, tab) {
    this.name = name;
    this.tab = tab;
    this.facts = h("dl", { className: "facts" });
    this.by = h("p", { className: "quiet small" });
    const id = (what) => `${what}-${name}`;
    this.low = this.slider(id("low"), "Review from", "low");
    this.high = this.slider(id("high"), "Act from", "high");
    this.costs = COSTS.map(([key, label]) => {
      const input = h("input", { type: "number", id: id(key), min: "0", step: "0.1", value: this.category?.cost?.[key] ?? COSTS_AT_FIRST[key], oninput: () => this.setCosts() });
      return { key, input, label: h("label", { className: "light small", htmlFor: id(key) }, `${label} `, input) };
    });
    this.used = h("input", { type: "checkbox", checked: Boolean(this.category), onchange: () => this.use(this.used.checked) });
    this.body = h("div", {}, this.low.row, this.high.row, this.by,
      h("fieldset", { className: "row costs" }, h("legend", {}, "Costs"), this.costs.map((one) => one.label)), this.facts);
    this.body.hidden = !this.category;
    this.element = h("section", { className: "card", "data-category": name },
      h("div", { className: "task-head" }, h("h3", {}, said(name)), h("label", { className: "light" }, this.used, " decide on it")), this.body);
  }

  get category() { return this.tab.policy.categories[this.name]; }

  slider(id, label, which) {
    const input = h("input", { type: "range", id, min: "0", max: "1", step: "0.005", oninput: () => this.setBand(which) });
    const output = h("output", { htmlFor: id });
    return { input, output, row: h("div", { className: "slider" }, h("label", { className: "light", htmlFor: id }, label), input, output) };
  }

  /** Decide on the category, or leave it out of the policy. */
  use(yes) {
    if (yes) this.tab.policy.categories[this.name] = this.tab.spare[this.name];
    else {
      this.tab.spare[this.name] = this.category;
      delete this.tab.policy.categories[this.name];
    }
    this.body.hidden = !yes;
    this.tab.changed();
  }

  /** Limits by hand: the two never pass each other. */
  setBand(which) {
    let [low, high] = [Number(this.low.input.value), Number(this.high.input.value)];
    if (low > high) [low, high] = which === "low" ? [low, low] : [high, high];
    delete this.category.threshold;
    this.category.band = [low, high];
    this.showLimits([low, high]);
    this.tab.changed();
  }

  /** Limits by costs. */
  setCosts() {
    const given = Object.fromEntries(this.costs.map(({ key, input }) => [key, input.valueAsNumber]));
    const bad = this.costs.filter(({ key, input }) => !(key === "review" ? input.valueAsNumber >= 0 : input.valueAsNumber > 0));
    this.costs.forEach(({ input }) => input.setAttribute("aria-invalid", "false"));
    bad.forEach(({ input }) => input.setAttribute("aria-invalid", "true"));
    if (bad.length) {
      this.tab.say(`${this.name}: a false alarm and a miss cost more than 0, a review 0 or more.`, true);
      return;
    }
    this.category.cost = given;
    delete this.category.band;
    delete this.category.threshold;
    this.tab.changed();
  }

  showLimits([low, high]) {
    this.low.input.value = low;
    this.high.input.value = high;
    this.low.output.textContent = percent(low);
    this.high.output.textContent = percent(high);
    this.by.textContent = this.category?.band || this.category?.threshold !== undefined ? "Limits are set by hand; change a cost to let them follow from costs." : "Limits follow from the costs: the cheapest of acting, reviewing and passing. Move a slider to set them by hand.";
  }

  /** What the current policy implies for the category; undefined where it is left out. */
  show(implied) {
    if (!implied) return;
    this.showLimits(implied.limits);
    const { verdicts, auto, auto_or_review: both, cost } = implied;
    const dear = cost && Math.min(...Object.values(cost.alternatives));
    this.facts.replaceChildren(
      fact("Queue for review", share(verdicts.review), `${counted(verdicts.review.num, "meme")} of ${verdicts.review.num_memes}`),
      fact("Acted on", share(verdicts.auto), counted(verdicts.auto.num, "meme")),
      fact("Precision, acted on", share(auto.precision), within(auto.precision)),
      fact("Recall, acted on", share(auto.recall), within(auto.recall)),
      fact("Recall with review", share(both.recall), within(both.recall)),
      ...(cost ? [fact("Cost a meme", cost.per_meme.toFixed(3), `${dear.toFixed(3)} with one verdict for all`)] : []));
  }
}
