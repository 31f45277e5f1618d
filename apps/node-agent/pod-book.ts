/** The pods of the node that ask for something: what each wants, who connects it, and who tells about it. */
import type { Connection } from "../../sdk/gen/connection.js";
import type { KubernetesApi } from "../../sdk/kubernetes/api.js";
import type { ReportEvent } from "../../sdk/kubernetes/report-event.js";
import { type KubernetesObject, keyOf } from "../../sdk/kubernetes/resource.js";
import type { Log } from "../../sdk/telemetry/log.js";
import type { HeldPod, ServiceReport } from "./hold-pod.js";
import type { PodNames } from "./pod-names.js";
import { sidecarReports } from "./status.js";
import { createTeller, type Teller } from "./tell.js";
import { clientNameOf, isGated, type PodWish, wishOf } from "./wish.js";

export interface PodBook {
  /** A pod that is new or different. */
  put(pod: KubernetesObject): void;
  /** By `keyOf`. */
  remove(key: string): void;
  /** The manager shows something else for the client of this name. */
  readonly clientChanged: (client: string) => void;
  /** Lets go of everything, for the next agent. */
  leave(): Promise<void>;
}

export interface PodBookOptions {
  readonly annotation: string;
  readonly node: string;
  readonly api: KubernetesApi;
  readonly log: Log;
  readonly reportEvent: ReportEvent;
  /** What the manager shows of all connections of the node. */
  readonly shown: ReadonlyMap<string, Connection>;
  readonly hold: (wish: PodWish, onChange: () => void) => HeldPod;
  /** The names of its endpoints; undefined: not here. */
  readonly names: (wish: PodWish) => PodNames | undefined;
}

interface Page {
  wish: PodWish;
  /** Undefined: the pod's own client connects it. */
  held: HeldPod | undefined;
  readonly teller: Teller;
  readonly names: PodNames | undefined;
}

export function createPodBook(options: PodBookOptions): PodBook {
  const { log, shown } = options;
  const pages = new Map<string, Page>();
  const byClient = new Map<string, Page>();
  const closing = new Set<Promise<void>>();

  function put(pod: KubernetesObject): void {
    const key = keyOf(pod);
    const wish = wishOf(pod, options.annotation);
    const page = pages.get(key);
    if (page !== undefined && (wish === undefined || wish.uid !== page.wish.uid)) remove(key);
    if (wish === undefined) return;
    const known = pages.get(key);
    if (known !== undefined) {
      known.teller.learn(pod);
      if (sameWish(known.wish, wish)) return;
      known.wish = wish;
      known.held?.want(wish);
      changed(known);
    } else if (wish.services.size > 0 || wish.problem !== undefined || isGated(pod)) {
      pages.set(key, open(pod, wish));
    }
  }

  function open(pod: KubernetesObject, wish: PodWish): Page {
    const teller = createTeller({
      api: options.api,
      node: options.node,
      reportEvent: options.reportEvent,
      log,
      pod,
      look: () => ({ wish: page.wish, reports: reportsOf(page) }),
    });
    const page: Page = { wish, held: undefined, teller, names: options.names(wish) };
    if (wish.mode === "node") page.held = options.hold(wish, () => changed(page));
    else byClient.set(clientNameOf(wish.name, wish.namespace), page);
    changed(page);
    return page;
  }

  function reportsOf(page: Page): readonly ServiceReport[] {
    return page.held?.report() ?? sidecarReports(page.wish, shown.values());
  }

  function changed(page: Page): void {
    page.teller.changed();
    page.names?.update(reportsOf(page).flatMap(({ connection }) => connection ?? []));
  }

  function remove(key: string): void {
    const page = pages.get(key);
    if (page === undefined) return;
    pages.delete(key);
    page.teller.stop();
    const client = clientNameOf(page.wish.name, page.wish.namespace);
    if (byClient.get(client) === page) byClient.delete(client);
    const closed = Promise.all([page.held?.close(), page.names?.stop()]).then(() => {});
    closing.add(closed);
    void closed.finally(() => closing.delete(closed));
  }

  return {
    put,
    remove,
    clientChanged(client) {
      const page = byClient.get(client);
      if (page !== undefined) changed(page);
    },
    async leave() {
      const open = [...pages.values()];
      for (const { teller } of open) teller.stop();
      await Promise.all([...open.flatMap(({ held, names }) => [held?.leave(), names?.stop()]), ...closing]);
    },
  };
}

function sameWish(one: PodWish, other: PodWish): boolean {
  return (
    one.problem === other.problem &&
    one.mode === other.mode &&
    [...one.services.keys()].join() === [...other.services.keys()].join()
  );
}
