// Offer and answer over HTTP: POST /api/offer, and PATCH for candidates that are found later.

import { CallProblem } from "./problems.js";

const ANSWER_TIMEOUT_MS = 10_000;

/** Speaks to the server that served this page; `token` (may be null) proves that the caller may call. */
export class Signalling {
  #url = new URL("api/offer", document.baseURI);
  #headers;

  constructor(token) {
    this.#headers = { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  }

  /** Sends an offer; resolves to the answer {sdp, type, pc_id}. Throws a CallProblem, or AbortError after `signal`. */
  async offer({ sdp, type }, signal) {
    const response = await this.#send("POST", { sdp, type }, signal);
    if (!response.ok) throw CallProblem.ofStatus(response.status);
    const answer = await response.json().catch(() => null);
    if (typeof answer?.sdp !== "string") throw new CallProblem("refused");
    return answer;
  }

  /** Sends candidates found after the offer; a failure only costs these candidates. */
  async addCandidates(callId, candidates, signal) {
    const body = {
      pc_id: callId,
      candidates: candidates.map(({ candidate, sdpMid, sdpMLineIndex }) => ({
        candidate,
        sdp_mid: sdpMid,
        sdp_mline_index: sdpMLineIndex,
      })),
    };
    await this.#send("PATCH", body, signal).catch(() => {});
  }

  async #send(method, body, signal) {
    const limits = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]);
    try {
      return await fetch(this.#url, { method, headers: this.#headers, body: JSON.stringify(body), signal: limits });
    } catch (error) {
      if (signal.aborted) throw error;
      throw new CallProblem("unreachable", error);
    }
  }
}
