/** weft get: lists of what the mesh holds, as a table, JSON or YAML; with --watch again whenever it changes. */
import { setTimeout as pause } from "node:timers/promises";
import { stringify } from "yaml";
import { MonitorScopeSelector } from "../../sdk/gen/connection.js";
import { NetworkService, NetworkServiceEndpoint } from "../../sdk/gen/registry.js";
import { Code, statusError } from "../../sdk/status.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { runningMesh } from "../mesh/state.js";
import { operatorDialer } from "../operator-dialer.js";
import { kinds, type Listing, type ListingInput } from "../view/listings.js";
import { findSources, registryOf, type Source, type SourceOptions } from "../view/sources.js";
import { formatTable } from "../view/table.js";

export interface GetOptions extends SourceOptions {
  readonly output?: "wide" | "json" | "yaml";
  readonly watch?: boolean;
}

/** Changes come in bursts (one connection: five events); they are shown together. */
const burstMs = 100;

export async function get(kindText: string, name: string | undefined, options: GetOptions, context: CliContext): Promise<number> {
  const kind = kinds.find(({ names }) => names.includes(kindText.toLowerCase()));
  if (kind === undefined) {
    const known = kinds.map(({ names }) => names[0]).join(", ");
    throw statusError(Code.INVALID_ARGUMENT, `there is no kind "${kindText}"; there are ${known}`);
  }
  const dialer = await operatorDialer(options, context);
  try {
    const input = async (): Promise<ListingInput> => ({
      dialer,
      sources: await findSources(options, dialer, context.signal),
      mesh: runningMesh(),
      signal: context.signal,
    });
    const once = async (): Promise<Listing> => filterByName(await kind.list(await input()), name);
    const first = await once();
    show(kind.names[0], first, options, context);
    if (options.watch !== true) return first.problems.length > 0 ? 1 : 0;
    await watch(dialer, await findSources(options, dialer, context.signal), context, async (last) => {
      const next = await once();
      const text = render(kind.names[0], next, options);
      if (text !== last) context.out.write(context.out.isTTY === true ? `\n${text}` : text);
      return text;
    });
    return 0;
  } finally {
    dialer.close();
  }
}

function filterByName(listing: Listing, name: string | undefined): Listing {
  if (name === undefined) return listing;
  const items = listing.items.filter(({ names }) => names.some((known) => known === name || known.startsWith(name)));
  if (items.length === 0) throw statusError(Code.NOT_FOUND, `none of the ${listing.items.length} found is called "${name}"`);
  return { ...listing, items };
}

function show(kind: string | undefined, listing: Listing, options: GetOptions, context: CliContext): void {
  context.out.write(render(kind, listing, options));
  for (const problem of listing.problems) context.err.write(`weft: ${problem}\n`);
}

function render(kind: string | undefined, listing: Listing, options: GetOptions): string {
  const data = { kind, items: listing.items.map(({ data }) => data) };
  // with --watch each state is one line, so that a program can read it as it comes
  if (options.output === "json") return `${JSON.stringify(data, null, options.watch === true ? undefined : 2)}\n`;
  if (options.output === "yaml") return `---\n${stringify(data)}`;
  if (listing.items.length === 0) return `no ${kind}\n`;
  const wide = options.output === "wide";
  const headers = listing.headers.filter((header) => wide || !header.wide).map(({ title }) => title);
  const rows = listing.items.map(({ cells }) => cells.filter((_, column) => wide || listing.headers[column]?.wide !== true));
  return formatTable(headers, rows);
}

/** Calls `again` after each burst of changes that any source tells of, until the signal aborts. */
async function watch(
  dialer: Dialer,
  sources: readonly Source[],
  { signal }: CliContext,
  again: (last: string) => Promise<string>,
): Promise<void> {
  let changed: () => void = () => {};
  const streams = sources.flatMap((source) => changesOf(source, sources, dialer, signal));
  const followers = streams.map(async (stream) => {
    try {
      for await (const _ of stream) changed();
    } catch {
      changed(); // the next listing names who is gone
    }
  });
  let last = "";
  while (!signal.aborted) {
    await new Promise<void>((resolve) => {
      changed = resolve;
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await pause(burstMs);
    if (!signal.aborted) last = await again(last);
  }
  await Promise.allSettled(followers);
}

function changesOf(source: Source, sources: readonly Source[], dialer: Dialer, signal: AbortSignal): AsyncIterable<unknown>[] {
  if (source !== registryOf(sources)) return [dialer.monitor(source.url, MonitorScopeSelector.fromPartial({}), signal)];
  return [
    dialer.serviceRegistry(source.url).find(NetworkService.fromPartial({}), { watch: true, signal }),
    dialer.endpointRegistry(source.url).find(NetworkServiceEndpoint.fromPartial({}), { watch: true, signal }),
  ];
}
