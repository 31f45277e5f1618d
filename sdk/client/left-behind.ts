/** The connection that an earlier process of this client has left, under its own id or under the one that it had after a move. */
import type { Connection } from "../gen/connection.js";
import { siblingId } from "./beside.js";
import type { KeepOptions } from "./keep-options.js";
import type { Watch } from "./node-manager.js";
import { adopt, type Wish } from "./requests.js";

/** How long it is looked for. */
const adoptTimeoutMs = 1_000;

/** @throws the reason of `signal` */
export async function leftBehind(
  wish: Wish,
  watch: Watch,
  { watch: hearOf }: Pick<KeepOptions, "watch">,
  signal: AbortSignal,
): Promise<Connection | undefined> {
  const sibling: Wish = { ...wish, id: siblingId(wish.id, wish.id) };
  const siblings = hearOf(sibling.id);
  try {
    const [own, other] = await Promise.all([shownBefore(wish, watch, signal), shownBefore(sibling, siblings, signal)]);
    return own ?? other;
  } finally {
    siblings.stop();
  }
}

async function shownBefore(wish: Wish, watch: Watch, signal: AbortSignal): Promise<Connection | undefined> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(adoptTimeoutMs)]);
  const over = new Promise<undefined>((resolve) => limit.addEventListener("abort", () => resolve(undefined), { once: true }));
  const shown = watch.shown() ?? (await Promise.race([watch.first, over]));
  signal.throwIfAborted();
  return shown === undefined ? undefined : adopt(wish, shown);
}
