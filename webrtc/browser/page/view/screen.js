// The call card and the texts around it: what the caller sees and sets, apart from captions and timeline.

import { describe } from "../call/problems.js";

const STATES = {
  idle: "Ready",
  connecting: "Connecting",
  listening: "Listening",
  thinking: "Thinking",
  speaking: "Speaking",
  ducked: "Ducked",
  muted: "Paused",
  ended: "Ended",
};

const element = (id) => document.getElementById(id);

const clock = (ms) => {
  const seconds = Math.floor(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
};

export class Screen {
  #choice = { microphone: element("microphone"), headphones: element("headphones") };

  /** @param {{call(), choice(change)}} on the caller pressed the button, or chose: {deviceId} or {hasHeadphones}. */
  constructor(on) {
    element("call").addEventListener("click", () => on.call());
    const { microphone, headphones } = this.#choice;
    microphone.addEventListener("change", () => on.choice({ deviceId: microphone.value }));
    headphones.addEventListener("change", () => on.choice({ hasHeadphones: headphones.checked }));
  }

  /** Shows the choice among the microphones; an empty deviceId means the browser's default. */
  setChoice({ deviceId, hasHeadphones }, microphones) {
    const options = microphones.map(({ label, deviceId: id }) => new Option(label, id));
    const { microphone, headphones } = this.#choice;
    if (!microphones.some(({ deviceId: id }) => id === "default")) options.unshift(new Option("Default", ""));
    microphone.replaceChildren(...options);
    microphone.value = deviceId;
    if (microphone.selectedIndex < 0) microphone.selectedIndex = 0;
    headphones.checked = hasHeadphones;
  }

  /** @param {"idle"|"calling"|"ended"} phase */
  setPhase(phase) {
    const button = element("call");
    const isCalling = phase === "calling";
    button.textContent = isCalling ? "Hang up" : phase === "ended" ? "Call again" : "Call";
    button.classList.toggle("hang-up", isCalling);
    document.body.dataset.phase = phase;
  }

  get state() {
    return element("state").dataset.state;
  }

  /** One of the states above; any other is ignored. */
  setState(state) {
    if (!Object.hasOwn(STATES, state)) return;
    const pill = element("state");
    pill.dataset.state = state;
    pill.textContent = STATES[state];
    element("orb").dataset.state = state;
  }

  setDetail(text) {
    const detail = element("detail");
    if (detail.textContent !== text) detail.textContent = text;
  }

  showProblem(kind) {
    const { title, advice } = describe(kind);
    const strong = document.createElement("strong");
    strong.textContent = title;
    element("problem").replaceChildren(strong, ` ${advice}`);
    element("problem").dataset.kind = kind;
  }

  /** Takes the problem away; with a `kind` only if it is that one. */
  clearProblem(kind = element("problem").dataset.kind) {
    if (element("problem").dataset.kind !== kind) return;
    element("problem").replaceChildren();
    delete element("problem").dataset.kind;
  }

  /** @param {number|null} ms null hides the length of the call */
  setDuration(ms) {
    element("duration").hidden = ms === null;
    if (ms !== null) element("duration").textContent = clock(ms);
  }

  /** Loudness of both sides, 0 to 1. */
  setLevels(you, agent) {
    element("level").value = you;
    const isAgent = ["speaking", "ducked", "muted"].includes(this.state);
    element("orb").style.setProperty("--level", (isAgent ? agent : you).toFixed(3));
  }

  setDecision(text) {
    element("decision").textContent = text;
  }

  /** What the agent is, and what can be said to it. */
  setAbout({ agent, engine, note, phrases }) {
    element("engine").textContent = [agent !== document.title && agent, engine].filter(Boolean).join(" · ");
    element("note").textContent = note && `${note[0].toUpperCase()}${note.slice(1).replace(/\.?$/, ".")}`;
    element("phrases").replaceChildren(
      ...phrases.map((phrase) => Object.assign(document.createElement("li"), { textContent: phrase })),
    );
    element("suggestions").hidden = !phrases.length && !note;
  }
}
