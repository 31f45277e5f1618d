/** Packets that vanish between nodes, by nftables rules in their namespaces. */
import type { spawn } from "node:child_process";
import { once } from "node:events";
import { openNetns, spawnInNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import type { Fault } from "./schedule.js";
import type { Stage } from "./stage.js";

const table = "weft_chaos";

/**
 * Begins to drop what the fault says; the result ends it.
 * @throws FAILED_PRECONDITION without nft
 */
export async function dropTraffic(
  { mesh }: Pick<Stage, "mesh">,
  fault: Fault & { readonly kind: "partition" | "half-open" },
): Promise<() => Promise<void>> {
  const nodes = mesh.state.nodes.filter(({ name }) => fault.targets.includes(name));
  const rules = (own: (typeof nodes)[number]): string[] => {
    if (fault.kind === "half-open") return ["ip protocol tcp drop", "ip6 nexthdr tcp drop"];
    return nodes
      .filter((other) => other !== own)
      .flatMap(({ address4, address6 }) => [`ip saddr ${address4} drop`, `ip6 saddr ${address6} drop`]);
  };
  await Promise.all(nodes.map((node) => nft(node.netns, ruleset(rules(node)))));
  return async () => {
    await Promise.all(nodes.map(({ netns }) => nft(netns, `delete table inet ${table}\n`)));
  };
}

/** Both ways: what comes in on the cable, and, for connections that only send, what goes out. */
function ruleset(rules: readonly string[]): string {
  const outward = rules.map((rule) => rule.replace("saddr", "daddr"));
  const chain = (name: string, interfaces: string, lines: readonly string[]): string =>
    `  chain ${name} {\n    type filter hook ${name} priority 0;\n${lines.map((line) => `    ${interfaces} ${line}\n`).join("")}  }\n`;
  return `table inet ${table} {\n${chain("input", "iifname eth0", rules)}${chain("output", "oifname eth0", outward)}}\n`;
}

async function nft(netns: string, script: string): Promise<void> {
  const handle = openNetns(netns);
  let child: ReturnType<typeof spawn>;
  try {
    child = spawnInNetns(handle, "nft", ["-f", "-"], { stdio: ["pipe", "ignore", "pipe"] });
  } finally {
    handle.close();
  }
  let text = "";
  child.stderr?.on("data", (chunk) => {
    text += String(chunk);
  });
  child.stdin?.end(script);
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw statusError(Code.FAILED_PRECONDITION, `nft refused (is nftables installed?): ${text.trim()}`);
}
