// One call, from the microphone's permission to the hang-up: owns microphone and connection and releases both.

import { Connection } from "./connection.js";
import { MessageReader, clientReady } from "./messages.js";
import { closeMicrophone, openMicrophone } from "./microphone.js";

export class Call {
  #connection;
  #microphone = null;
  #reader = new MessageReader();
  #isOver = false;
  #on;

  /**
   * @param {Signalling} signalling
   * @param {{microphone(stream), microphoneLost(), voice(stream), event(event), weak(isWeak), ended(problem|null)}} on
   *   called as things happen; `ended` at most once, with null when the agent hung up, and never after `end()`.
   */
  constructor(signalling, on) {
    this.#on = on;
    this.#connection = new Connection(signalling, {
      audio: (stream) => on.voice(stream),
      message: (text) => this.#reader.read(text, performance.now()).forEach((event) => this.#pass(event)),
      open: () => this.#connection.send(clientReady()),
      weak: (isWeak) => on.weak(isWeak),
      closed: (problem) => this.#finish(problem),
    });
  }

  /** Opens the microphone and connects. Throws a CallProblem; any other error means that `end()` came first. */
  async start(choice) {
    await this.#open(choice);
    await this.#connection.open(this.#microphone);
  }

  /** Goes on with another microphone or setting. Throws a CallProblem and keeps the old one if that fails. */
  async changeMicrophone(choice) {
    const old = await this.#open(choice);
    await this.#connection.replaceMicrophone(this.#microphone);
    closeMicrophone(old);
  }

  /** Hangs up and releases everything; harmless when repeated. */
  end() {
    this.#isOver = true;
    this.#connection.close();
    closeMicrophone(this.#microphone);
  }

  /** Puts a new stream in the place of the microphone; resolves to the stream before it. */
  async #open(choice) {
    const stream = await openMicrophone(choice);
    if (this.#isOver) {
      closeMicrophone(stream);
      throw new DOMException("The call is over", "AbortError");
    }
    const old = this.#microphone;
    this.#microphone = stream;
    for (const track of stream.getAudioTracks()) track.onended = () => this.#isOver || this.#on.microphoneLost();
    this.#on.microphone(stream);
    return old;
  }

  #pass(event) {
    if (this.#isOver) return;
    if (event.kind === "left") this.#finish(null);
    else this.#on.event(event);
  }

  #finish(problem) {
    if (this.#isOver) return;
    this.end();
    this.#on.ended(problem);
  }
}
