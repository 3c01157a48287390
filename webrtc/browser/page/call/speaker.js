// The agent's voice: plays the remote stream, and goes silent at once when the agent was cut.

// Longer than the audio that a browser's jitter buffer still holds at a cut, shorter than any reply takes to come.
const MUTE_MS = 300;

/** Plays on an <audio> element rather than through Web Audio: no added delay, and the echo canceller hears it. */
export class Speaker {
  #audio;
  #timer = 0;

  constructor(audio) {
    this.#audio = audio;
  }

  /** Starts playing; where the browser wants a click or key press first, calls `onBlocked` and waits for that. */
  async play(stream, onBlocked) {
    this.#audio.srcObject = stream;
    this.speak();
    try {
      await this.#audio.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return;
      onBlocked();
      await new Promise((resolve) => {
        for (const gesture of ["pointerup", "keydown"]) addEventListener(gesture, resolve, { once: true });
      });
      await this.#audio.play().catch(() => {});
    }
  }

  /** Mutes what is still on its way to the ear; the timer makes sure that it never lasts. */
  mute() {
    clearTimeout(this.#timer);
    this.#audio.muted = true;
    this.#timer = setTimeout(() => this.speak(), MUTE_MS);
  }

  /** Ends a mute: the agent has something new to say. */
  speak() {
    clearTimeout(this.#timer);
    this.#audio.muted = false;
  }

  stop() {
    this.speak();
    this.#audio.srcObject = null;
  }
}
