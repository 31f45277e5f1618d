/** The proof that payload IP between the nodes is encrypted, by looking at every frame of the underlay. */

import { openNetns } from "../../sdk/linux/netns.js";
import { openCapture } from "../../sdk/linux/packet-capture.js";
import { requireMesh } from "../mesh/state.js";
import { type ConnectionView, dataPath } from "../view/connections.js";
import { factsOf } from "../view/inspect.js";
import { sourcesOf } from "../view/sources.js";
import { linkOf, pingEnd } from "./proofs.js";
import { pods } from "./scene.js";
import { bare, type Stage } from "./stage.js";

/** Why it cannot be tried here, in the words of the first forwarder that lacks WireGuard; undefined: it can. */
export async function whyNoEncryption(stage: Stage): Promise<string | undefined> {
  for (const source of sourcesOf(requireMesh()).filter(({ kind }) => kind === "forwarder")) {
    const facts = await factsOf(stage.dialer, source, "capabilities", stage.context.signal);
    const found = facts.find(({ name }) => name === "wireguard");
    if (found?.value !== "yes") return `${source.name}: ${found?.detail ?? "knows no WireGuard"}`;
  }
  return undefined;
}

/** Pings of both families; every frame between the nodes is looked at for the addresses of the two workloads. */
export async function encryptedConnection(stage: Stage, view: ConnectionView): Promise<string> {
  const wire = dataPath(view).find(({ mechanism }) => mechanism?.type === "WIREGUARD");
  if (wire === undefined) throw new Error("the connection does not go through WireGuard");
  const link = linkOf(pods.secureClient, view.clientAddresses);
  const node = requireMesh().nodes.find(({ name }) => name === pods.secureClient.node);
  const netns = openNetns(node?.netns ?? "");
  const capture = openCapture(netns, "eth0");
  try {
    const { clientAddresses: near, endpointAddresses: far } = view;
    const v4 = await pingEnd(stage, pods.secureClient, near, far, 4);
    const v6 = await pingEnd(stage, pods.secureClient, near, far, 6);
    const frames = capture.frames();
    const secrets = [...near, ...far].map((address) => bare(address)).filter((address) => !address.includes(":"));
    const clear = frames.filter(({ bytes }) => secrets.some((address) => bytes.includes(bytesOf(address))));
    const encrypted = frames.filter(({ bytes }) => isTunnelled(bytes));
    if (clear.length > 0)
      throw new Error(`${clear.length} of ${frames.length} frames between the nodes show an address of the workloads`);
    if (encrypted.length === 0) throw new Error("no WireGuard datagram was seen between the nodes");
    return (
      `IPv4 ${v4}; IPv6 ${v6}; MTU ${link.mtuBytes}; of ${frames.length} frames on the underlay ` +
      `${encrypted.length} are WireGuard's and none shows an address of the workloads`
    );
  } finally {
    capture.close();
    netns.close();
  }
}

function bytesOf(address: string): Buffer {
  return Buffer.from(address.split(".").map(Number));
}

/** A transport message (type 4) in UDP over IPv4 or IPv6 over Ethernet. */
function isTunnelled(frame: Buffer): boolean {
  if (frame.length < 14 + 40 + 8 + 4) return false;
  const [protocolAt, payloadAt] = frame.readUInt16BE(12) === 0x86dd ? [20, 62] : [23, 42];
  return frame.readUInt8(protocolAt) === 17 && frame.readUInt32LE(payloadAt) === 4;
}
