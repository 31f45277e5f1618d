/**
 * One timer for all connections: whoever has been silent for long is asked whether it is still there (PING), and calls that
 * were begun and not said to their end are given up, for each costs memory that no bound on calls counts.
 */
import { flush } from "./output.js";
import { closeSession, type Session, sendPing } from "./session.js";

const tickMs = 5_000;
/** A caller has at least 30 s for its message, and at most a look more. */
const looksForMessage = 7;
const watched = new Set<Session>();
let timer: ReturnType<typeof setInterval> | undefined;

export function watchSilence(session: Session): void {
  watched.add(session);
  timer ??= setInterval(look, tickMs);
  // a socket keeps the process; to look whether somebody is there need not
  timer.unref();
}

function look(): void {
  const nowMs = performance.now();
  for (const session of watched) {
    const { options } = session;
    if (session.closed || options.socket.destroyed) watched.delete(session);
    else if (session.askedMs !== undefined) {
      if (nowMs - session.askedMs < options.keepaliveTimeoutMs) continue;
      closeSession(session, "the other end does not answer any more");
      options.socket.destroy();
      // clients ask only while they wait for something: Go servers count other pings as abuse
    } else if (nowMs - session.heardMs >= options.keepaliveMs && (session.server || session.streams.size > 0)) {
      session.askedMs = nowMs;
      sendPing(session, undefined);
      flush(session.output);
    }
    if (session.server && !session.closed) endHalfOpen(session);
  }
  if (watched.size === 0) {
    clearInterval(timer);
    timer = undefined;
  }
}

function endHalfOpen(session: Session): void {
  for (const stream of [...session.streams.values()]) {
    if (!stream.remoteEnded && stream.events.stalled !== undefined && ++stream.looks === looksForMessage) stream.events.stalled();
  }
}
