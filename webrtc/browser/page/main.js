// The page: wires screen, call, captions and timeline together. Each of them knows nothing of the others.

import { Call } from "./call/call.js";
import { Captions } from "./view/captions.js";
import { Levels } from "./call/levels.js";
import { listMicrophones } from "./call/microphone.js";
import { CallProblem } from "./call/problems.js";
import { Screen } from "./view/screen.js";
import { loadChoice, saveChoice } from "./view/settings.js";
import { Signalling } from "./call/signalling.js";
import { Speaker } from "./call/speaker.js";
import { Timeline } from "./view/timeline.js";
import { TimelineView } from "./view/timeline_view.js";

const LIVE = "Speak whenever you like, also while it speaks.";
const SAMPLE_MS = 50; // between two levels on the timeline
const REDUCED_MOTION_MS = 1_000; // between two drawings for those who asked for less motion

const signalling = new Signalling(new URLSearchParams(location.search).get("token"));
const screen = new Screen({ call: () => (call ? hangUp() : dial()), choice: changeChoice });
const captions = new Captions(document.getElementById("captions"));
const speaker = new Speaker(document.getElementById("voice"));
const levels = new Levels();
const timeline = new Timeline();
const timelineView = new TimelineView(document.getElementById("timeline"));
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

let choice = loadChoice(); // what the caller chose, or the default for a microphone that is gone
let call = null; // the call that is made or going on
let connectedMs = null;
let silentMs = null; // how long the caller's voice took to mute the agent

async function dial() {
  connectedMs = null;
  captions.clear();
  timeline.clear();
  screen.clearProblem();
  screen.setPhase("calling");
  screen.setState("connecting");
  screen.setDetail("Allow the microphone if the browser asks.");
  levels.start();
  let mine = null;
  try {
    mine = call = new Call(signalling, {
      microphone: (stream) => levels.watch("you", stream),
      microphoneLost: changeMicrophone,
      voice: hear,
      event: (event) => EVENTS[event.kind]?.(event),
      weak: (isWeak) => screen.setDetail(isWeak ? "The connection is weak. Trying to keep it." : LIVE),
      ended: (problem) => finish(problem, "The agent ended the call."),
    });
    await mine.start(choice);
  } catch (error) {
    if (call === mine) finish(error instanceof CallProblem ? error : new CallProblem("refused", error), "");
    return;
  }
  if (call !== mine) return;
  connectedMs = performance.now();
  EVENTS.ready();
  await showMicrophones();
  requestAnimationFrame(() => animate(mine));
}

function hangUp() {
  finish(null, "You hung up.");
}

/** The one way a call ends here, whichever side ends it. */
function finish(problem, detail) {
  call?.end();
  call = null;
  speaker.stop();
  levels.stop();
  timeline.end(performance.now());
  timelineView.draw(timeline, performance.now());
  screen.setLevels(0, 0);
  screen.setState("ended");
  screen.setPhase("ended");
  screen.setDetail(problem ? "" : detail);
  if (problem) screen.showProblem(problem.kind);
  if (connectedMs === null) screen.setDuration(null);
}

async function hear(stream) {
  levels.watch("agent", stream);
  await speaker.play(stream, () => screen.showProblem("sound-blocked"));
  screen.clearProblem("sound-blocked");
}

/** Until permission is given the browser names no microphone, and the caller's choice stays as it is. */
async function showMicrophones() {
  const microphones = await listMicrophones();
  const isGone = microphones.length > 0 && !microphones.some(({ deviceId }) => deviceId === choice.deviceId);
  if (isGone) choice = { ...choice, deviceId: "" };
  screen.setChoice(choice, microphones);
}

function changeChoice(change) {
  choice = { ...choice, ...change };
  saveChoice(choice);
  changeMicrophone();
}

async function changeMicrophone() {
  if (!call) return;
  try {
    await call.changeMicrophone(choice);
    screen.clearProblem();
  } catch (error) {
    if (call && error instanceof CallProblem) screen.showProblem(error.kind);
  }
}

const DECISIONS = {
  duck: (after) => `Heard you${after}: lowered its voice while it decides.`,
  mute: (after) => `Fell silent${after} while it decides.`,
  cut: (after, why) => `Stopped${after}${why}.`,
  resume: (after, why) => `Went on${after}${why}.`,
};

const EVENTS = {
  ready: () => screen.state === "connecting" && screen.setState("listening"),
  about: (about) => screen.setAbout(about),
  speech: ({ isSpeech, atMs }) => timeline.setSpeech(isSpeech, atMs),
  state: ({ state, atMs }) => {
    screen.setState(state);
    timeline.setState(state, atMs);
    if (state === "speaking") speaker.speak();
  },
  transcript: ({ text, isFinal }) => captions.transcript(text, isFinal),
  heard: ({ text, utterance }) => {
    screen.clearProblem("agent");
    captions.heard(text, utterance);
  },
  decision: ({ decision, reason, latencyMs, atMs }) => {
    timeline.addDecision(decision, latencyMs, atMs);
    if (decision === "cut") speaker.mute();
    if (decision === "duck" || decision === "mute") silentMs = decision === "mute" ? latencyMs : null;
    const afterMs = decision === "cut" ? (silentMs ?? latencyMs) : latencyMs; // a cut after a mute is not heard
    const after = afterMs === null ? "" : ` after ${afterMs} ms`;
    if (Object.hasOwn(DECISIONS, decision)) screen.setDecision(DECISIONS[decision](after, reason && `: ${reason}`));
  },
  mute: () => speaker.mute(),
  interrupted: ({ utterance, heard }) => {
    speaker.mute();
    captions.interrupted(utterance, heard);
  },
  latency: ({ name, ms, atMs }) => timeline.addLatency(name, ms, atMs),
  problem: ({ isFatal }) => (isFatal ? finish(new CallProblem("agent"), "") : screen.showProblem("agent")),
};

let sampledMs = 0;
let drawnMs = 0;

/** Runs once a frame while a call goes on. */
function animate(mine) {
  if (call !== mine) return;
  const nowMs = performance.now();
  if (nowMs - sampledMs >= SAMPLE_MS) {
    sampledMs = nowMs;
    const [you, agent] = [levels.read("you"), levels.read("agent")];
    timeline.addLevels(you, agent, nowMs);
    screen.setLevels(you, agent);
    screen.setDuration(nowMs - connectedMs);
  }
  if (!reducedMotion.matches || nowMs - drawnMs >= REDUCED_MOTION_MS) {
    drawnMs = nowMs;
    timelineView.draw(timeline, nowMs);
  }
  requestAnimationFrame(() => animate(mine));
}

// A page that is left without this is noticed by the server only after half a minute.
addEventListener("pagehide", () => call && hangUp());
navigator.mediaDevices?.addEventListener?.("devicechange", showMicrophones);
screen.setPhase("idle");
timelineView.draw(timeline, performance.now());
showMicrophones();
