// The caller's microphone: permission, choice and constraints. Knows nothing of calls.

import { CallProblem } from "./problems.js";

/** Opens the microphone as a MediaStream with one audio track.
 *
 * @param {{deviceId: string, hasHeadphones: boolean}} choice an empty deviceId means the browser's default.
 * @throws {CallProblem} if it is blocked, absent, or in use.
 */
export async function openMicrophone({ deviceId, hasHeadphones }) {
  if (!navigator.mediaDevices?.getUserMedia) throw new CallProblem("insecure-page");
  const audio = {
    channelCount: 1,
    // With no echo in the room the canceller mistakes the caller for echo until it has converged, 4 to 7 s.
    echoCancellation: !hasHeadphones,
    noiseSuppression: true,
    autoGainControl: true,
    ...(deviceId && { deviceId: { exact: deviceId } }),
  };
  try {
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const hasGone = deviceId && (error.name === "OverconstrainedError" || error.name === "NotFoundError");
    if (hasGone) return openMicrophone({ deviceId: "", hasHeadphones });
    throw CallProblem.ofCapture(error);
  }
}

/** The microphones as [{deviceId, label}]; before permission is given the browser hides their names. */
export async function listMicrophones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  return devices
    .filter((device) => device.kind === "audioinput" && device.deviceId && device.label)
    .map(({ deviceId, label }) => ({ deviceId, label }));
}

/** Releases the device, so that the browser's recording sign goes out. */
export function closeMicrophone(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
