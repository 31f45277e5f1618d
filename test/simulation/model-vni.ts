/** In the place of forwarder/vni.ts: the same with so few numbers that two connections come to want one. */
import { createVniPool as shipped } from "../../forwarder/vni.js";

export type { VniPool } from "../../forwarder/vni.js";
export { vniIsEven } from "../../forwarder/vni.js";

const last = 31;

export function createVniPool(random: () => number): ReturnType<typeof shipped> {
  return shipped(random, last);
}
