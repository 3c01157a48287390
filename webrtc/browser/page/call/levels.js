// How loud a stream is right now, for meters and the timeline.

const FLOOR_DBFS = -60;
const WINDOW_SAMPLES = 1024; // 21 ms at 48 kHz

/** Measures streams on one AudioContext; without Web Audio every level is 0. */
export class Levels {
  #context = null;
  #taps = new Map();

  /** Must be called from a click or key press: browsers start no AudioContext otherwise. */
  start() {
    try {
      this.#context ??= new AudioContext();
      this.#context.resume().catch(() => {});
    } catch {
      this.#context = null;
    }
  }

  /** Listens to the stream under this name, instead of the stream that had the name before. */
  watch(name, stream) {
    this.#release(name);
    if (!this.#context || !stream.getAudioTracks().length) return;
    const source = this.#context.createMediaStreamSource(stream);
    const analyser = new AnalyserNode(this.#context, { fftSize: WINDOW_SAMPLES });
    source.connect(analyser);
    this.#taps.set(name, { source, analyser, samples: new Float32Array(WINDOW_SAMPLES) });
  }

  /** Loudness of the last 21 ms, 0 (-60 dBFS or less) to 1 (full scale). */
  read(name) {
    const tap = this.#taps.get(name);
    if (!tap) return 0;
    tap.analyser.getFloatTimeDomainData(tap.samples);
    const power = tap.samples.reduce((sum, sample) => sum + sample * sample, 0) / WINDOW_SAMPLES;
    const dbfs = 10 * Math.log10(power + 1e-12);
    return Math.min(1, Math.max(0, 1 - dbfs / FLOOR_DBFS));
  }

  stop() {
    for (const name of [...this.#taps.keys()]) this.#release(name);
    this.#context?.suspend().catch(() => {});
  }

  #release(name) {
    this.#taps.get(name)?.source.disconnect();
    this.#taps.delete(name);
  }
}
