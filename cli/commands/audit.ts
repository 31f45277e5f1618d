/** weft audit: what the ledgers of this machine's forwarders say against what is there. */
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { type Auditor, type AuditReport, audit, type Finding } from "../../forwarder/audit/audit.js";
import { fastAuditor } from "../../forwarder/audit/fast-auditor.js";
import { kernelAuditor } from "../../forwarder/audit/kernel-auditor.js";
import { vppAuditor } from "../../forwarder/audit/vpp-auditor.js";
import { apiFolders, flatten, readApiFolders } from "../../forwarder/vpp/api-files.js";
import { Code, statusError } from "../../sdk/status.js";
import type { Dialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { runFolder } from "../mesh/plan.js";
import { runningMesh } from "../mesh/state.js";
import { operatorDialer } from "../operator-dialer.js";
import { formatTable } from "../view/table.js";
import { namesAuditor } from "./names-auditor.js";
import { registryAuditor } from "./registry-auditor.js";

export interface AuditOptions {
  readonly stateDir?: readonly string[];
  /** URLs of managers whose names are looked at; absent = those of the local mesh. */
  readonly nsmgr?: readonly string[];
  readonly fix?: boolean;
  readonly json?: boolean;
}

/** @returns 0 when everything is accounted for, or is after --fix; else 1 */
export async function auditCommand(options: AuditOptions, context: CliContext): Promise<number> {
  const stateDirs = options.stateDir ?? findLedgers(context.env);
  const withoutLedger = (options.stateDir ?? []).find((folder) => !hasLedger(folder));
  if (withoutLedger !== undefined) {
    throw statusError(Code.NOT_FOUND, `${withoutLedger} holds no ledger of a forwarder; give the WEFT_STATE_DIR of one`);
  }
  const ledgers = [kernelAuditor(stateDirs), fastAuditor(stateDirs), vppAuditor(stateDirs, vppOf(context.env)), namesAuditor()];
  const dialer = await operatorDialer(options, context);
  try {
    const report = await audit([...ledgers, ...registryOf(options, dialer, context.signal)], { fix: options.fix === true });
    if (options.json === true) context.out.write(`${JSON.stringify({ ...report, ledgers: stateDirs }, null, 2)}\n`);
    else context.out.write(describe(report, stateDirs, options.fix === true));
    return report.ok ? 0 : 1;
  } finally {
    dialer.close();
  }
}

/** Of the managers that are named, or those of the local mesh; nothing where there is neither. */
function registryOf(options: AuditOptions, dialer: Dialer, signal: AbortSignal): Auditor[] {
  const mesh = options.nsmgr === undefined ? runningMesh() : undefined;
  const named = options.nsmgr?.map((url) => ({ name: url, url }));
  const managers = named ?? mesh?.nodes.map(({ nsmgr }) => ({ name: nsmgr.name, url: nsmgr.socketUrl })) ?? [];
  return managers.length === 0 ? [] : [registryAuditor({ managers, dialer, sameFiles: mesh !== undefined, signal })];
}

/** As a forwarder with these settings would reach its VPP (forwarder/vpp-settings.ts). */
function vppOf({
  WEFT_VPP_API_SOCKET: apiSocket,
  WEFT_VPP_API_FILES: files,
  WEFT_VPP: program = "/usr/bin/vpp",
}: CliContext["env"]) {
  const found = readApiFolders(files === undefined ? apiFolders(program) : [files]);
  return { apiSocket: apiSocket || undefined, definitions: found && flatten(found) };
}

/** Where forwarders of this machine keep their state by default (config/state-dir.ts), and those of a local mesh. */
function findLedgers(env: CliContext["env"]): string[] {
  const xdg = env["XDG_STATE_HOME"] || join(env["HOME"] || homedir(), ".local", "state");
  const roots = ["/var/lib/weft", join(xdg, "weft"), ...foldersIn(runFolder)];
  return roots.flatMap(foldersIn).filter(hasLedger).sort();
}

function hasLedger(folder: string): boolean {
  return existsSync(join(folder, "cross-connects"));
}

function foldersIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(folder, name));
}

function describe({ findings, accounted, ok }: AuditReport, ledgers: readonly string[], fix: boolean): string {
  const rows = findings.map(({ verdict, kind, name, netns, owner, detail, fixed }) => [
    fixed === true ? `${verdict}, gone now` : verdict,
    `${kind} ${name}`,
    netns.replace("file:///run/netns/", ""),
    owner,
    detail,
  ]);
  const table = rows.length === 0 ? "" : `${formatTable(["VERDICT", "WHAT", "WHERE", "OWNER", "DETAIL"], rows)}\n`;
  const orphans = count(findings, "orphan");
  const words = [
    `${accounted} objects of ${ledgers.length} ledgers are accounted for`,
    `${orphans} orphans${fix && orphans > 0 ? ` (${findings.filter(({ fixed }) => fixed === true).length} taken away)` : ""}`,
    `${count(findings, "missing")} missing`,
    `${count(findings, "foreign")} of others left alone`,
  ];
  const remedy = orphans > 0 && !fix ? "; `weft audit --fix` takes the orphans away" : "";
  const none = ledgers.length === 0 ? "no ledger was found: give --state-dir, or run it as the forwarder's user\n" : "";
  return `${table}${none}${words.join(", ")}${ok ? "" : remedy}\n`;
}

function count(findings: readonly Finding[], verdict: Finding["verdict"]): number {
  return findings.filter((finding) => finding.verdict === verdict).length;
}
