/** The same connection made by others: `ip` one command at a time, `ip -batch`, and the CNI plug-in ptp. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import type { Namespace } from "../forwarder/dataplane/compliance-world.js";
import { withNetns } from "../sdk/linux/netns.js";
import { type BenchPair, type EndValues, endValues } from "./kernel-world.js";

/** User and system time of all ended children of this process, in milliseconds; resolution 10 ms. */
export function childrenCpuMs(): number {
  const stat = readFileSync("/proc/self/stat", "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

export function ipOneByOne(pair: BenchPair, index: number): void {
  const { make, client, endpoint } = commands(pair, index);
  run("ip", ["-n", pair.client.name, ...make.split(" ")]);
  for (const command of client) run("ip", ["-n", pair.client.name, ...command.split(" ")]);
  for (const command of endpoint) run("ip", ["-n", pair.endpoint.name, ...command.split(" ")]);
}

export function ipBatch(pair: BenchPair, index: number): void {
  const { make, client, endpoint } = commands(pair, index);
  run("ip", ["-n", pair.client.name, "-batch", "-"], [make, ...client].join("\n"));
  run("ip", ["-n", pair.endpoint.name, "-batch", "-"], endpoint.join("\n"));
}

/** Takes away what the two above have made; not measured. */
export function ipRemove(pair: BenchPair, index: number): void {
  const { client, endpoint } = endValues(index);
  run("ip", ["-n", pair.client.name, "link", "delete", client.name]);
  run("ip", ["-n", pair.client.name, "rule", "delete", "table", String(client.table)]);
  run("ip", ["-n", pair.endpoint.name, "rule", "delete", "table", String(endpoint.table)]);
}

const cniFolders = ["/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"];

/** The folder of the CNI plug-ins, if they are on this machine (CNI_PATH, else the usual places). */
export function cniFolder(): string | undefined {
  const folders = [...(process.env["CNI_PATH"]?.split(":") ?? []), ...cniFolders];
  return folders.find((folder) => existsSync(`${folder}/ptp`) && existsSync(`${folder}/host-local`));
}

/** Runs in a namespace that plays the host, because the plug-in switches forwarding on there. */
export function cniPtp(
  folder: string,
  command: "ADD" | "DEL",
  host: Namespace,
  pair: BenchPair,
  index: number,
  dataDir: string,
): void {
  const config = {
    cniVersion: "0.4.0",
    name: "wt-bench",
    type: "ptp",
    ipam: { type: "host-local", dataDir, ranges: [[{ subnet: "10.200.0.0/16" }]], routes: [{ dst: "0.0.0.0/0" }] },
  };
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: `bench${index}`,
    CNI_NETNS: `/run/netns/${pair.client.name}`,
    CNI_IFNAME: `cni${index}`,
    CNI_PATH: folder,
    PATH: process.env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
  };
  withNetns(host.netns, () => run(`${folder}/ptp`, [], JSON.stringify(config), env));
}

function commands(pair: BenchPair, index: number): { make: string; client: string[]; endpoint: string[] } {
  const { client, endpoint } = endValues(index);
  const make =
    `link add ${client.name} address ${client.mac} mtu 1400 type veth ` +
    `peer name ${endpoint.name} address ${endpoint.mac} mtu 1400 netns ${pair.endpoint.name}`;
  return { make, client: configuration(client, index), endpoint: configuration(endpoint, index) };
}

function configuration(end: EndValues, index: number): string[] {
  const { name, v4, v6, peerV4, peerV6, peerMac, table } = end;
  return [
    `link set ${name} up alias bench-${index}`,
    `address add ${v4}/32 dev ${name}`,
    `address add ${v6}/128 dev ${name} nodad`,
    `route add ${peerV4}/32 dev ${name}`,
    `route add ${peerV6}/128 dev ${name}`,
    `neighbour add ${peerV4} lladdr ${peerMac} dev ${name}`,
    `neighbour add ${peerV6} lladdr ${peerMac} dev ${name}`,
    `rule add from ${v4}/32 ipproto tcp table ${table}`,
    `route add default via ${peerV4} dev ${name} onlink table ${table}`,
  ];
}

function run(command: string, args: readonly string[], input = "", env?: Record<string, string>): void {
  const result = spawnSync(command, args, { input, encoding: "utf8", ...(env === undefined ? {} : { env }) });
  if (result.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${result.stderr || result.stdout || result.error}`);
}
