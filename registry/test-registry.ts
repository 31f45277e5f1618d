/** A registry on a real socket with its clients, for tests. */
import assert from "node:assert/strict";
import { systemClock } from "../sdk/clock.js";
import { readSettings } from "../sdk/config/table.js";
import { NetworkService, NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import { silentLog } from "../sdk/telemetry/log.js";
import { createDialer, type Dialer, type RemoteRegistry } from "../sdk/transport/dial.js";
import { type RegistryConfig, registrySettings } from "./config.js";
import { type RegistryDeps, startRegistry } from "./main.js";

/** What `t.after` of a test offers. */
export interface Scope {
  after(undo: () => void | Promise<void>): void;
}

export function registryConfig(changes: Partial<RegistryConfig> = {}): RegistryConfig {
  const read = readSettings({ name: "weft registry", summary: "" }, registrySettings, { argv: [], env: {} });
  assert.ok(read.ok);
  return { ...read.values, insecure: true, listenOn: ["tcp://127.0.0.1:0"], store: "memory", ...changes };
}

export interface TestRegistry {
  readonly url: string;
  readonly dialer: Dialer;
  readonly services: RemoteRegistry<NetworkService>;
  readonly endpoints: RemoteRegistry<NetworkServiceEndpoint>;
  /** Never aborted. */
  readonly signal: AbortSignal;
  stop(): Promise<void>;
}

export async function testRegistry(
  scope: Scope,
  changes: Partial<RegistryConfig> = {},
  deps: Partial<RegistryDeps> = {},
): Promise<TestRegistry> {
  const stopping = new AbortController();
  const running = await startRegistry(registryConfig(changes), {
    log: silentLog,
    signal: stopping.signal,
    clock: systemClock,
    ...deps,
  });
  const dialer = createDialer({ dialTimeoutMs: 5_000 });
  const url = running.urls[0] ?? "";
  scope.after(async () => {
    dialer.close();
    await running.stop();
  });
  return {
    url,
    dialer,
    stop: () => running.stop(),
    services: dialer.serviceRegistry(url),
    endpoints: dialer.endpointRegistry(url),
    signal: stopping.signal,
  };
}

type PartialEndpoint = Parameters<typeof NetworkServiceEndpoint.fromPartial>[0];
type PartialService = Parameters<typeof NetworkService.fromPartial>[0];
export const endpoint = (name: string, partial: PartialEndpoint = {}) => NetworkServiceEndpoint.fromPartial({ ...partial, name });
export const service = (name: string, partial: PartialService = {}) => NetworkService.fromPartial({ ...partial, name });

export async function collect<T>(found: AsyncIterable<{ entry: T; deleted: boolean }>): Promise<T[]> {
  const entries: T[] = [];
  for await (const { entry } of found) entries.push(entry);
  return entries;
}

/** A stream read step by step. */
export function reader<T>(items: AsyncIterable<T>) {
  const iterator = items[Symbol.asyncIterator]();
  return {
    async next(): Promise<T> {
      const { done, value } = await iterator.next();
      assert.ok(!done, "the stream has ended");
      return value;
    },
    /** The next `count` items. */
    async take(count: number): Promise<T[]> {
      const taken: T[] = [];
      while (taken.length < count) taken.push(await this.next());
      return taken;
    },
  };
}

/** Waits until a condition holds. */
export async function until(condition: () => boolean | Promise<boolean>, limitMs = 10_000): Promise<void> {
  const endMs = Date.now() + limitMs;
  while (!(await condition())) {
    assert.ok(Date.now() < endMs, `not within ${limitMs} ms: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A token as Go's test rigs make it; nobody verifies it without an identity. */
export function tokenOf(subject: string): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: subject })}.${Buffer.from("x").toString("base64url")}`;
}

/** The `path` header of an endpoint's or service's first hop. */
export function pathOf(...subjects: string[]): string {
  return JSON.stringify({ Index: 0, PathSegments: subjects.map((subject) => ({ token: tokenOf(subject) })) });
}

/** A scope that undoes in reverse: what was made first goes last. */
export function stacked(scope: Scope): Scope {
  const undo: (() => void | Promise<void>)[] = [];
  scope.after(async () => {
    for (const step of undo.reverse()) await step();
  });
  return { after: (step) => void undo.push(step) };
}
