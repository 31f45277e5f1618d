/**
 * Nothing grows: after the last client every process has as many timers, calls, streams and listeners as before the first one came.
 * What a process has of its own accord comes and goes, so several looks count together.
 */
import { getEventListeners } from "node:events";
import type { Domain } from "./domain.js";
import { signalsOf } from "./globals.js";
import type { Network } from "./network.js";
import type { SimProcess, World } from "./world.js";

export interface Flat {
  /** One more look at what the processes have while no client is there. */
  look(): void;
  /** What is more than it ever was without clients. */
  more(): string[];
}

/** A look-up is kept current for ten minutes after its last use (sdk/registry/cache.ts): once for each query, with one timer. */
const isLookUp = (kind: string): boolean => kind.includes("Find at ");
const ofLookUps = /^(stateOf|sweep)/;

export function createFlat(world: World, network: Network, domain: Domain): Flat {
  const most = new Map<string, number>();
  /** Those that were there before the clients, with so many listeners. */
  const signals = new Map<SimProcess, Map<AbortSignal, number>>();

  function those(): { name: string; process: SimProcess }[] {
    const endpoints = domain.endpoints.filter(({ gone, replaced }) => !gone && !replaced);
    const parts = [domain.registry, ...domain.nsmgrs, ...domain.forwarders, ...endpoints];
    return parts.flatMap(({ name, process }) => (process?.alive ? [{ name, process }] : []));
  }

  /** Each kind of thing that a process has, with its number. */
  function* amounts(): Iterable<{ name: string; kind: string; count: number; where: string }> {
    const timers = world.timers();
    for (const { name, process } of those()) {
      const armed = (timers.get(process) ?? []).map(({ armedAt }) => placeOf(armedAt?.stack)).filter((at) => !ofLookUps.test(at));
      yield { name, kind: "timers", count: armed.length, where: armed.join("; ") };
      for (const [kind, count] of network.openOf(process)) yield { name, kind, count, where: "" };
    }
  }

  /** Endpoints that have been replaced by one on this manager's node: it keeps time of their leases. */
  function moreEndpoints(name: string): number {
    const node = domain.nsmgrs.find((one) => one.name === name)?.node;
    return domain.endpoints.filter((one) => one.moved && !one.gone && !one.replaced && one.node === node).length;
  }

  function atMost(name: string, kind: string): number {
    const before = most.get(`${name} ${kind}`) ?? 0;
    if (kind === "timers") return before + moreEndpoints(name);
    if (!isLookUp(kind)) return before;
    // a manager watches for itself, and for each that watches through it
    const [, query = ""] = kind.split(": ", 2);
    let through = 0;
    for (const { name: other, process } of those())
      for (const [its, count] of other === name ? [] : network.openOf(process)) if (its.endsWith(query)) through += count;
    return Math.max(1 + through, before);
  }

  function* listeners(): Iterable<string> {
    for (const { name, process } of those())
      for (const [signal, before] of signals.get(process) ?? [])
        if (!signal.aborted && listenersOf(signal) > before)
          yield `${name} has ${listenersOf(signal)} listeners on a signal that had ${before} before the first client`;
  }

  /** Works on what nobody waits for. */
  function* orphans(): Iterable<string> {
    let served = 0;
    let open = 0;
    for (const process of world.processes.values()) {
      if (!process.alive) continue;
      served += network.servedBy(process);
      for (const count of network.openOf(process).values()) open += count;
    }
    if (served > open) yield `${served} calls and streams are served, ${open} are read`;
  }

  return {
    look() {
      for (const { name, kind, count } of amounts())
        most.set(`${name} ${kind}`, Math.max(count, most.get(`${name} ${kind}`) ?? 0));
      for (const { process } of those()) {
        const counts = signals.get(process) ?? new Map<AbortSignal, number>();
        signals.set(process, counts);
        for (const signal of signalsOf(process))
          if (!signal.aborted) counts.set(signal, Math.max(listenersOf(signal), counts.get(signal) ?? 0));
      }
    },
    more() {
      const wrong: string[] = [];
      for (const { name, kind, count, where } of amounts())
        if (count > atMost(name, kind))
          wrong.push(`${name} has ${count} ${kind}, without clients it had ${atMost(name, kind)} (${where})`);
      return [...wrong, ...listeners(), ...orphans()];
    },
  };
}

/** Frames that say nothing: those of the simulation. */
const ours =
  /^(Object\.)?(whereNow|arm|at|timerOf|setTimeout\d*|setInterval\d*|sleep\d*|Promise|settle|step|steps|runNextTicks|Immediate.*|action|process.*)$/;

/** The functions that led there, innermost first. */
function placeOf(stack = ""): string {
  const names = [...stack.matchAll(/at (?:async )?(?:new )?([\w.<>]+) /g)].map(([, name]) => name ?? "");
  return names.filter((name) => !ours.test(name)).join(" < ");
}

function listenersOf(signal: AbortSignal): number {
  return getEventListeners(signal, "abort").length;
}
