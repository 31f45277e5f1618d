/** weft get: lists of what the mesh holds, as a table, JSON or YAML; with --watch again whenever it changes. */
import { stringify } from "yaml";
import { Code, statusError, toStatusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import { runningMesh } from "../mesh/state.js";
import { operatorDialer } from "../operator-dialer.js";
import { kinds, type Listing } from "../view/listings.js";
import { findSources, type Source, type SourceOptions } from "../view/sources.js";
import { formatTable } from "../view/table.js";
import { watchChanges } from "../view/watch-changes.js";

export interface GetOptions extends SourceOptions {
  readonly output?: "wide" | "json" | "yaml";
  readonly watch?: boolean;
}

export async function get(kindText: string, name: string | undefined, options: GetOptions, context: CliContext): Promise<number> {
  const kind = kinds.find(({ names }) => names.includes(kindText.toLowerCase()));
  if (kind === undefined) {
    const known = kinds.map(({ names }) => names[0]).join(", ");
    throw statusError(Code.INVALID_ARGUMENT, `there is no kind "${kindText}"; there are ${known}`);
  }
  const dialer = await operatorDialer(options, context);
  try {
    const sources = await findSources(options, dialer, context.signal);
    const list = async (asked: readonly Source[]): Promise<Listing> =>
      await kind.list({ dialer, sources: asked, mesh: runningMesh(), signal: context.signal });
    const first = filterByName(await list(sources), name);
    show(kind.names[0], first, options, context);
    if (options.watch !== true) return first.problems.length > 0 ? 1 : 0;
    const shown = { text: render(kind.names[0], first, options), problems: first.problems.join("\n") };
    const again = async (): Promise<readonly Source[] | undefined> => {
      const asked = await findSources(options, dialer, context.signal);
      const next = named(await list(asked), name);
      const text = render(kind.names[0], next, options);
      if (context.signal.aborted) return asked;
      if (text !== shown.text) context.out.write(context.out.isTTY === true ? `\n${text}` : text);
      const problems = next.problems.join("\n");
      if (problems !== shown.problems) for (const problem of next.problems) context.err.write(`weft: ${problem}\n`);
      Object.assign(shown, { text, problems });
      return asked;
    };
    const orWhyNot = async (): Promise<readonly Source[] | undefined> => {
      try {
        return await again();
      } catch (error) {
        // a registry or a mesh that is away is no reason to end: it is told once, and asked again
        const problems = toStatusError(error).details;
        if (!context.signal.aborted && problems !== shown.problems) context.err.write(`weft: ${problems}\n`);
        shown.problems = problems;
        return undefined;
      }
    };
    await watchChanges({ dialer, signal: context.signal, again: orWhyNot });
    return 0;
  } finally {
    dialer.close();
  }
}

/** Those that are called so; all without a name. */
function named(listing: Listing, name: string | undefined): Listing {
  if (name === undefined) return listing;
  return { ...listing, items: listing.items.filter(({ names }) => names.some((known) => known.startsWith(name))) };
}

function filterByName(listing: Listing, name: string | undefined): Listing {
  const found = named(listing, name);
  if (name === undefined || found.items.length > 0) return found;
  throw statusError(Code.NOT_FOUND, `none of the ${listing.items.length} found is called "${name}"`);
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
