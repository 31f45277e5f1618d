/**
 * A bad cable: takes each frame from one interface and puts it on another, late, changed or not at all. It stands in for
 * netem where the kernel has none. Frames keep their offload header (PACKET_VNET_HDR, packet(7)), so big ones pass whole.
 */
import * as libc from "../../sdk/linux/libc.js";
import { getLink } from "../../sdk/linux/netlink/links.js";
import { openNetlinkSocket } from "../../sdk/linux/netlink/socket.js";
import { isSystemError } from "../../sdk/linux/system-error.js";
import type { CliContext } from "../context.js";
import { impair } from "./impair.js";
import { type Chance, createChance } from "./random.js";
import type { Impairment } from "./schedule.js";

export interface CablePlan {
  /** Two interfaces of the namespace this process runs in. */
  readonly ends: readonly [string, string];
  readonly impairment: Impairment;
  readonly seed: number;
}

interface End {
  readonly fd: number;
  readonly address: Uint8Array;
}

const AF_PACKET = 17;
const ETH_P_ALL = 3;
const SOL_PACKET = 263;
const PACKET_VNET_HDR = 15;
const PACKET_OUTGOING = 4;
const packetTypeOffset = 10;
const SO_RCVBUF = 8;
const receiveBufferBytes = 4 << 20;
const maxFrameBytes = 70_000;

/** The hidden command: says "ready" when frames pass, and runs until told to stop. */
export async function cable(planText: string, { signal, out }: Pick<CliContext, "signal" | "out">): Promise<number> {
  const plan = JSON.parse(planText) as CablePlan;
  const chance = createChance(plan.seed);
  const [one, other] = [openEnd(plan.ends[0]), openEnd(plan.ends[1])];
  const polls = [carry(one, other, plan.impairment, chance), carry(other, one, plan.impairment, chance)];
  out.write("ready\n");
  await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  for (const poll of polls) poll.close();
  for (const { fd } of [one, other]) libc.closeDescriptor(fd);
  return 0;
}

function openEnd(name: string): End {
  const links = openNetlinkSocket();
  const index = getLink(links, name)?.index ?? 0;
  links.close();
  const address = Buffer.alloc(20); // struct sockaddr_ll
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(ETH_P_ALL, 2);
  address.writeInt32LE(index, 4);
  // no protocol yet: else frames of other interfaces would come in before it is bound
  const fd = libc.openSocket(AF_PACKET, libc.SOCK_RAW, 0, `listen on ${name}`);
  libc.setSocketOption(fd, SOL_PACKET, PACKET_VNET_HDR, 1, "keep the offload header of frames");
  libc.setSocketOption(fd, libc.SOL_SOCKET, SO_RCVBUF, receiveBufferBytes, "make room for frames");
  libc.bindSocket(fd, address, `listen on ${name}`);
  return { fd, address };
}

function carry(from: End, to: End, impairment: Impairment, chance: Chance): { close(): void } {
  const buffer = Buffer.alloc(maxFrameBytes);
  const put = (frame: Buffer): void => {
    try {
      libc.sendTo(to.fd, frame, to.address, "put a frame on the other end");
    } catch (error) {
      // a queue that is full, an interface that has gone: the frame is lost, as on a cable
      if (!isSystemError(error)) throw error;
    }
  };
  return libc.pollReadable(from.fd, () => {
    for (;;) {
      const received = libc.receiveFrom(from.fd, buffer, "take a frame");
      if (received === undefined) return;
      if (received.address[packetTypeOffset] === PACKET_OUTGOING) continue;
      const fate = impair(Buffer.from(buffer.subarray(0, received.length)), impairment, chance);
      if (fate.kind === "lost") continue;
      if (fate.afterMs === 0) put(fate.frame);
      else setTimeout(put, fate.afterMs, fate.frame);
    }
  });
}
