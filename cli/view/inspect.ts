/** What components report and explain (service weft.Inspect); one that does not answer is named. */
import type { Decision, Fact } from "../../sdk/gen/inspect.js";
import { Code, toStatusError } from "../../sdk/status.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import type { HopView } from "./connections.js";
import { questionTimeoutMs, type Source } from "./sources.js";
import { formatFacts, formatTable } from "./table.js";

/** @param section  empty = all sections */
export async function factsOf(dialer: Dialer, source: Source, section: string, signal: AbortSignal): Promise<readonly Fact[]> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(questionTimeoutMs)]);
  return (await dialer.inspect(source.url).getReport({ section }, { signal: limit })).facts;
}

/** The report of a component, one block per section; of one connection only when an id is given. */
export async function describeReport(
  dialer: Dialer,
  source: Source,
  signal: AbortSignal,
  connectionId?: string,
): Promise<string> {
  try {
    const facts = (await factsOf(dialer, source, "", signal)).filter(
      (fact) => connectionId === undefined || fact.connection_id === connectionId,
    );
    const sections = [...new Set(facts.map(({ section }) => section))];
    return sections
      .map((section) => {
        const rows = facts.filter((fact) => fact.section === section).map(({ name, value, detail }) => [name, value, detail]);
        return `${title(section)}\n${indent(formatTable(["NAME", "VALUE", "DETAIL"], rows))}`;
      })
      .join("");
  } catch (error) {
    const { code, details } = toStatusError(error);
    return code === Code.UNIMPLEMENTED ? "" : formatFacts([["report", `${source.name} does not answer: ${details}`]]);
  }
}

export interface Explained {
  readonly hop: HopView;
  readonly component: string;
  readonly decisions: readonly Decision[];
  /** Why there are none. */
  readonly note: string;
}

/** What one hop considered for a connection. */
export async function explainHop(
  dialer: Dialer,
  hop: HopView,
  source: Source | undefined,
  signal: AbortSignal,
): Promise<Explained> {
  const nothing = { hop, component: hop.name, decisions: [] };
  if (source === undefined) return { ...nothing, note: "cannot be asked from here" };
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(questionTimeoutMs)]);
    const { component, decisions } = await dialer.inspect(source.url).explain({ connection_id: hop.id }, { signal: limit });
    const note = decisions.length === 0 ? "nothing to choose" : "";
    return { hop, component: component || hop.name, decisions, note };
  } catch (error) {
    const { code, details } = toStatusError(error);
    return { ...nothing, note: code === Code.UNIMPLEMENTED ? "chooses nothing" : `does not answer: ${details}` };
  }
}

export function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "  ");
}

function title(section: string): string {
  return section === "" ? "Report" : section.charAt(0).toUpperCase() + section.slice(1);
}
