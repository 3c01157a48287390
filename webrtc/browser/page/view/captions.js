// Both sides' words as text: the caller's as they are recognized, the agent's as they are heard.

const KEPT_TURNS = 200;
const NEAR_END_PX = 48;

/** Renders into an <ol>, one item per turn. An utterance that goes on after the caller's "mhm" stays in its item. */
export class Captions {
  #list;
  #interim = null; // the caller's turn whose words may still change
  #agentTurn = null; // {item, words, utterance} that the agent speaks now

  constructor(list) {
    this.#list = list;
  }

  clear() {
    this.#list.replaceChildren();
    this.#interim = null;
    this.#agentTurn = null;
  }

  /** What the caller said so far in this utterance; replaces the words before, until they are final. */
  transcript(text, isFinal) {
    const words = text.trim();
    if (!words && !this.#interim) return;
    const turn = this.#interim ?? this.#add("you", "You");
    turn.words.textContent = words;
    turn.item.classList.toggle("interim", !isFinal);
    this.#interim = isFinal || !words ? null : turn;
    if (!words) turn.item.remove();
    this.#follow();
  }

  /** One more word that the caller has heard from the agent, with its own spacing. */
  heard(text, utterance) {
    if (!this.#goesOn(utterance)) this.#agentTurn = this.#add("agent", "Agent");
    const turn = this.#agentTurn;
    if (turn.utterance !== undefined && turn.utterance !== utterance) turn.words = this.#addWords(turn.item);
    turn.utterance = utterance;
    turn.words.append(text);
    this.#follow();
  }

  /** The agent was cut: its words become `heard` (an empty one keeps them as they are) and get a visible mark. */
  interrupted(utterance, heard) {
    const turn = this.#agentTurn;
    if (!turn || (utterance !== null && turn.utterance !== utterance)) return;
    if (heard) turn.words.textContent = ` ${heard.trim()}`;
    turn.words.classList.add("cut");
    const mark = document.createElement("span");
    mark.className = "mark";
    mark.textContent = "interrupted";
    turn.item.append(mark);
    this.#agentTurn = null;
    this.#follow();
  }

  #goesOn(utterance) {
    if (!this.#agentTurn) return false;
    const isLast = this.#agentTurn.item === this.#list.lastElementChild;
    return isLast || this.#agentTurn.utterance === utterance;
  }

  #add(side, name) {
    const item = document.createElement("li");
    item.className = side;
    const speaker = document.createElement("span");
    speaker.className = "speaker";
    speaker.textContent = name;
    item.append(speaker);
    this.#list.append(item);
    if (this.#list.childElementCount > KEPT_TURNS) this.#list.firstElementChild.remove();
    return { item, words: this.#addWords(item), utterance: undefined };
  }

  #addWords(item) {
    const words = document.createElement("span");
    words.className = "words";
    item.append(words);
    return words;
  }

  /** Keeps the newest words in view, unless the reader has scrolled back. */
  #follow() {
    const { scrollHeight, scrollTop, clientHeight } = this.#list;
    const newest = this.#list.lastElementChild?.offsetHeight ?? 0;
    if (scrollHeight - scrollTop - clientHeight < newest + NEAR_END_PX) this.#list.scrollTop = scrollHeight;
  }
}
