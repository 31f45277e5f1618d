/**
 * The first packet after the answer arrives, in IPv4 and IPv6 and both ways, also where others keep the processors and the kernel's
 * workers busy: what the kernel does behind an accepted address is waited for (settle.ts).
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { type TestContext, test } from "node:test";
import { formatAddress } from "../../../sdk/linux/netlink/ip-address.js";
import { getLink } from "../../../sdk/linux/netlink/links.js";
import { listTakenAddresses } from "../../../sdk/linux/netlink/routes.js";
import { crossConnect, type Namespace, namespace, noSignal, numbered, pings } from "../compliance-world.js";
import { planeIn } from "./plane-in.js";

/** Each with a first packet to either end. */
const rounds = 25;

test("row 4.7: the first packet of every connection arrives on a busy machine", async (t) => {
  const home = namespace(t, "home");
  const [client, endpoint] = [namespace(t, "client"), namespace(t, "endpoint")];
  const plane = planeIn(t, home);
  busyMachine(t, home);
  const lost: string[] = [];
  for (let round = 0; round < rounds; round += 1) {
    await plane.ensure(crossConnect("c1", numbered(client, endpoint)), noSignal);
    assert.ok(takes(client, "nsm-1", "fd16::1"), `round ${round}: the client takes packets in when the answer is there`);
    assert.ok(takes(endpoint, "nse-1", "fd16::"), `round ${round}: so does the endpoint`);
    const answered = await Promise.all([
      pings(client, "fd16:0::0", "fd16:0::1"),
      pings(endpoint, "fd16:0::1", "fd16:0::0"),
      pings(client, "172.16.0.0", "172.16.0.1"),
      pings(endpoint, "172.16.0.1", "172.16.0.0"),
    ]);
    const names = ["to the endpoint, IPv6", "to the client, IPv6", "to the endpoint, IPv4", "to the client, IPv4"];
    lost.push(...names.filter((_, index) => !answered[index]).map((name) => `${round}: ${name}`));
    await plane.remove("c1", noSignal);
  }
  assert.deepEqual(lost, []);
});

function takes({ socket }: Namespace, name: string, address: string): boolean {
  return listTakenAddresses(socket, getLink(socket, name)?.index ?? 0).some((each) => formatAddress(each) === address);
}

/** Processes that compute, and one that makes and removes interfaces, which is what holds up the kernel's workers. */
function busyMachine(t: TestContext, { name }: Namespace): void {
  const churn = `while :; do ip -n ${name} link add wt-a type veth peer name wt-b; ip -n ${name} addr add fd77::1/64 dev wt-a;
    ip -n ${name} link set wt-a up; ip -n ${name} link delete wt-a; done`;
  const scripts = [
    ...Array.from({ length: availableParallelism() }, () => "while :; do :; done"),
    ...Array.from({ length: 6 }, () => churn),
  ];
  const loads = scripts.map((script) => spawn("sh", ["-c", script], { stdio: "ignore" }));
  t.after(() => {
    for (const load of loads) load.kill("SIGKILL");
  });
}
