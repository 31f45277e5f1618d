/**
 * translate — lets clients out and nobody in (nftables): what comes from a client's address and leaves through the uplink
 * takes the uplink's address; answers come back; nothing else is forwarded, not even between clients.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { Fact } from "../../sdk/gen/inspect.js";
import { formatAddress, type Prefix } from "../../sdk/ip.js";
import { type NetnsHandle, withNetns } from "../../sdk/linux/netns.js";
import { Code, statusError } from "../../sdk/status.js";
import type { Nft } from "../nft.js";

const table = "inet weft-egress";
const remove = `add table ${table}\ndelete table ${table}\n`;
const counters = {
  out: "from clients to the outside",
  answers: "answers from the outside",
  refused: "dropped: not from a client's address to the outside",
} as const;

export interface Translation {
  /** Section "counters" of the report. */
  report(): Promise<Fact[]>;
  remove(): Promise<void>;
}

/** The script, for one transaction (pure). The uplink's name has been checked; prefixes are numbers. */
export function translationScript(uplink: string, clients: readonly Prefix[]): string {
  const from = ([4, 6] as const).flatMap((family) => {
    const own = clients.filter((prefix) => prefix.family === family).map((prefix) => `${formatAddress(prefix)}/${prefix.length}`);
    return own.length === 0 ? [] : [`${family === 4 ? "ip" : "ip6"} saddr { ${[...new Set(own)].join(", ")} }`];
  });
  return [
    remove.trimEnd(),
    `add table ${table}`,
    ...Object.keys(counters).map((name) => `add counter ${table} ${name}`),
    `add chain ${table} postrouting { type nat hook postrouting priority srcnat; }`,
    ...from.map((match) => `add rule ${table} postrouting oifname "${uplink}" ${match} masquerade`),
    `add chain ${table} forward { type filter hook forward priority filter; policy drop; }`,
    `add rule ${table} forward iifname "${uplink}" ct state established,related counter name answers accept`,
    ...from.map(
      (match) => `add rule ${table} forward iifname != "${uplink}" oifname "${uplink}" ${match} counter name out accept`,
    ),
    `add rule ${table} forward counter name refused drop`,
    "",
  ].join("\n");
}

/**
 * Turns forwarding on in the namespace and puts the rules in force.
 * @throws FAILED_PRECONDITION forwarding cannot be turned on, or nft is missing, with the remedy
 */
export async function translate(options: {
  readonly netns: Pick<NetnsHandle, "fd" | "ino">;
  readonly uplink: string;
  readonly clients: readonly Prefix[];
  readonly nft: Nft;
}): Promise<Translation> {
  const { netns, uplink, clients, nft } = options;
  // The rules first: what is forwarded before them would leave with a client's own address.
  await nft(translationScript(uplink, clients));
  try {
    withNetns(netns, () => {
      if (clients.some(({ family }) => family === 4)) turnOn("/proc/sys/net/ipv4/ip_forward");
      if (clients.some(({ family }) => family === 6)) turnOn("/proc/sys/net/ipv6/conf/all/forwarding");
    });
  } catch (error) {
    await nft(remove);
    throw error;
  }
  return {
    async report() {
      const listed = await nft(`list counters table ${table}\n`, { json: true });
      return Object.entries(counters).map(([name, what]) => {
        const { packets, bytes } = countOf(listed, name);
        return Fact.fromPartial({ section: "counters", name: what, value: String(packets), detail: `${bytes} bytes` });
      });
    },
    async remove() {
      await nft(remove);
    },
  };
}

function turnOn(path: string): void {
  if (readFileSync(path, "utf8").trim() === "1") return;
  try {
    writeFileSync(path, "1");
  } catch (error) {
    const name = path.replace("/proc/sys/", "").replaceAll("/", ".");
    throw statusError(
      Code.FAILED_PRECONDITION,
      `cannot set ${name}=1: give the gateway's pod a writable /proc/sys (privileged), or set this sysctl in its pod spec`,
      error,
    );
  }
}

function countOf(json: string, name: string): { packets: number; bytes: number } {
  const { nftables } = JSON.parse(json) as { nftables: { counter?: { name: string; packets: number; bytes: number } }[] };
  const found = nftables.find(({ counter }) => counter?.name === name)?.counter;
  return { packets: found?.packets ?? 0, bytes: found?.bytes ?? 0 };
}
