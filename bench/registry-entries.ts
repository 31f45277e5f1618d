/** The endpoints that the registry's benches register, and how they are asked for. */
import { NetworkServiceEndpoint } from "../sdk/gen/registry.js";
import type { CallOptions } from "../sdk/transport/call.js";
import type { RemoteRegistry } from "../sdk/transport/dial.js";

export const perService = 10;
export const perUrl = 100;

export type Endpoints = RemoteRegistry<NetworkServiceEndpoint>;

export const nameOf = (i: number): string => `endpoint-${i}-7c9d5f4b8-x${i % 97}`;
export const serviceOf = (i: number): string => `service-${Math.floor(i / perService)}`;
export const urlOf = (i: number): string => {
  const node = Math.floor(i / perUrl);
  return `tcp://10.${(node >> 8) & 255}.${node & 255}.1:5001`;
};

export function entry(i: number): NetworkServiceEndpoint {
  const service = serviceOf(i);
  return NetworkServiceEndpoint.fromPartial({
    name: nameOf(i),
    network_service_names: [service],
    network_service_labels: { [service]: { labels: { app: `app-${i % 10}`, nodeName: `node-${Math.floor(i / perUrl)}` } } },
    url: urlOf(i),
  });
}

export type Query = "name" | "service" | "url";

type AskFor = readonly [Query, (i: number) => NetworkServiceEndpoint];
export const queries: readonly [AskFor, AskFor, AskFor] = [
  ["name", (i) => NetworkServiceEndpoint.fromPartial({ name: nameOf(i) })],
  ["service", (i) => NetworkServiceEndpoint.fromPartial({ network_service_names: [serviceOf(i)] })],
  ["url", (i) => NetworkServiceEndpoint.fromPartial({ url: urlOf(i), network_service_names: [serviceOf(i)] })],
];

export const call = (): CallOptions => ({ signal: new AbortController().signal, deadlineMs: Date.now() + 60_000 });

/** @throws when nothing is found */
export async function find(endpoints: Endpoints, query: NetworkServiceEndpoint): Promise<void> {
  let found = 0;
  for await (const _one of endpoints.find(query, { ...call(), watch: false })) found++;
  if (found === 0) throw new Error(`nothing found for ${JSON.stringify(query)}`);
}

/** Registers entries and takes them out again: warm code, an empty registry. */
export async function warmUp(endpoints: Endpoints): Promise<void> {
  for (let round = 0; round < 4; round++) {
    const entries = Array.from({ length: 500 }, (_, i) => ({ ...entry(i), name: `warm-${i}` }));
    await Promise.all(entries.map((one) => endpoints.register(one, call())));
    await Promise.all(entries.map((one) => endpoints.unregister(one, call())));
  }
}

/** Runs work for 0 … count-1 on so many workers. */
export async function inParallel(count: number, workers: number, run: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let i = next++; i < count; i = next++) await run(i);
  };
  await Promise.all(Array.from({ length: workers }, worker));
}

export const number = (value: number): string => value.toLocaleString("en-US");
