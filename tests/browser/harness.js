// Runs in the page before its own scripts: a scripted microphone, and a recorder of microphone and agent on one clock.

(() => {
  if (!navigator.mediaDevices) return; // about:blank

  const RATE_HZ = 48_000;

  const harness = { chunks: [], capture: [] };
  let context = null;
  let microphone;
  let recorder;

  async function open() {
    if (context) return;
    context = new AudioContext({ sampleRate: RATE_HZ });
    await context.audioWorklet.addModule(URL.createObjectURL(new Blob([RECORDER], { type: "text/javascript" })));
    recorder = new AudioWorkletNode(context, "recorder", {
      numberOfInputs: 2,
      numberOfOutputs: 1,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    recorder.port.onmessage = ({ data }) => harness.chunks.push(data);
    recorder.connect(context.destination); // silent; a node without an output is not run
    microphone = context.createMediaStreamDestination();
    microphone.channelCount = 1;
    const silence = new ConstantSourceNode(context, { offset: 0 });
    silence.connect(microphone);
    silence.start();
    context.createMediaStreamSource(microphone.stream).connect(recorder, 0, 0);
  }

  navigator.mediaDevices.getUserMedia = async (constraints) => {
    harness.capture.push(constraints.audio);
    await open();
    return new MediaStream(microphone.stream.getAudioTracks().map((track) => track.clone()));
  };

  /** Plays 48 kHz mono 16-bit samples (base64) into the microphone; resolves at their end. */
  harness.say = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const samples = Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32768);
    const buffer = new AudioBuffer({ length: samples.length, sampleRate: RATE_HZ });
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(context, { buffer });
    source.connect(microphone);
    return new Promise((resolve) => {
      source.onended = () => resolve();
      source.start();
    });
  };

  /** Everything recorded: interleaved 16-bit stereo (left microphone, right agent) at 48 kHz, base64. */
  harness.recording = async () => {
    const blob = new Blob(harness.chunks);
    const url = await new Promise((resolve) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.readAsDataURL(blob);
    });
    return url.slice(url.indexOf(",") + 1);
  };

  const Native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Native {
    constructor(...options) {
      super(...options);
      this.addEventListener("track", async ({ track }) => {
        await open();
        context.createMediaStreamSource(new MediaStream([track])).connect(recorder, 0, 1);
      });
    }
  };

  window.harness = harness;
})();
