// The caller's choices, kept in this browser between visits.

const KEY = "parley";
const DEFAULTS = { deviceId: "", hasHeadphones: false };

/** The kept choice, or the defaults where storage is blocked or unreadable. */
export function loadChoice() {
  try {
    const { deviceId, hasHeadphones } = { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEY)) };
    return { deviceId: String(deviceId), hasHeadphones: hasHeadphones === true };
  } catch {
    return { ...DEFAULTS };
  }
}

/** Keeps the choice; where storage is blocked it lasts until the page is closed. */
export function saveChoice(choice) {
  try {
    localStorage.setItem(KEY, JSON.stringify(choice));
  } catch {
    // A private window may refuse storage: the call works without it.
  }
}
