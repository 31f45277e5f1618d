/** The network between the nodes: a bridge in the test's own network namespace, one cable to each node. */
import { execFileSync } from "node:child_process";

export const lan = {
  bridge: "wt-lan",
  /** Of the control plane, and of the name server. */
  address: "10.77.0.1",
  prefix: "10.77.0.0/24",
  clusterCidr: "10.244.0.0/16",
  serviceCidr: "10.96.0.0/16",
  nodeAddress: (index: number): string => `10.77.0.${11 + index}`,
  podCidr: (index: number): string => `10.244.${1 + index}.0/24`,
};

export function run(...command: [string, ...string[]]): string {
  const [program, ...args] = command;
  return execFileSync(program, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

export function makeLan(): void {
  run("ip", "link", "add", lan.bridge, "type", "bridge");
  run("ip", "address", "add", `${lan.address}/24`, "dev", lan.bridge);
  run("ip", "link", "set", lan.bridge, "up");
  run("sysctl", "-qw", "net.ipv4.ip_forward=1");
}

export function removeLan(): void {
  run("ip", "link", "delete", lan.bridge);
}

/** Makes a node's network namespace with its cable, and the routes between it, us and the other nodes' pods. */
export function connectNode(netns: string, index: number, count: number): void {
  const outer = `wt-node${index}`;
  run("ip", "netns", "add", netns);
  run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", netns);
  run("ip", "link", "set", outer, "master", lan.bridge, "up");
  const inside = (...args: string[]): string => run("ip", "-n", netns, ...args);
  inside("link", "set", "lo", "up");
  inside("address", "add", `${lan.nodeAddress(index)}/24`, "dev", "eth0");
  inside("link", "set", "eth0", "up");
  inside("route", "add", "default", "via", lan.address);
  for (let other = 0; other < count; other++) {
    if (other !== index) inside("route", "add", lan.podCidr(other), "via", lan.nodeAddress(other));
  }
  run("ip", "route", "replace", lan.podCidr(index), "via", lan.nodeAddress(index));
}

export function disconnectNode(netns: string): void {
  run("ip", "netns", "delete", netns);
}
