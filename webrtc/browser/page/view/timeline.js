// What happened in the last 30 seconds of a call, as data: loudness, spans of speech, and marks. Draws nothing.

export const SPAN_MS = 30_000;
const KEPT_MS = SPAN_MS + 5_000;
const DECISIONS = ["duck", "mute", "cut", "resume"];

/** Times are in ms on the page's clock. A span that still goes on has `toMs` null. */
export class Timeline {
  levels = []; // {atMs, you, agent}, each level 0 to 1
  speech = []; // {fromMs, toMs}: the caller's speech, by the agent's voice activity detection
  voice = []; // {fromMs, toMs, isDucked}: the agent's speech
  marks = []; // {atMs, fromMs, kind, label}: decisions and latencies

  clear() {
    for (const list of [this.levels, this.speech, this.voice, this.marks]) list.length = 0;
  }

  addLevels(you, agent, atMs) {
    this.levels.push({ atMs, you, agent });
    this.#forget(atMs - KEPT_MS);
  }

  setSpeech(isSpeech, atMs) {
    const isOpen = this.speech.at(-1)?.toMs === null;
    if (isSpeech === isOpen) return;
    if (isSpeech) this.speech.push({ fromMs: atMs, toMs: null });
    else this.speech.at(-1).toMs = atMs;
  }

  setState(state, atMs) {
    const open = this.voice.at(-1)?.toMs === null ? this.voice.at(-1) : null;
    const isVoice = state === "speaking" || state === "ducked";
    const isDucked = state === "ducked";
    if (open && isVoice && open.isDucked === isDucked) return;
    if (open) open.toMs = atMs;
    if (isVoice) this.voice.push({ fromMs: atMs, toMs: null, isDucked });
  }

  /** `decision` is one of DECISIONS; `latencyMs` counts from the caller's first sound and may be null. */
  addDecision(decision, latencyMs, atMs) {
    if (DECISIONS.includes(decision)) this.#mark(decision, decision, latencyMs, atMs);
  }

  /** A reply's latency: from the end of the caller's speech to the first sound of the answer. */
  addLatency(name, ms, atMs) {
    if (ms !== null) this.#mark("latency", name, ms, atMs);
  }

  /** Closes what is still open, at the end of a call. */
  end(atMs) {
    this.setSpeech(false, atMs);
    this.setState("ended", atMs);
  }

  #mark(kind, name, ms, atMs) {
    this.marks.push({ kind, atMs, fromMs: atMs - (ms ?? 0), label: ms === null ? name : `${name} ${ms} ms` });
  }

  #forget(beforeMs) {
    const drop = (list, endMs) => {
      const kept = list.findIndex((item) => endMs(item) >= beforeMs);
      list.splice(0, kept < 0 ? list.length : kept);
    };
    drop(this.levels, (item) => item.atMs);
    drop(this.marks, (item) => item.atMs);
    for (const spans of [this.speech, this.voice]) drop(spans, (item) => item.toMs ?? Infinity);
  }
}
