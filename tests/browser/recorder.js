// Records two mono inputs, quantum by quantum, as interleaved 16-bit samples.

const QUANTUM = 128;
const CHUNK = 32 * QUANTUM;

class Recorder extends AudioWorkletProcessor {
  #chunk = new Int16Array(2 * CHUNK);
  #filled = 0;

  process([left, right]) {
    for (let i = 0; i < QUANTUM; i += 1) {
      this.#chunk[2 * (this.#filled + i)] = Math.round(32767 * Math.max(-1, Math.min(1, left[0]?.[i] ?? 0)));
      this.#chunk[2 * (this.#filled + i) + 1] = Math.round(32767 * Math.max(-1, Math.min(1, right[0]?.[i] ?? 0)));
    }
    this.#filled += QUANTUM;
    if (this.#filled === CHUNK) {
      this.port.postMessage(this.#chunk);
      this.#chunk = new Int16Array(2 * CHUNK);
      this.#filled = 0;
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
