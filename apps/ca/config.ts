/** The settings of the built-in certificate authority, and of the command that makes its join tokens. */
import { stateSettings, telemetrySettings } from "../../sdk/config/common.js";
import { address, boolean, durationMs, list, name, optional, text } from "../../sdk/config/kinds.js";
import { setting } from "../../sdk/config/table.js";

const authoritySettings = {
  ...stateSettings,
  name: setting("NSM_NAME", name, "name of this authority, in logs; also of its state directory", { default: "ca" }),
  trustDomain: setting("WEFT_TRUST_DOMAIN", name, "the trust domain whose identities it gives", { default: "weft.local" }),
} as const;

export const caSettings = {
  ...telemetrySettings,
  ...authoritySettings,
  listenOn: setting("NSM_LISTEN_ON", list(address), "where components ask for certificates", { default: "tcp://:5010" }),
  kubernetes: setting(
    "WEFT_CA_KUBERNETES",
    boolean,
    "the root is kept in the Secret NAME-root and told by the ConfigMap NAME; pods join by their service account tokens",
    { default: "false" },
  ),
  kubeconfig: setting("KUBECONFIG", optional(text), "outside of a cluster: how to reach its API", {
    default: "",
    flag: "--kubeconfig",
  }),
  svidLifetimeMs: setting("WEFT_SVID_LIFETIME", durationMs, "life of a certificate; it is renewed at half of it", {
    default: "1h",
  }),
} as const;

export const caTokenSettings = {
  ...authoritySettings,
  spiffeId: setting("WEFT_SPIFFE_ID", name, "the identity: spiffe://DOMAIN/PATH; PATH/* lets the component choose below PATH"),
  lifetimeMs: setting("WEFT_JOIN_TOKEN_LIFETIME", durationMs, "how long the token may be used", { default: "1h" }),
  reusable: setting("WEFT_JOIN_TOKEN_REUSABLE", boolean, "more than once, for components that start again with the same one", {
    default: "false",
  }),
} as const;
