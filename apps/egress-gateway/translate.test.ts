import assert from "node:assert/strict";
import { test } from "node:test";
import { settingsHelp } from "../../sdk/config/table.js";
import { prefixGroups } from "../../sdk/endpoint/ipam/groups.js";
import { egressGatewaySettings, servedRoutes } from "./config.js";
import { translationScript } from "./translate.js";

test("only clients' addresses are translated, and only towards the uplink", () => {
  const clients = prefixGroups(["10.44.0.0/24", ["fd44::/64", "10.45.0.0/24"]]).flat();
  const script = translationScript("up0", clients);
  assert.match(script, /postrouting oifname "up0" ip saddr \{ 10\.44\.0\.0\/24, 10\.45\.0\.0\/24 \} masquerade/);
  assert.match(script, /postrouting oifname "up0" ip6 saddr \{ fd44::\/64 \} masquerade/);
  assert.match(script, /chain inet weft-egress forward \{ .* policy drop; \}/);
});

test("a client gets routes only of the families it has addresses of", () => {
  assert.deepEqual(servedRoutes(["0.0.0.0/0", "::/0"], ["10.0.0.0/24"]), ["0.0.0.0/0"]);
  assert.deepEqual(servedRoutes(["0.0.0.0/0", "::/0"], ["10.0.0.0/24", "fd00::/64"]), ["0.0.0.0/0", "::/0"]);
});

test("an uplink's name that nft would misread is refused", () => {
  for (const name of ['a"b', "a b", "sixteen-bytes-xx", ""]) {
    assert.throws(() => egressGatewaySettings.uplink.kind.parse(name));
  }
  assert.equal(egressGatewaySettings.uplink.kind.parse("eth0.5"), "eth0.5");
});

test("the help names every setting", () => {
  assert.match(settingsHelp({ name: "weft egress-gateway", summary: "" }, egressGatewaySettings), /WEFT_UPLINK_PARENT/);
});
