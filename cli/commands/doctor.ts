/** weft doctor: what this machine can do, with the remedy where it cannot; then the health of the mesh, if one runs. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { probeMachine } from "../../sdk/linux/capabilities.js";
import { findExecutable, foldersOf } from "../../sdk/linux/executable.js";
import { inUserNamespace } from "../../sdk/linux/netns.js";
import { toStatusError } from "../../sdk/status.js";
import { ServingStatus } from "../../sdk/telemetry/health.js";
import { createDialer, type Dialer } from "../../sdk/transport/dial.js";
import type { CliContext } from "../context.js";
import { meshNamespaces } from "../mesh/clean.js";
import { runFolder } from "../mesh/plan.js";
import { findMeshProcesses } from "../mesh/processes.js";
import { runningMesh } from "../mesh/state.js";
import { collectConnections } from "../view/collect.js";
import { shortId } from "../view/connections.js";
import { findSources, listEndpoints, questionTimeoutMs, registryOf, type Source, type SourceOptions } from "../view/sources.js";
import { formatTable } from "../view/table.js";

/** One line of the diagnosis. */
export interface Finding {
  readonly area: "machine" | "mesh";
  readonly name: string;
  readonly verdict: "ok" | "missing" | "wrong";
  /** How it was found out; where it is not ok: what to do. */
  readonly detail: string;
}

export async function doctor(options: SourceOptions & { readonly json?: boolean }, context: CliContext): Promise<number> {
  const findings = [...(await examineMachine(context.env)), ...(await examineMesh(options, context))];
  const ok = findings.every(({ verdict }) => verdict !== "wrong");
  if (options.json === true) {
    context.out.write(`${JSON.stringify({ ok, findings }, null, 2)}\n`);
  } else {
    const marks = { ok: "ok", missing: "–", wrong: "WRONG" };
    const rows = findings.map(({ area, name, verdict, detail }) => [area, marks[verdict], name, detail]);
    context.out.write(formatTable(["AREA", "", "WHAT", "DETAIL"], rows));
    const missing = findings.filter(({ verdict }) => verdict === "missing").length;
    context.out.write(
      `\n${ok ? "nothing is wrong" : "something is wrong, see above"}${missing > 0 ? `; ${missing} things this machine cannot do are marked –` : ""}\n`,
    );
  }
  return ok ? 0 : 1;
}

async function examineMachine(env: CliContext["env"]): Promise<Finding[]> {
  const machine = (name: string, verdict: Finding["verdict"], detail: string): Finding => ({
    area: "machine",
    name,
    verdict,
    detail,
  });
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const recent = major > 20 || (major === 20 && minor >= 11);
  const nft = findProgram("nft", env);
  const vpp = findProgram("vpp", env);
  const capabilities = await probeMachine();
  return [
    machine("node", recent ? "ok" : "wrong", recent ? process.version : `${process.version} is too old: install 20.11 or newer`),
    machine("privileges", ...privileges(env)),
    machine("nft", nft === undefined ? "missing" : "ok", nft ?? "needed by the firewall and by NAT: apt-get install nftables"),
    machine(
      "vpp",
      vpp === undefined ? "missing" : "ok",
      vpp ?? "only for forwarders with WEFT_DATAPLANE=vpp: packages at fd.io, see docs/vpp.md",
    ),
    ...capabilities.map(({ name, supported, detail }) => machine(name, supported === "yes" ? "ok" : "missing", detail)),
  ];
}

function privileges(env: CliContext["env"]): [Finding["verdict"], string] {
  if (process.getuid?.() === 0) return ["ok", inUserNamespace() ? "root of a user namespace" : "root"];
  const max = readNumber("/proc/sys/user/max_user_namespaces");
  if (max === 0) return ["wrong", "neither root nor user namespaces: sysctl user.max_user_namespaces=10000, or use sudo"];
  if (readNumber("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") === 1) {
    return ["wrong", "AppArmor forbids user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or use sudo"];
  }
  if (findProgram("unshare", env) === undefined) return ["wrong", "`unshare` is missing: apt-get install util-linux"];
  return ["ok", "an ordinary user: `weft demo` runs in a user namespace; `weft up` needs root"];
}

async function examineMesh(options: SourceOptions, { signal }: CliContext): Promise<Finding[]> {
  const mesh = runningMesh();
  if (mesh === undefined && options.registry === undefined && options.nsmgr === undefined) return [remains()];
  const dialer = createDialer({ dialTimeoutMs: 1000 });
  try {
    const sources = await findSources(options, dialer, signal);
    const health = await Promise.all(sources.map((source) => examineSource(dialer, source, signal)));
    return [...health, ...(await examineEntries(dialer, sources, signal))];
  } catch (error) {
    return [{ area: "mesh", name: "sources", verdict: "wrong", detail: toStatusError(error).details }];
  } finally {
    dialer.close();
  }
}

function remains(): Finding {
  const namespaces = meshNamespaces();
  const processes = findMeshProcesses(process.pid);
  if (namespaces.length + processes.length === 0 && !existsSync(join(runFolder, "mesh.json"))) {
    return {
      area: "mesh",
      name: "local mesh",
      verdict: "ok",
      detail: "none runs; `weft up --nodes 2` starts one, `weft demo` shows one",
    };
  }
  const what = `${namespaces.length} namespaces and ${processes.length} processes of a crashed mesh`;
  return { area: "mesh", name: "local mesh", verdict: "wrong", detail: `${what}; \`weft down\` removes them` };
}

async function examineSource(dialer: Dialer, source: Source, signal: AbortSignal): Promise<Finding> {
  const name = source.node === "" ? source.name : `${source.name} (${source.node})`;
  try {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(questionTimeoutMs)]);
    const status = await dialer.health(source.url, "", limit);
    if (status === ServingStatus.SERVING) return { area: "mesh", name, verdict: "ok", detail: `serves on ${source.url}` };
    return {
      area: "mesh",
      name,
      verdict: "wrong",
      detail: `answers that it does not serve; its log says why (${runFolder}/log)`,
    };
  } catch (error) {
    // workloads need not answer; a client that only connects listens nowhere
    const verdict = source.kind === "pod" ? "ok" : "wrong";
    const detail = source.kind === "pod" ? "a workload that answers no health probe" : toStatusError(error).details;
    return { area: "mesh", name, verdict, detail };
  }
}

/** Contradictions between what is registered and what is connected. */
async function examineEntries(dialer: Dialer, sources: readonly Source[], signal: AbortSignal): Promise<Finding[]> {
  const endpoints = await listEndpoints(dialer, registryOf(sources).url, signal);
  const { found } = await collectConnections(dialer, sources, signal);
  const known = new Set(endpoints.map(({ name }) => name));
  const findings: Finding[] = found
    .filter(({ state }) => state !== "UP")
    .map((view) => ({
      area: "mesh",
      name: `connection ${shortId(view.id)}`,
      verdict: "wrong",
      detail: `${view.client} → ${view.service} is ${view.state}; \`weft why ${shortId(view.id)}\` tells the way it took`,
    }));
  for (const view of found) {
    for (const { name, id } of view.stale) {
      const detail = `${name} still holds ${id} of an earlier path; it goes when its time is up`;
      findings.push({ area: "mesh", name: `connection ${shortId(view.id)}`, verdict: "wrong", detail });
    }
    if (view.state !== "UP" || view.endpoint === "" || known.has(view.endpoint)) continue;
    findings.push({
      area: "mesh",
      name: `connection ${shortId(view.id)}`,
      verdict: "wrong",
      detail: `its endpoint ${view.endpoint} is not registered any more; it will heal or expire`,
    });
  }
  const summary = `${endpoints.length} registered endpoints, ${found.length} connections`;
  return [{ area: "mesh", name: "entries", verdict: "ok", detail: summary }, ...findings];
}

function findProgram(name: string, env: CliContext["env"]): string | undefined {
  return findExecutable(name, [...foldersOf(env["PATH"]), "/usr/sbin", "/sbin"]);
}

function readNumber(path: string): number | undefined {
  try {
    return Number(readFileSync(path, "utf8").trim());
  } catch {
    return undefined;
  }
}
