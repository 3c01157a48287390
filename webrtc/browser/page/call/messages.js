// The data channel's language: RTVI (https://docs.pipecat.ai/client/rtvi-standard) and Parley's own server messages.
//
// Both become one list of events for the page, so that it works with any Pipecat bot and shows more of Parley. Parley
// tells state, speech and words itself, exactly; from its first message on, RTVI's versions of these are left aside.

const LABEL = "rtvi-ai";
const RTVI_VERSION = "2.0.0";

export const clientReady = () => ({
  label: LABEL,
  type: "client-ready",
  id: crypto.randomUUID?.() ?? String(Math.random()),
  data: { version: RTVI_VERSION, about: { library: "parley-page" } },
});

/** Maps the server's call time to the page's clock by the message that was under way for the shortest time. */
class ServerClock {
  #offsetMs = Infinity;

  toPage(callMs, nowMs) {
    if (!Number.isFinite(callMs)) return nowMs;
    this.#offsetMs = Math.min(this.#offsetMs, nowMs - callMs);
    return callMs + this.#offsetMs;
  }
}

const text = (value) => (typeof value === "string" ? value : "");
const milliseconds = (value) => (Number.isFinite(value) ? Math.round(value) : null);
const strings = (value) => (Array.isArray(value) ? value.filter((item) => item && typeof item === "string") : []);

const SIGNALLING = {
  peerLeft: () => ({ kind: "left" }),
};

const RTVI = {
  "bot-ready": () => ({ kind: "ready" }),
  "user-transcription": (data) => ({ kind: "transcript", text: text(data.text), isFinal: data.final === true }),
  "bot-interrupted": () => ({ kind: "mute" }),
  error: (data) => ({ kind: "problem", isFatal: data.fatal === true }),
};

const RTVI_WITHOUT_PARLEY = {
  "user-started-speaking": () => ({ kind: "speech", isSpeech: true }),
  "user-stopped-speaking": () => ({ kind: "speech", isSpeech: false }),
  "bot-llm-started": () => ({ kind: "state", state: "thinking" }),
  "bot-started-speaking": () => ({ kind: "state", state: "speaking" }),
  "bot-stopped-speaking": () => ({ kind: "state", state: "listening" }),
  "bot-tts-text": (data) => ({ kind: "heard", text: ` ${text(data.text).trim()}`, utterance: null }),
  "bot-interrupted": () => ({ kind: "interrupted", utterance: null, heard: "" }),
};

const PARLEY = {
  about: (data) => ({
    kind: "about",
    agent: text(data.agent),
    engine: text(data.engine),
    note: text(data.note),
    phrases: strings(data.suggestions),
  }),
  vad: (data) => ({ kind: "speech", isSpeech: data.is_speech === true }),
  state: (data) => ({ kind: "state", state: text(data.state) }),
  decision: (data) => ({
    kind: "decision",
    decision: text(data.decision),
    reason: text(data.reason),
    latencyMs: milliseconds(data.latency_ms),
  }),
  heard: (data) => ({ kind: "heard", text: text(data.text), utterance: data.utterance ?? null }),
  interrupted: (data) => ({ kind: "interrupted", utterance: data.utterance ?? null, heard: text(data.heard) }),
  latency: (data) => ({ kind: "latency", name: text(data.name), ms: milliseconds(data.ms) }),
};

const eventsOf = (type, tables, data, atMs) =>
  tables.filter((table) => Object.hasOwn(table, type)).map((table) => ({ ...table[type](data), atMs }));

/** Reads the messages of one call. */
export class MessageReader {
  #clock = new ServerClock();
  #isParley = false;

  /** The events of one message, each with `kind` and `atMs` on the page's clock; none if it is not understood. */
  read(message, nowMs) {
    let parsed;
    try {
      parsed = JSON.parse(message);
    } catch {
      return [];
    }
    if (parsed?.type === "signalling") return eventsOf(parsed.message?.type, [SIGNALLING], {}, nowMs);
    if (parsed?.label !== LABEL) return [];
    const data = parsed.data ?? {};
    if (parsed.type === "server-message" && data.type === "parley") {
      this.#isParley = true;
      return eventsOf(data.event, [PARLEY], data, this.#clock.toPage(data.t_ms, nowMs));
    }
    return eventsOf(parsed.type, this.#isParley ? [RTVI] : [RTVI, RTVI_WITHOUT_PARLEY], data, nowMs);
  }
}
