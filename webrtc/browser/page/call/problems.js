// What can go wrong for a caller, told in the caller's words: what happened, then what to do.

const ADVICE = {
  "insecure-page": [
    "The microphone is not available here",
    "Browsers share the microphone only over https or on localhost. Open this page from one of these.",
  ],
  "microphone-denied": [
    "The microphone is blocked",
    "Allow the microphone for this page in the browser's address bar, then call again.",
  ],
  "microphone-missing": ["No microphone was found", "Connect a microphone, then call again."],
  "microphone-busy": [
    "The microphone could not be opened",
    "Another program may be using it. Close that program or choose another microphone, then call again.",
  ],
  full: ["All lines are busy", "Every line of this server is in use. Try again in a minute."],
  "rate-limited": ["Too many calls from here", "Wait a minute, then call again."],
  unauthorized: ["This link is not valid any more", "The server did not accept its token. Ask for a new link."],
  "not-allowed-here": [
    "This server takes no calls from this address",
    "Open the page at the server's own address, or ask whoever runs it to add this one to allowed_origins.",
  ],
  refused: ["The server did not take the call", "Try again. If it keeps happening, tell whoever runs this server."],
  unreachable: ["The server cannot be reached", "Check your connection, then call again."],
  "no-connection": [
    "No audio connection could be made",
    "A firewall or a private network may block UDP between you and the server. Try another network.",
  ],
  lost: ["The connection was lost", "Check your network, then call again."],
  "sound-blocked": ["The browser holds back the sound", "Click anywhere or press a key to hear the agent."],
  agent: ["The agent has a problem", "You can keep talking. If it does not answer, hang up and call again."],
};

const OF_STATUS = { 401: "unauthorized", 403: "not-allowed-here", 429: "rate-limited", 503: "full" };

const OF_CAPTURE_ERROR = {
  NotAllowedError: "microphone-denied",
  SecurityError: "microphone-denied",
  NotFoundError: "microphone-missing",
  OverconstrainedError: "microphone-missing",
};

/** A reason why a call cannot start or go on; `kind` is a key of the table above. */
export class CallProblem extends Error {
  constructor(kind, cause) {
    super(kind, { cause });
    this.kind = kind;
  }

  /** The problem behind an HTTP status other than 2xx. */
  static ofStatus(status) {
    return new CallProblem(OF_STATUS[status] ?? "refused");
  }

  /** The problem behind a failed getUserMedia; https://www.w3.org/TR/mediacapture-streams names the errors. */
  static ofCapture(error) {
    return new CallProblem(OF_CAPTURE_ERROR[error?.name] ?? "microphone-busy", error);
  }
}

/** Two lines for the caller: what happened and what to do. */
export function describe(kind) {
  const [title, advice] = ADVICE[kind] ?? ADVICE.refused;
  return { title, advice };
}
