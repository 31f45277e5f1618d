/**
 * What became of each packet of one stream: sent once, answered at most once (pure; the caller says what time it is).
 * A packet is lost when no answer has come within `answerTimeMs`; it stays lost if one comes after that.
 */
export interface Lost {
  /** When it was sent. */
  readonly atMs: number;
  /** Those with numbers in a row were lost together: nothing between them was answered. */
  readonly sequence: number;
}

export interface Tally {
  readonly sent: number;
  readonly answered: number;
  readonly lost: number;
  /** Answers to what had been answered. */
  readonly duplicates: number;
  /** Time of sending of the newest packet that was answered. */
  readonly lastAnsweredSentAtMs: number;
  /** @returns the packet's sequence number */
  send(atMs: number): number;
  /** The kernel refused to send this packet: lost at once. */
  refuse(sequence: number): void;
  answer(sequence: number): void;
  /** Those that are lost now and were not before. */
  settle(nowMs: number): Lost[];
}

export function createTally(answerTimeMs: number): Tally {
  const waiting = new Map<number, number>();
  let refused: Lost[] = [];
  let sent = 0;
  let answered = 0;
  let lost = 0;
  let duplicates = 0;
  let lastAnsweredSentAtMs = 0;
  return {
    get sent() {
      return sent;
    },
    get answered() {
      return answered;
    },
    get lost() {
      return lost;
    },
    get duplicates() {
      return duplicates;
    },
    get lastAnsweredSentAtMs() {
      return lastAnsweredSentAtMs;
    },
    send(atMs) {
      waiting.set(sent, atMs);
      return sent++;
    },
    refuse(sequence) {
      const atMs = waiting.get(sequence);
      if (atMs === undefined) return;
      waiting.delete(sequence);
      lost++;
      refused.push({ atMs, sequence });
    },
    answer(sequence) {
      const atMs = waiting.get(sequence);
      if (atMs === undefined) {
        if (sequence < sent) duplicates++;
        return;
      }
      waiting.delete(sequence);
      answered++;
      lastAnsweredSentAtMs = Math.max(lastAnsweredSentAtMs, atMs);
    },
    settle(nowMs) {
      const found = refused;
      refused = [];
      // oldest first, as they were sent
      for (const [sequence, atMs] of waiting) {
        if (nowMs - atMs < answerTimeMs) break;
        waiting.delete(sequence);
        lost++;
        found.push({ atMs, sequence });
      }
      return found;
    },
  };
}
