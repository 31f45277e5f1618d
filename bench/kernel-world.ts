/** Namespaces for the benches of the kernel data plane, and the cross-connects they set up. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crossConnect, type Namespace, namespace, port } from "../forwarder/dataplane/compliance-world.js";
import type { CrossConnect, KernelPort } from "../forwarder/dataplane/dataplane.js";
import { inUserNamespace, openNewNetns } from "../sdk/linux/netns.js";

export interface BenchWorld {
  namespace(hint: string): Namespace;
  folder(): string;
  atEnd(action: () => void): void;
  /** Deletes everything, newest first. */
  end(): void;
}

export function benchWorld(): BenchWorld {
  const undo: (() => void)[] = [];
  return {
    namespace: (hint) => namespace({ after: (action) => undo.push(action) }, hint),
    folder() {
      const folder = mkdtempSync(join(tmpdir(), "wt-bench-"));
      undo.push(() => rmSync(folder, { recursive: true, force: true }));
      return folder;
    },
    atEnd: (action) => void undo.push(action),
    end() {
      for (const action of undo.reverse()) action();
    },
  };
}

/** Undefined = namespaces can be made here. */
export async function missingNamespaces(): Promise<string | undefined> {
  try {
    openNewNetns().close();
    return undefined;
  } catch {
    const how = inUserNamespace() ? "" : "; run it as root or with `unshare --user --map-root-user --net --mount`";
    return `network namespaces cannot be made${how}`;
  }
}

export interface BenchPair {
  readonly client: Namespace;
  readonly endpoint: Namespace;
}

/** Names and values of one end of the Nth connection: what is set up, by whichever tool. */
export interface EndValues {
  readonly name: string;
  readonly mac: string;
  readonly peerMac: string;
  readonly v4: string;
  readonly v6: string;
  readonly peerV4: string;
  readonly peerV6: string;
  readonly table: number;
}

export function endValues(index: number): { client: EndValues; endpoint: EndValues } {
  const [high, low] = [(index >> 7) & 0xff, (index & 0x7f) * 2];
  const hex = (value: number): string => value.toString(16).padStart(2, "0");
  const of = (side: 0 | 1) => ({
    mac: `02:00:${hex(side)}:00:${hex(high)}:${hex(low)}`,
    v4: `10.${100 + side}.${high}.${low}`,
    v6: `fd${10 + side}::${high.toString(16)}:${low.toString(16)}`,
  });
  const [one, two] = [of(0), of(1)];
  const end = (name: string, own: typeof one, peer: typeof one): EndValues => ({
    name: `${name}${index}`,
    ...own,
    peerMac: peer.mac,
    peerV4: peer.v4,
    peerV6: peer.v6,
    table: 10_000 + index,
  });
  return { client: end("nsm", one, two), endpoint: end("nse", two, one) };
}

/** Both families, neighbours, a policy rule with its default route at each end: 19 `ip` commands. */
export function benchConnection(pair: BenchPair, index: number): CrossConnect {
  const { client, endpoint } = endValues(index);
  const side = (place: Namespace, end: EndValues): KernelPort =>
    port(place, {
      interfaceName: end.name,
      alias: `bench-${index}`,
      macAddress: end.mac,
      addresses: [`${end.v4}/32`, `${end.v6}/128`],
      onLinkPrefixes: [`${end.peerV4}/32`, `${end.peerV6}/128`],
      neighbors: [
        { address: end.peerV4, macAddress: end.peerMac },
        { address: end.peerV6, macAddress: end.peerMac },
      ],
      policies: [
        {
          from: `${end.v4}/32`,
          protocol: 6,
          sourcePorts: undefined,
          destinationPorts: undefined,
          routes: [{ prefix: "0.0.0.0/0", nextHop: end.peerV4 }],
        },
      ],
    });
  return crossConnect(`bench-${index}`, { client: side(pair.client, client), endpoint: side(pair.endpoint, endpoint) });
}
