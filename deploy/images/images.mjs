// The images of Weft: what each runs, as whom, and which programs of the system it needs beside node.
// One Dockerfile each in a folder of the same name; pack.mjs makes the same without an engine.

/** Where the images are published; the chart's `image.registry`. */
export const repository = "ghcr.io/weft";

/** An ordinary user without a name of its own. */
const nobody = "65532:65532";

/**
 * `entry`: the module whose `run` (or `main`) is the process. `user`: empty = root, with the reason.
 * `programs`: of the system, copied with their libraries. `tools`: further programs beside main.mjs, by name.
 * `core`: it has the packet core (memif), where that was built for the processor.
 */
export const images = [
  { name: "registry", entry: "registry/main.ts", user: nobody, programs: [] },
  // root: it makes the socket in a folder of the node that only root may write to; its capabilities are cut in the chart
  { name: "nsmgr", entry: "nsmgr/main.ts", user: "", programs: [] },
  // root: links, namespaces and processes of others
  { name: "forwarder", entry: "forwarder/main.ts", user: "", programs: ["wireguard-go"], core: true },
  { name: "ca", entry: "apps/ca/main.ts", user: nobody, programs: [] },
  { name: "webhook", entry: "webhook/main.ts", user: nobody, programs: [] },
  // root: it opens the network namespaces of other users' processes; nft: names of endpoints in pods
  { name: "agent", entry: "apps/node-agent/main.ts", user: "", programs: ["nft"], tools: { weft: "cli/ask.ts" } },
  { name: "client", entry: "apps/client/main.ts", user: nobody, programs: [] },
  { name: "endpoint", entry: "apps/icmp-responder/main.ts", user: nobody, programs: [] },
  // root: nft wants CAP_NET_ADMIN in effect
  { name: "firewall", entry: "apps/firewall/main.ts", user: "", programs: ["nft"] },
  { name: "egress-gateway", entry: "apps/egress-gateway/main.ts", user: "", programs: ["nft"] },
  { name: "ipam", entry: "apps/ipam/main.ts", user: nobody, programs: [] },
  { name: "cli", entry: "cli/main.ts", user: nobody, programs: [], core: true },
];

/** The image of a name. @throws with the names that exist */
export function imageOf(name) {
  const found = images.find((image) => image.name === name);
  if (found === undefined)
    throw new Error(`no image is called "${name}"; there are ${images.map((image) => image.name).join(", ")}`);
  return found;
}
