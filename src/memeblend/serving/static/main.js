// The page's beginning: tabs, and what the server is.
import { ask, sentence } from "./api.js";
import { startBatch } from "./batch.js";
import { byId } from "./dom.js";
import { startMeme } from "./meme.js";
import { startReview } from "./review.js";
import { startThresholds } from "./thresholds.js";

const tabs = [...document.querySelectorAll("[role=tab]")];

function show(tab, focus = false) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", String(chosen));
    one.tabIndex = chosen ? 0 : -1;
    byId(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  const name = tab.id.slice(4);
  if (location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
  document.dispatchEvent(new CustomEvent("tab", { detail: name }));
}

function startTabs() {
  tabs.forEach((tab, place) => {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(tabs[(to + tabs.length) % tabs.length], true);
    });
  });
  const named = () => tabs.find((tab) => tab.id === `tab-${location.hash.slice(1)}`);
  addEventListener("hashchange", () => named() && show(named()));
  show(named() ?? tabs[0]);
}

// A file that misses its zone would otherwise take the page's place.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());

async function start() {
  const [model, state] = await Promise.all([ask("/v1/model"), ask("/ui/state")]);
  byId("model-name").textContent = model.model;
  const server = { model, state };
  startMeme(server);
  const batch = startBatch(server);
  startReview(server, batch);
  startThresholds(server);
  startTabs();
  document.documentElement.dataset.ready = "true";
}

start().catch((error) => {
  byId("fault").hidden = false;
  byId("fault").textContent = `The page could not start. ${sentence(error)}`;
});
