/** The settings of the small SPIFFE Workload API server. */
import { stateSettings, telemetrySettings } from "../../sdk/config/common.js";
import { address, durationMs, map, name } from "../../sdk/config/kinds.js";
import { setting } from "../../sdk/config/table.js";

export const spiffeSettings = {
  ...telemetrySettings,
  ...stateSettings,
  name: setting("NSM_NAME", name, "name of this server, in logs; also of its state directory", { default: "spiffe" }),
  trustDomain: setting("WEFT_TRUST_DOMAIN", name, "the trust domain whose identities it gives", { default: "weft.local" }),
  listenOn: setting("NSM_LISTEN_ON", address, "the socket; what SPIFFE_ENDPOINT_SOCKET of the components names", {
    default: "unix:///run/weft/spiffe.sock",
  }),
  path: setting("WEFT_SPIFFE_PATH", name, "path of the SPIFFE ID of a process; {uid}, {gid} and {pid} are its own", {
    default: "/uid/{uid}",
  }),
  pathOfUid: setting("WEFT_SPIFFE_PATH_OF_UID", map, "other paths for some user ids: 1000:/alice,1001:/bob", { default: "" }),
  svidLifetimeMs: setting("WEFT_SVID_LIFETIME", durationMs, "life of a certificate; it is renewed at half of it", {
    default: "1h",
  }),
} as const;
