/**
 * Notices when an interface of a cross-connect vanishes or loses its link, and tells those who listen, once per break.
 * An event is only a hint to look: what is reported is what is found then.
 */
import { type LinkEventHandlers, type LinkWatch, watchLinks } from "../../../sdk/linux/netlink/link-events.js";
import { namespaceId } from "../../../sdk/linux/netlink/namespace-ids.js";
import type { NetlinkSocket } from "../../../sdk/linux/netlink/socket.js";
import { type NetnsHandle, withNetns } from "../../../sdk/linux/netns.js";
import type { Log } from "../../../sdk/telemetry/log.js";
import type { DataPlaneEvent } from "../dataplane.js";
import type { Built, BuiltLink } from "./built.js";
import {
  findLink,
  findLinkByNumber,
  findRenamedByNumber,
  type Home,
  isNamespaceKnown,
  type Places,
  withPlaces,
} from "./places.js";

export interface Health {
  /** Looks at the interfaces of a cross-connect from now on; again after each change. Forgets an earlier break. */
  track(built: Built, places: Places): void;
  forget(id: string): void;
  events(signal: AbortSignal): AsyncIterable<DataPlaneEvent>;
  close(): void;
}

export interface HealthNeeds {
  /** The forwarder's own namespace, and a routing socket in it. */
  readonly home: NetnsHandle;
  readonly own: NetlinkSocket;
  readonly log: Log;
  readonly all: () => Iterable<Built>;
  /** Runs `look` when no operation on that cross-connect is under way, with what is built then. */
  inTurn(id: string, look: (built: Built) => Promise<void>): void;
}

/** Where the interfaces of a cross-connect are: namespace and index of each, and the numbers of the namespaces. */
interface Tracked {
  readonly links: ReadonlyMap<string, BuiltLink>;
  readonly namespaces: readonly number[];
}

interface Subscriber {
  readonly waiting: DataPlaneEvent[];
  wake(): void;
}

export function createHealth(needs: HealthNeeds): Health {
  const idsByLink = new Map<string, string>();
  const linksById = new Map<string, Tracked>();
  /** To be looked at, each with an interface of it that has been deleted. */
  const suspects = new Map<string, BuiltLink | undefined>();
  const broken = new Map<string, string>();
  const subscribers = new Set<Subscriber>();
  let watch: LinkWatch | undefined;
  let closed = false;

  const forget = (id: string): void => {
    for (const key of linksById.get(id)?.links.keys() ?? []) if (idsByLink.get(key) === id) idsByLink.delete(key);
    linksById.delete(id);
    suspects.delete(id);
    broken.delete(id);
  };
  /**
   * Looks when it is its turn, once for all that the kernel has told until then. An interface that it has deleted since then has gone,
   * if it is still what we have: to look for it costs much when a pod goes with all its interfaces.
   */
  const suspect = (id: string, lostKey?: string): void => {
    const isWaiting = suspects.has(id);
    const tracked = linksById.get(id);
    const link = tracked?.links.get(lostKey ?? "");
    if (!isWaiting || link !== undefined) suspects.set(id, link);
    if (isWaiting) return;
    needs.inTurn(id, async (built) => {
      const lost = suspects.get(id);
      suspects.delete(id);
      const isSame = lost !== undefined && linksById.get(id) === tracked && built.links.includes(lost);
      report(id, isSame ? `${nameOf(lost)} is gone` : await breakOf(needs, built));
    });
  };
  const report = (id: string, reason: string | undefined): void => {
    const known = broken.has(id);
    if (reason === undefined) broken.delete(id);
    else broken.set(id, reason);
    if (reason === undefined || known) return;
    needs.log.warn("a cross-connect is broken", { connectionId: id, reason });
    for (const subscriber of subscribers) {
      subscriber.waiting.push({ kind: "broken", id, reason });
      subscriber.wake();
    }
  };
  const handlers: LinkEventHandlers = {
    link({ namespace, gone, index, up, carrier }) {
      const key = `${namespace ?? "own"}/${index}`;
      const id = idsByLink.get(key);
      if (id !== undefined && (gone || !up || !carrier || broken.has(id))) suspect(id, gone ? key : undefined);
    },
    namespaceEnded(namespace) {
      for (const [id, { namespaces }] of linksById) if (namespaces.includes(namespace) && !broken.has(id)) suspect(id);
    },
    overrun() {
      needs.log.warn("link events were lost; looking at every cross-connect");
      for (const id of [...linksById.keys()]) suspect(id);
    },
  };
  const track = (built: Built, places: Places): void => {
    forget(built.crossConnect.id);
    if (watch !== undefined) follow(built, places);
  };
  const follow = (built: Built, places: Places): void => {
    const { id } = built.crossConnect;
    const links = new Map<string, BuiltLink>();
    const namespaces: number[] = [];
    for (const link of built.links) {
      const seen = whereabouts(needs, places, link);
      if (seen === undefined) {
        suspect(id);
        continue;
      }
      const { namespace, index } = seen;
      if (namespace !== undefined) namespaces.push(namespace);
      links.set(`${namespace ?? "own"}/${index}`, link);
    }
    // What has happened until now is our own work.
    watch?.drain();
    for (const key of links.keys()) idsByLink.set(key, id);
    linksById.set(id, { links, namespaces });
  };
  /** The first listener starts it, so that nothing is watched for nobody. */
  const start = (): void => {
    if (watch !== undefined || closed) return;
    watch = withNetns(needs.home, () => watchLinks(handlers));
    for (const { crossConnect } of needs.all()) {
      needs.inTurn(crossConnect.id, (built) =>
        withPlaces(needs, async (places) => {
          follow(built, places);
          report(crossConnect.id, await breakOf(needs, built));
        }),
      );
    }
  };
  return {
    track,
    forget,
    events: (signal) => listen(subscribers, start, signal),
    close() {
      closed = true;
      watch?.close();
      watch = undefined;
      for (const subscriber of subscribers) subscriber.wake();
      subscribers.clear();
    },
  };
}

/** The number of its namespace, undefined for the forwarder's own, and its index there. */
function whereabouts(
  { home, own }: Home,
  places: Places,
  link: BuiltLink,
): { namespace: number | undefined; index: number } | undefined {
  const known = findLinkByNumber(own, link);
  if (known !== undefined) return { namespace: link.number, index: known.index };
  const place = places.findByPath(link);
  if (place === undefined) {
    const renamed = findRenamedByNumber(own, link);
    return renamed && { namespace: link.number, index: renamed.index };
  }
  const index = place && findLink(place, link)?.index;
  if (index === undefined) return undefined;
  return { namespace: place.netns.ino === home.ino ? undefined : namespaceId(own, place.netns), index };
}

async function* listen(subscribers: Set<Subscriber>, start: () => void, signal: AbortSignal): AsyncIterable<DataPlaneEvent> {
  if (signal.aborted) return;
  let wake = (): void => {};
  const subscriber: Subscriber = { waiting: [], wake: () => wake() };
  const aborted = (): void => wake();
  signal.addEventListener("abort", aborted);
  subscribers.add(subscriber);
  try {
    start();
    while (!signal.aborted && subscribers.has(subscriber)) {
      const event = subscriber.waiting.shift();
      if (event !== undefined) yield event;
      else {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    }
  } finally {
    subscribers.delete(subscriber);
    signal.removeEventListener("abort", aborted);
  }
}

/** What is wrong with it in words, or undefined. */
function breakOf(from: Home, built: Built): Promise<string | undefined> {
  return withPlaces(from, (places) => {
    for (const link of built.links) {
      const what = nameOf(link);
      const known = findLinkByNumber(from.own, link);
      const place = known === undefined ? places.findByPath(link) : undefined;
      const found = known ?? (place === undefined ? findRenamedByNumber(from.own, link) : findLink(place, link));
      if (found === undefined && place === undefined && !isNamespaceKnown(from.own, link))
        return `${what}: its network namespace has ended`;
      if (found === undefined) return `${what} is gone`;
      if (!found.up) return `${what} was set down`;
      if (!found.carrier) return `${what} has lost its link`;
    }
    return undefined;
  });
}

function nameOf({ role, name, netnsUrl }: BuiltLink): string {
  return `${role} interface ${name} in ${netnsUrl}`;
}
