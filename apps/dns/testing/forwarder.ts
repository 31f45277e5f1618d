/** A name server that hands every query on to another one, in a pod's own namespace, and its answer back: half of a loop. */
import { createSocket } from "node:dgram";
import { boundSocket } from "../../../sdk/linux/inet-socket.js";
import type { NetnsHandle } from "../../../sdk/linux/netns.js";
import type { CleanUp } from "../../../sdk/testing/cleanup.js";
import { idOf, isResponse } from "../message.js";

export function startForwarder(
  t: CleanUp,
  netns: Pick<NetnsHandle, "fd" | "ino">,
  address: string,
  upstream: string,
): { forwarded(): number } {
  let forwarded = 0;
  const clients = new Map<number, { port: number; address: string }>();
  const near = createSocket("udp4");
  const far = createSocket("udp4");
  near.bind({ fd: boundSocket(netns, "udp", address, 53).fd });
  far.bind({ fd: boundSocket(netns, "udp", address, 0).fd });
  near.on("message", (query, from) => {
    if (isResponse(query)) return;
    forwarded++;
    clients.set(idOf(query), from);
    far.send(query, 53, upstream);
  });
  far.on("message", (answer) => {
    const client = clients.get(idOf(answer));
    if (client !== undefined) near.send(answer, client.port, client.address);
  });
  t.after(() => {
    near.close();
    far.close();
  });
  return { forwarded: () => forwarded };
}
