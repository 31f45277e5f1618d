/**
 * What ledgers say against what is there. An object of the world that bears the mark of one of our ledgers, and of which none says
 * anything, is an orphan; one that a ledger says is there, and that is not, is missing.
 *
 * Components may work meanwhile. A ledger is written before an object is made and after it has been taken away, so the world is
 * looked at first, then the ledgers, then both once more: only what is so both times counts.
 */

import { setTimeout as delay } from "node:timers/promises";

export type Verdict =
  /** Provably of one of our ledgers, and in none: it can be reclaimed. */
  | "orphan"
  /** A ledger says it is there. */
  | "missing"
  /** Of a ledger that is not here, or of nobody who can be named: it is left alone. */
  | "foreign";

export interface Finding {
  readonly verdict: Verdict;
  /** link, rule, process, socket, connection. */
  readonly kind: string;
  readonly name: string;
  /** Namespace in which it is or should be; empty = none. */
  readonly netns: string;
  /** The connection it belongs to, as far as anybody knows, and the ledger. */
  readonly owner: string;
  readonly detail: string;
  /** After --fix: whether it is gone; absent = nothing was tried. */
  readonly fixed?: boolean;
}

/** An object of the world that bears a mark of ours. */
export interface Seen {
  /** What it is compared by. */
  readonly key: string;
  /** Tells one object from a later one with the same key. */
  readonly instance: string;
  readonly kind: string;
  readonly name: string;
  readonly netns: string;
  readonly owner: string;
  /** Takes it away, after making sure that it is still the same; absent = it is not provably of our ledgers. */
  readonly reclaim: (() => void | Promise<void>) | undefined;
  readonly detail: string;
  /** Bears no mark: it counts where a ledger has it, and is else nobody's business. */
  readonly silent?: boolean;
}

/** An object that a ledger knows. */
export interface Noted {
  readonly key: string;
  readonly kind: string;
  readonly name: string;
  readonly netns: string;
  readonly owner: string;
  /** It must be there: what is only being made may be absent. */
  readonly certain: boolean;
}

/** One kind of world with its ledgers: the kernel, and each data plane that has objects of its own. */
export interface Auditor {
  /** "kernel", "vpp", … */
  readonly name: string;
  seen(): Promise<readonly Seen[]>;
  noted(): Promise<readonly Noted[]>;
}

export interface AuditReport {
  readonly ok: boolean;
  readonly findings: readonly Finding[];
  /** Objects that are as they should be. */
  readonly accounted: number;
}

/** A thing that is being made or taken away may look odd; after this pause it does no more. */
const pauseMs = 150;

/** @param options.fix  takes orphans away */
export async function audit(auditors: readonly Auditor[], options: { readonly fix?: boolean } = {}): Promise<AuditReport> {
  const findings: Finding[] = [];
  let accounted = 0;
  for (const auditor of auditors) {
    let pass = await passOver(auditor, options.fix === true);
    // What went may have been all that something else was there for: a rule whose table is empty now.
    const gone = pass.findings.filter(({ fixed }) => fixed === true);
    if (gone.length > 0) pass = await passOver(auditor, true);
    findings.push(...gone, ...pass.findings);
    accounted += pass.accounted;
  }
  return { ok: findings.every(({ verdict, fixed }) => verdict === "foreign" || fixed === true), findings, accounted };
}

async function passOver(auditor: Auditor, fix: boolean): Promise<Omit<AuditReport, "ok">> {
  const first = await look(auditor);
  let second = await look(auditor);
  if (suspects(first, second).count > 0) {
    await delay(pauseMs);
    second = await look(auditor);
  }
  const { stray, absent } = suspects(first, second);
  const findings: Finding[] = [];
  for (const seen of stray) findings.push(await judge(seen, fix));
  findings.push(...absent.map(missing));
  const noted = new Set(second.noted.map(({ key }) => key));
  return { findings, accounted: unique(second.seen).filter(({ key }) => noted.has(key)).length };
}

interface Look {
  readonly seen: readonly Seen[];
  readonly noted: readonly Noted[];
}

async function look(auditor: Auditor): Promise<Look> {
  const seen = await auditor.seen();
  return { seen, noted: await auditor.noted() };
}

/** What is odd in both looks. */
function suspects(
  first: Look,
  second: Look,
): { readonly stray: readonly Seen[]; readonly absent: readonly Noted[]; readonly count: number } {
  const known = new Set([...first.noted, ...second.noted].map(({ key }) => key));
  const there = new Set([...first.seen, ...second.seen].map(({ key }) => key));
  const before = new Set(first.noted.filter(({ certain }) => certain).map(({ key }) => key));
  const stray = unique(second.seen).filter(
    (seen) => !known.has(seen.key) && seen.silent !== true && first.seen.some((each) => isSame(each, seen)),
  );
  const absent = unique(second.noted).filter(({ key, certain }) => certain && before.has(key) && !there.has(key));
  return { stray, absent, count: stray.length + absent.length };
}

function missing({ kind, name, netns, owner }: Noted): Finding {
  const detail = "the ledger has it and it is not there; its forwarder makes it again at the next request, or lets it go";
  return { verdict: "missing", kind, name, netns, owner, detail };
}

function isSame(one: Seen, other: Seen): boolean {
  return one.key === other.key && one.instance === other.instance;
}

async function judge(seen: Seen, fix: boolean): Promise<Finding> {
  const { kind, name, netns, owner, reclaim, detail } = seen;
  const finding: Finding = { verdict: reclaim === undefined ? "foreign" : "orphan", kind, name, netns, owner, detail };
  if (!fix || reclaim === undefined) return finding;
  try {
    await reclaim();
    return { ...finding, fixed: true };
  } catch (error) {
    return {
      ...finding,
      fixed: false,
      detail: `${detail}; not reclaimed: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

function unique<T extends { readonly key: string }>(items: readonly T[]): T[] {
  return [...new Map(items.map((item) => [item.key, item])).values()];
}
