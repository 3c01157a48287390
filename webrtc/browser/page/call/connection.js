// One WebRTC connection to the agent: microphone out, voice and messages in. Used once, then thrown away.

import { CallProblem } from "./problems.js";

const GATHERING_MS = 500; // candidates found later are sent after the answer
const CONNECT_TIMEOUT_MS = 15_000;
const RECOVERY_MS = 8_000; // how long a weak connection may try to come back
const PING_MS = 1_000;
// Name and ping as Pipecat's own web client has them: its servers take 3 s without a ping for a closed tab.
const CHANNEL = "chat";

export class Connection {
  #peer = new RTCPeerConnection();
  #channel = this.#peer.createDataChannel(CHANNEL, { ordered: true });
  #aborter = new AbortController();
  #timers = [];
  #recovery = 0;
  #hasOffered = false;
  #late = [];
  #callId = null;
  #signalling;
  #on;

  /**
   * @param {Signalling} signalling
   * @param {{audio(stream), message(text), open(), weak(isWeak), closed(problem|null)}} on called as things happen;
   *   `closed` is called at most once, with null when the agent hung up, and never after `close()`.
   */
  constructor(signalling, on) {
    this.#signalling = signalling;
    this.#on = on;
    this.#peer.ontrack = ({ track, streams }) => on.audio(streams[0] ?? new MediaStream([track]));
    this.#peer.onicecandidate = ({ candidate }) => candidate?.candidate && this.#found(candidate);
    this.#channel.onopen = () => {
      this.#timers.push(setInterval(() => this.#sendText(`ping: ${Date.now()}`), PING_MS));
      on.open();
    };
    this.#channel.onmessage = ({ data }) => typeof data === "string" && on.message(data);
    this.#channel.onclose = () => this.#end(null);
  }

  /** Resolves when audio flows. Throws a CallProblem; AbortError if `close()` came first. */
  async open(microphone) {
    const { signal } = this.#aborter;
    for (const track of microphone.getAudioTracks()) this.#peer.addTrack(track, microphone);
    await this.#peer.setLocalDescription();
    await this.#gathered();
    signal.throwIfAborted();
    this.#hasOffered = true;
    const answer = await this.#signalling.offer(this.#peer.localDescription, signal);
    signal.throwIfAborted();
    await this.#peer.setRemoteDescription({ type: "answer", sdp: answer.sdp }).catch((error) => {
      signal.throwIfAborted();
      throw new CallProblem("refused", error);
    });
    this.#callId = answer.pc_id ?? null;
    this.#trickle();
    await this.#connected();
    this.#peer.onconnectionstatechange = () => this.#follow();
    this.#follow();
  }

  /** Sends from another microphone from now on. */
  async replaceMicrophone(microphone) {
    await this.#peer.getSenders()[0]?.replaceTrack(microphone.getAudioTracks()[0]);
  }

  /** Sends one message as JSON; dropped if the channel is not open. */
  send(message) {
    this.#sendText(JSON.stringify(message));
  }

  /** Hangs up. The server notices at once; a connection that is just dropped it notices after seconds. */
  close() {
    this.#aborter.abort();
    this.#timers.forEach(clearInterval);
    clearTimeout(this.#recovery);
    this.#channel.onclose = null;
    this.#peer.onconnectionstatechange = null;
    this.#peer.close();
  }

  #sendText(text) {
    if (this.#channel.readyState === "open") this.#channel.send(text);
  }

  #end(problem) {
    if (this.#aborter.signal.aborted) return;
    this.close();
    this.#on.closed(problem);
  }

  #gathered() {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, GATHERING_MS);
      const check = () => {
        if (this.#peer.iceGatheringState !== "complete") return;
        clearTimeout(timer);
        resolve();
      };
      this.#peer.onicegatheringstatechange = check;
      check();
    });
  }

  #found(candidate) {
    if (!this.#hasOffered) return; // it is in the offer
    this.#late.push(candidate);
    this.#trickle();
  }

  #trickle() {
    if (!this.#callId || !this.#late.length) return;
    this.#signalling.addCandidates(this.#callId, this.#late.splice(0), this.#aborter.signal);
  }

  #connected() {
    const { signal } = this.#aborter;
    return new Promise((resolve, reject) => {
      const fail = () => reject(new CallProblem("no-connection"));
      const timer = setTimeout(fail, CONNECT_TIMEOUT_MS);
      const settle = (outcome) => {
        clearTimeout(timer);
        outcome();
      };
      const check = () => {
        const state = this.#peer.connectionState;
        if (state === "connected") settle(resolve);
        if (state === "failed" || state === "closed") settle(fail);
      };
      signal.addEventListener("abort", () => settle(() => reject(signal.reason)), { once: true });
      this.#peer.onconnectionstatechange = check;
      check();
    });
  }

  #follow() {
    const state = this.#peer.connectionState;
    clearTimeout(this.#recovery);
    this.#on.weak(state === "disconnected");
    if (state === "disconnected") {
      this.#recovery = setTimeout(() => this.#end(new CallProblem("lost")), RECOVERY_MS);
    }
    if (state === "failed") this.#end(new CallProblem("lost"));
  }
}
