/**
 * The names of endpoints in one pod: as long as one of its connections brings name servers, its queries come by us; else
 * nothing of ours is in its namespace. One process at a time does it for a pod; when that ends, whoever else would may.
 */
import { claimName } from "../../sdk/linux/inet-socket.js";
import { closeDescriptor } from "../../sdk/linux/libc.js";
import { type NetnsHandle, openNetns, openOwnNetns } from "../../sdk/linux/netns.js";
import { hasErrno } from "../../sdk/linux/system-error.js";
import { Code, toStatusError } from "../../sdk/status.js";
import type { Log } from "../../sdk/telemetry/log.js";
import { type Diversion, diversionIn, dnsClaim, ownMark } from "./divert.js";
import { type Lifeline, openLifeline } from "./lifeline.js";
import { type Listener, listenFor } from "./listen.js";
import { parseResolvConf, type ResolvConf } from "./resolv-conf.js";
import { createResolver, type Resolver } from "./resolve.js";
import { createZones, type DnsSource, type Zones } from "./zones.js";

export interface PodDnsOptions {
  /** Of the pod (forms: netns-url.ts); undefined = our own namespace. */
  readonly netnsUrl: string | undefined;
  /** The text of the pod's resolv.conf; undefined = it cannot be read yet. */
  readonly resolvConf: () => string | undefined;
  readonly log: Log;
  /** An earlier process may have left rules, which are to go even if no connection has names. */
  readonly sweep?: boolean;
}

export interface PodDns {
  /** What its connections say now. */
  set(sources: readonly DnsSource[]): void;
  /** Resolves when what was set last is in force, or cannot be. */
  settled(): Promise<void>;
  /** Whether the pod's queries come by us. */
  active(): boolean;
  counts(): Resolver["counts"] | undefined;
  /** Takes everything out of the namespace. */
  stop(): Promise<void>;
}

/** How often the pod's resolv.conf is looked at, and what has failed is tried again. Milliseconds. */
const lookMs = 5_000;
const waitMs = 1_000;

/** What is in a pod's namespace. */
interface Standing {
  readonly netns: NetnsHandle;
  readonly claimFd: number;
  /** Aborts what is being asked. */
  readonly ended: AbortController;
  readonly diversion: Diversion;
  readonly resolver: Resolver;
  readonly lifeline: Lifeline;
  readonly listeners: readonly Listener[];
  readonly nameservers: string;
}

export function servePodDns(options: PodDnsOptions): PodDns {
  const { log } = options;
  let sources: readonly DnsSource[] = [];
  let standing: Standing | undefined;
  let inForce = "";
  let told = "";
  let sweep = options.sweep === true;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let again = false;

  async function align(): Promise<void> {
    const wanted = !stopped && sources.some(({ configs }) => configs.length > 0);
    const text = wanted ? options.resolvConf() : undefined;
    if (wanted && text === undefined) return arm(waitMs);
    const pod = parseResolvConf(text ?? "");
    const zones = createZones(wanted ? sources : [], pod);
    if (zones.empty || pod.nameservers.length === 0) {
      if (wanted) tell(zones, pod, "nothing to resolve");
      await takeDown();
      if (sweep && !stopped) await sweepOnce();
    } else {
      if (standing !== undefined && standing.nameservers !== pod.nameservers.join()) await takeDown();
      standing ??= await raise(options.netnsUrl, pod.nameservers);
      if (standing === undefined) return arm(waitMs); // another process has it
      const next = JSON.stringify([sources, pod]);
      if (next !== inForce) standing.resolver.setZones(zones);
      inForce = next;
      standing.lifeline.beat();
      tell(zones, pod, "names of endpoints resolve in the pod");
    }
    if (wanted) arm(lookMs);
  }

  async function takeDown(): Promise<void> {
    const before = standing;
    standing = undefined;
    inForce = "";
    if (before !== undefined) await lower(before);
  }

  async function sweepOnce(): Promise<void> {
    sweep = false;
    const netns = open(options.netnsUrl);
    const claimFd = claimName(netns, dnsClaim);
    try {
      if (claimFd !== undefined) await diversionIn(netns).remove();
    } finally {
      if (claimFd !== undefined) closeDescriptor(claimFd);
      netns.close();
    }
  }

  function tell({ domains, ignored }: Zones, pod: ResolvConf, what: string): void {
    const news = JSON.stringify([what, [...domains], ignored, pod.nameservers]);
    if (news === told) return;
    told = news;
    const list = [...domains].map(([domain, servers]) => `${domain} → ${servers.join(", ")}`);
    log.info(what, { domains: list, nameservers: pod.nameservers });
    if (ignored.length > 0) log.warn("an endpoint's DNS settings are not heeded", { ignored: ignored.slice(0, 10) });
  }

  function arm(ms: number): void {
    if (stopped) return;
    clearTimeout(timer);
    timer = setTimeout(kick, ms);
  }

  /** One after the other; the last word counts. */
  function kick(): void {
    if (running !== undefined) {
      again = true;
      return;
    }
    running = (async () => {
      do {
        again = false;
        await align().catch(trouble);
      } while (again);
    })().finally(() => {
      running = undefined;
    });
  }

  function trouble(error: unknown): void {
    const status = toStatusError(error);
    // without its namespace the pod is going, or comes anew
    if (status.code !== Code.NOT_FOUND && told !== status.details)
      log.warn("names of endpoints do not resolve in the pod", { error: status });
    told = status.details;
    arm(lookMs);
  }

  if (sweep) kick();
  return {
    set(next) {
      if (JSON.stringify(next) === JSON.stringify(sources)) return;
      sources = next;
      kick();
    },
    async settled() {
      await running;
    },
    active: () => standing !== undefined,
    counts: () => standing?.resolver.counts,
    async stop() {
      stopped = true;
      clearTimeout(timer);
      kick();
      await running;
    },
  };
}

function open(url: string | undefined): NetnsHandle {
  return url === undefined ? openOwnNetns() : openNetns(url);
}

/** Undefined: another process does it for this pod. Nothing is left behind when a step fails. */
async function raise(netnsUrl: string | undefined, nameservers: readonly string[]): Promise<Standing | undefined> {
  const netns = open(netnsUrl);
  const undo: (() => void)[] = [() => netns.close()];
  try {
    const claimFd = claimName(netns, dnsClaim);
    if (claimFd === undefined) {
      netns.close();
      return undefined;
    }
    undo.push(() => closeDescriptor(claimFd));
    const ended = new AbortController();
    undo.push(() => ended.abort());
    const resolver = createResolver({ netns, mark: ownMark, signal: ended.signal });
    const lifeline = await openLifeline(netns);
    undo.push(() => lifeline.close());
    const listeners: Listener[] = [];
    for (const server of nameservers) {
      const listener = await listenFor(netns, server, resolver.resolve).catch(orWithoutFamily);
      if (listener === undefined) continue;
      listeners.push(listener);
      undo.push(() => listener.close());
    }
    const diversion = diversionIn(netns);
    await diversion.apply(lifeline.port, listeners);
    return { netns, claimFd, ended, diversion, resolver, lifeline, listeners, nameservers: nameservers.join() };
  } catch (error) {
    for (const step of undo.reverse()) step();
    throw error;
  }
}

/** A pod without IPv6 cannot reach such a name server either. */
function orWithoutFamily(error: unknown): undefined {
  if (!hasErrno(error, "EADDRNOTAVAIL", "EAFNOSUPPORT")) throw error;
}

/** First the pod's queries go their own way again, then what still comes is answered no more. */
async function lower({ netns, claimFd, ended, diversion, lifeline, listeners }: Standing): Promise<void> {
  try {
    lifeline.close();
    await diversion.remove();
  } finally {
    for (const listener of listeners) listener.close();
    ended.abort();
    closeDescriptor(claimFd);
    netns.close();
  }
}
