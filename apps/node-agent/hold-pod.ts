/**
 * One pod of this node: makes the connections that its annotation asks for equal to those it has, one service at a time,
 * for as long as the pod is there. A change of the annotation adds and removes interfaces; a problem with one service keeps
 * none of the others waiting for ever.
 */
import type { ClientConnection } from "../../sdk/client/connect.js";
import { findNetns, inodeUrl } from "../../sdk/linux/netns.js";
import type { ServiceUrl } from "../../sdk/mechanisms/service-url.js";
import { Code, type StatusError, toStatusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";
import type { PodFinder } from "./find-pod.js";
import type { PodWish } from "./wish.js";

export type ServiceState = "Waiting" | "Connecting" | "Connected" | "Healing" | "Failed";

export interface ServiceReport {
  readonly key: string;
  readonly service: ServiceUrl;
  readonly state: ServiceState;
  /** What is wrong and what to do; empty = nothing. */
  readonly message: string;
  readonly connection: ClientConnection["connection"] | undefined;
  readonly interfaceName: string;
}

export interface HeldPod {
  /** What it wants now. */
  want(wish: PodWish): void;
  report(): readonly ServiceReport[];
  /** Closes everything: the pod is gone. */
  close(): Promise<void>;
  /** Lets go, for the next agent. */
  leave(): Promise<void>;
}

export interface HoldPodOptions {
  readonly wish: PodWish;
  readonly finder: PodFinder;
  /** Asks for one connection; rejects when `signal` aborts, or when it is not there in time. */
  readonly connect: (ask: {
    readonly wish: PodWish;
    readonly key: string;
    readonly service: ServiceUrl;
    readonly netnsUrl: string;
    readonly others: readonly ClientConnection[];
    /** No other service waits for its turn. */
    readonly patient: boolean;
    readonly signal: AbortSignal;
  }) => Promise<ClientConnection>;
  /** Something in `report` is different. */
  readonly onChange: () => void;
  readonly log: Log;
}

interface Entry {
  readonly service: ServiceUrl;
  state: ServiceState;
  message: string;
  connection: ClientConnection | undefined;
  /** Not tried again before. */
  notBeforeMs: number;
  readonly stop: AbortController;
}

/** How often a pod without a sandbox is looked for, and how often a namespace is looked at, in milliseconds. */
const lookMs = 50;
const slowLookMs = 1_000;
/** After so long the look-out for a sandbox becomes slow: its image may be on the way for minutes. */
const eagerMs = 30_000;
const checkMs = 5_000;
const retryMs = 5_000;

export function holdPod(options: HoldPodOptions): HeldPod {
  const { finder, log, onChange } = options;
  const entries = new Map<string, Entry>();
  const ended = new AbortController();
  let wish = options.wish;
  let netns: { readonly dev: bigint; readonly ino: bigint } | undefined;
  let wake = (): void => {};
  const startedMs = Date.now();

  function set(entry: Entry, state: ServiceState, message = ""): void {
    if (entry.state === state && entry.message === message) return;
    entry.state = state;
    entry.message = message;
    onChange();
  }

  /** Entries equal to the wish; what is not wanted any more is closed. */
  function align(): void {
    for (const [key, service] of wish.services) {
      if (entries.has(key)) continue;
      const message = netns === undefined ? "waiting for the pod's network namespace" : "";
      entries.set(key, {
        service,
        state: "Waiting",
        message,
        connection: undefined,
        notBeforeMs: 0,
        stop: new AbortController(),
      });
    }
    // a wish that cannot be read takes nothing away
    if (wish.problem !== undefined) return;
    for (const [key, entry] of [...entries]) {
      if (wish.services.has(key)) continue;
      entries.delete(key);
      entry.stop.abort();
      void entry.connection?.close().catch((error: unknown) => log.warn("a connection could not be closed", { error }));
    }
  }

  async function run(): Promise<void> {
    while (!ended.signal.aborted) {
      if (netns === undefined) netns = finder.find(wish.uid);
      else if (findNetns(netns.dev, netns.ino) === undefined) await forgetSandbox();
      const due = [...entries].find(([, entry]) => entry.connection === undefined && entry.notBeforeMs <= Date.now());
      if (netns !== undefined && due !== undefined) await connectOne(due[0], due[1], netns);
      else await sleep(pauseMs());
    }
  }

  function pauseMs(): number {
    if (entries.size === 0) return checkMs;
    if (netns === undefined) return Date.now() - startedMs < eagerMs ? lookMs : slowLookMs;
    const next = Math.min(...[...entries.values()].filter(({ connection }) => !connection).map(({ notBeforeMs }) => notBeforeMs));
    return Math.max(lookMs, Math.min(checkMs, next - Date.now()));
  }

  /** The sandbox was made anew, as after a crash of the node's runtime: its interfaces went with it. */
  async function forgetSandbox(): Promise<void> {
    netns = undefined;
    for (const entry of entries.values()) {
      const { connection } = entry;
      entry.connection = undefined;
      set(entry, "Waiting", "the pod's sandbox is made anew");
      await connection?.close().catch(() => {});
    }
  }

  async function connectOne(key: string, entry: Entry, { dev, ino }: { dev: bigint; ino: bigint }): Promise<void> {
    if (entry.state === "Waiting") set(entry, "Connecting");
    const others = [...entries.values()].flatMap(({ connection }) => (connection === undefined ? [] : [connection]));
    // ends the attempt only: a connection that is there is closed or left by name
    const attempt = new AbortController();
    const abort = (): void => attempt.abort();
    const reasons = [ended.signal, entry.stop.signal];
    for (const reason of reasons) reason.addEventListener("abort", abort, { once: true });
    const { signal } = attempt;
    if (reasons.some(({ aborted }) => aborted)) abort();
    try {
      const netnsUrl = inodeUrl({ dev, ino });
      const patient = entries.size - others.length <= 1;
      const connection = await options.connect({ wish, key, service: entry.service, netnsUrl, others, patient, signal });
      if (signal.aborted) return void (await connection.close());
      entry.connection = connection;
      set(entry, "Connected");
      void follow(entry, connection);
    } catch (error) {
      if (signal.aborted) return;
      const status = toStatusError(error);
      log.warn("a service is not connected", { service: entry.service.networkService, error: status });
      // another turn for the others first
      entry.notBeforeMs = Date.now() + retryMs;
      set(entry, status.code === Code.DEADLINE_EXCEEDED ? "Connecting" : "Failed", adviceFor(entry.service, status));
    } finally {
      for (const reason of reasons) reason.removeEventListener("abort", abort);
    }
  }

  async function follow(entry: Entry, connection: ClientConnection): Promise<void> {
    for await (const change of connection.changes) {
      if (entry.connection !== connection) return;
      if (change.kind === "trouble") set(entry, "Healing", change.reason);
      else if (change.kind === "healed") set(entry, "Connected");
      else if (change.kind === "updated") onChange();
    }
    if (entry.connection !== connection || ended.signal.aborted || entry.stop.signal.aborted) return;
    entry.connection = undefined;
    set(entry, "Connecting", "the connection has ended and is made anew");
    wake();
  }

  function sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(done, ms);
      function done(): void {
        clearTimeout(timer);
        wake = () => {};
        resolve();
      }
      wake = done;
      if (ended.signal.aborted) done();
    });
  }

  async function end(how: (connection: ClientConnection) => Promise<void>): Promise<void> {
    ended.abort();
    wake();
    const connections = [...entries.values()].flatMap(({ connection }) => (connection === undefined ? [] : [connection]));
    await running;
    await Promise.all(connections.map((connection) => how(connection).catch(() => {})));
  }

  align();
  const running = run().catch((error: unknown) => log.error("a pod is not looked after any more", { error }));
  return {
    want(next) {
      wish = next;
      align();
      onChange();
      wake();
    },
    report: () =>
      [...entries].map(([key, { service, state, message, connection }]) => ({
        key,
        service,
        state,
        message,
        connection: connection?.connection,
        interfaceName: connection?.interfaceName ?? service.interfaceName,
      })),
    close: () => end((connection) => connection.close()),
    leave: () => end((connection) => connection.leave()),
  };
}

function adviceFor({ networkService }: ServiceUrl, status: StatusError): string {
  const remedy: Partial<Record<Code, string>> = {
    [Code.NOT_FOUND]: `start an endpoint of ${networkService}, or correct the name (kubectl get networkservices -A)`,
    [Code.DEADLINE_EXCEEDED]: `is there an endpoint of ${networkService} (kubectl get networkserviceendpoints -A), and a forwarder on this node? It is tried on`,
    [Code.UNAVAILABLE]: "is the manager of this node running? It is tried on",
  };
  const advice = remedy[status.code];
  return advice === undefined ? status.details : `${status.details}; ${advice}`;
}
