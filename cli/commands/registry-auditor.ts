/**
 * Names in the registry that nobody has any more: endpoints and forwarders of the asked managers on whose socket nobody listens.
 * They have no ledger: their process is. The lease takes such a name away in time; until then clients are sent there in vain.
 */
import { createConnection } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Auditor, Seen } from "../../forwarder/audit/audit.js";
import type { Fact } from "../../sdk/gen/inspect.js";
import { NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import { questionTimeoutMs } from "../view/sources.js";

export interface RegistryAuditorOptions {
  readonly managers: readonly { readonly name: string; readonly url: string }[];
  readonly dialer: Pick<Dialer, "inspect" | "endpointRegistry">;
  /**
   * Whether sockets are looked for where their processes have made them. Else one that is not there says nothing: it may be in
   * another mount namespace.
   */
  readonly sameFiles: boolean;
  readonly signal: AbortSignal;
  /** A process that restarts is away for a moment; default 1.5 s. */
  readonly patienceMs?: number;
}

type Named = Pick<Fact, "name" | "value">;

export function registryAuditor(options: RegistryAuditorOptions): Auditor {
  const { managers, dialer, signal, patienceMs = 1_500 } = options;

  async function gone(manager: string): Promise<Named[]> {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(questionTimeoutMs)]);
    const ask = (section: string) => dialer.inspect(manager).getReport({ section }, { signal: limit });
    const [endpoints, forwarders] = await Promise.all([ask("endpoints"), ask("forwarders")]);
    const named = [...endpoints.facts, ...forwarders.facts];
    const served = await Promise.all(named.map(({ value }) => isServed(value, options.sameFiles)));
    return named.filter((_, index) => served[index] === false);
  }

  async function goneForLonger(manager: string): Promise<Named[]> {
    const first = await gone(manager);
    if (first.length === 0) return [];
    await delay(patienceMs, undefined, { signal });
    const still = await gone(manager);
    return still.filter(({ name, value }) => first.some((each) => each.name === name && each.value === value));
  }

  return {
    name: "registry",
    async seen() {
      const found = await Promise.all(
        managers.map(async (manager) => (await goneForLonger(manager.url)).map((each) => seenName(manager, each, options))),
      );
      return found.flat();
    },
    noted: async () => [],
  };
}

function seenName(
  manager: { readonly name: string; readonly url: string },
  { name, value }: Named,
  options: RegistryAuditorOptions,
): Seen {
  return {
    key: `name ${manager.url} ${name}`,
    instance: value,
    kind: "name",
    name,
    netns: "",
    owner: `manager ${manager.name}`,
    detail: `nobody listens on ${value}: its process has gone, and its lease keeps the name`,
    async reclaim() {
      if ((await isServed(value, options.sameFiles)) !== false) throw new Error("its process is back");
      const limit = AbortSignal.any([options.signal, AbortSignal.timeout(questionTimeoutMs)]);
      await options.dialer
        .endpointRegistry(manager.url)
        .unregister(NetworkServiceEndpoint.fromPartial({ name }), { signal: limit });
    },
  };
}

/** Whether somebody listens there; undefined: it cannot be seen from here. */
function isServed(url: string, sameFiles: boolean): Promise<boolean | undefined> {
  const path = /^unix:\/\/(\/.+)$/.exec(url)?.[1];
  if (path === undefined) return Promise.resolve(undefined);
  return new Promise((resolve) => {
    const socket = createConnection(path);
    const answer = (served: boolean | undefined): void => {
      socket.destroy();
      resolve(served);
    };
    socket.once("connect", () => answer(true));
    socket.once("error", ({ code }: NodeJS.ErrnoException) => {
      answer(code === "ECONNREFUSED" || (code === "ENOENT" && sameFiles) ? false : undefined);
    });
  });
}
