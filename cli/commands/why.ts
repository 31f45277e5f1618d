/** weft why: for one connection, hop by hop, what was considered and which rule chose or refused it. */

import type { CliContext } from "../context.js";
import { operatorDialer } from "../operator-dialer.js";
import { collectConnections } from "../view/collect.js";
import { findConnection } from "../view/find.js";
import { explainHop } from "../view/inspect.js";
import { plain } from "../view/plain.js";
import { type DecisionTold, renderHop } from "../view/render-hop.js";
import { findSources, type Source, type SourceOptions } from "../view/sources.js";

export async function why(
  wanted: string,
  options: SourceOptions & { readonly json?: boolean },
  context: CliContext,
): Promise<number> {
  const { signal, out, err } = context;
  const dialer = await operatorDialer(options, context);
  try {
    const sources = await findSources(options, dialer, signal);
    const { found, problems } = await collectConnections(dialer, sources, signal);
    const view = findConnection(found, wanted);
    const explained = await Promise.all(view.hops.map((hop) => explainHop(dialer, hop, sourceOf(sources, hop.name), signal)));
    const hops = explained.map(({ hop, decisions, note }) => ({
      name: hop.name,
      id: hop.id,
      node: hop.node,
      kind: hop.kind,
      note,
      decisions: decisions.map((decision) => plain(decision) as DecisionTold),
    }));
    if (options.json === true) {
      out.write(
        `${JSON.stringify({ connection: view.id, client: view.client, service: view.service, endpoint: view.endpoint, hops }, null, 2)}\n`,
      );
      return 0;
    }
    out.write(`${view.client} asked for ${view.service} and is connected to ${view.endpoint} (${view.state}, id ${view.id})\n\n`);
    hops.forEach((hop, index) => void out.write(renderHop(hop, index)));
    for (const problem of problems) err.write(`weft: ${problem}\n`);
    return 0;
  } finally {
    dialer.close();
  }
}

/** Workloads make their names unique by a suffix. */
function sourceOf(sources: readonly Source[], hopName: string): Source | undefined {
  return sources.find(({ name }) => name === hopName) ?? sources.find(({ name }) => hopName.startsWith(`${name}-`));
}
