import assert from "node:assert/strict";
import { test } from "node:test";
import { parsePrefix } from "../../../sdk/linux/netlink/ip-address.js";
import { addressOf } from "./address-of.js";

const at = (linkIndex: number, prefix: string) => ({ linkIndex, prefix: parsePrefix(prefix), scope: 0, tentative: false });
const addresses = [at(1, "127.0.0.1/8"), at(1, "::1/128"), at(2, "10.0.0.1/24"), at(3, "fd00::1/64")];

test("an address belongs to the interface that has it; a neighbour's to none; all of 127.0.0.0/8 to the loopback", () => {
  const cases: [string, number | undefined][] = [
    ["10.0.0.1", 2],
    ["10.0.0.2", undefined],
    ["fd00:0::1", 3],
    ["fd00::2", undefined],
    ["127.0.0.1", 1],
    ["127.0.0.2", 1],
    ["127.255.1.1", 1],
    ["128.0.0.1", undefined],
    ["::1", 1],
    ["::2", undefined],
  ];
  for (const [text, linkIndex] of cases) assert.equal(addressOf(addresses, text)?.linkIndex, linkIndex, text);
});
