// The agent's voice: plays the remote stream, and goes silent at once when the agent was cut.

// Longer than the audio that a browser's jitter buffer still holds at a cut, shorter than any reply takes to come.
const HUSH_MS = 300;

/** Plays on an <audio> element rather than through Web Audio: no added delay, and the echo canceller hears it. */
export class Speaker {
  #audio;
  #timer = 0;

  constructor(audio) {
    this.#audio = audio;
  }

  /** Starts playing; resolves to false if the browser wants a click or key press first (then it plays after that). */
  async play(stream) {
    this.#audio.srcObject = stream;
    this.speak();
    try {
      await this.#audio.play();
      return true;
    } catch (error) {
      if (error.name !== "NotAllowedError") return true;
      const retry = () => this.#audio.play().catch(() => {});
      for (const gesture of ["pointerdown", "keydown"]) addEventListener(gesture, retry, { once: true });
      return false;
    }
  }

  /** Mutes what is still on its way to the ear; the timer makes sure that it never lasts. */
  hush() {
    clearTimeout(this.#timer);
    this.#audio.muted = true;
    this.#timer = setTimeout(() => this.speak(), HUSH_MS);
  }

  /** Ends a hush: the agent has something new to say. */
  speak() {
    clearTimeout(this.#timer);
    this.#audio.muted = false;
  }

  stop() {
    this.speak();
    this.#audio.srcObject = null;
  }
}
