/** The settings by which a component gets its identity. One of three sources, or --insecure. */
import { address, list, name, optional, text } from "./kinds.js";
import { setting } from "./table.js";

export const identitySettings = {
  spiffeEndpointSocket: setting(
    "SPIFFE_ENDPOINT_SOCKET",
    optional(address),
    "identity from this SPIFFE Workload API (SPIRE agent, weft spiffe serve)",
    { default: "" },
  ),
  tlsCert: setting("WEFT_TLS_CERT", optional(text), "identity from files: X.509-SVID chain, PEM", { default: "" }),
  tlsKey: setting("WEFT_TLS_KEY", optional(text), "its private key, PEM, EC P-256", { default: "" }),
  tlsBundle: setting("WEFT_TLS_BUNDLE", list(name), "trusted authorities, PEM: FILE or trust.domain=FILE", { default: "" }),
  caUrl: setting("WEFT_CA_URL", optional(address), "identity from this built-in authority (weft ca)", { default: "" }),
  joinToken: setting("WEFT_JOIN_TOKEN", optional(text), "what the authority demands once (weft ca token)", { default: "" }),
  spiffeId: setting("WEFT_SPIFFE_ID", optional(text), "which identity, when the join token is for a whole path (…/*)", {
    default: "",
  }),
} as const;

export interface IdentitySettings {
  readonly insecure: boolean;
  readonly spiffeEndpointSocket: string | undefined;
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly tlsBundle: readonly string[];
  readonly caUrl: string | undefined;
  readonly joinToken: string | undefined;
  readonly spiffeId?: string | undefined;
}

export type IdentityChoice =
  | { readonly kind: "insecure" }
  | { readonly kind: "workload-api"; readonly url: string }
  | { readonly kind: "files"; readonly certificate: string; readonly key: string; readonly bundles: readonly string[] }
  | { readonly kind: "ca"; readonly url: string; readonly joinToken: string; readonly spiffeId: string | undefined };

/** Which identity the settings ask for; a text says what is wrong with them, with the remedy. */
export function chooseIdentity(settings: IdentitySettings): IdentityChoice | string {
  const { insecure, spiffeEndpointSocket: url, tlsCert, tlsKey, tlsBundle, caUrl, joinToken } = settings;
  const files = tlsCert !== undefined || tlsKey !== undefined || tlsBundle.length > 0;
  const ca = caUrl !== undefined || joinToken !== undefined;
  const given = [
    ...(url === undefined ? [] : ["SPIFFE_ENDPOINT_SOCKET"]),
    ...(files ? ["WEFT_TLS_CERT, WEFT_TLS_KEY and WEFT_TLS_BUNDLE"] : []),
    ...(ca ? ["WEFT_CA_URL and WEFT_JOIN_TOKEN"] : []),
  ];
  if (insecure && given.length > 0) {
    return `--insecure and an identity (${given.join("; ")}) exclude each other; take one away`;
  }
  if (insecure) return { kind: "insecure" };
  if (given.length === 0) {
    return (
      "no identity is configured; set SPIFFE_ENDPOINT_SOCKET, or WEFT_TLS_CERT, WEFT_TLS_KEY and WEFT_TLS_BUNDLE, or WEFT_CA_URL " +
      "and WEFT_JOIN_TOKEN; or start it with --insecure (or WEFT_INSECURE=true) to run without authentication"
    );
  }
  if (given.length > 1) return `more than one identity is configured (${given.join("; ")}); leave one`;
  if (url !== undefined) return { kind: "workload-api", url };
  if (files) {
    if (tlsCert === undefined || tlsKey === undefined || tlsBundle.length === 0) return `${given[0]} must be set together`;
    return { kind: "files", certificate: tlsCert, key: tlsKey, bundles: tlsBundle };
  }
  if (caUrl === undefined || joinToken === undefined) return `${given[0]} must be set together`;
  return { kind: "ca", url: caUrl, joinToken, spiffeId: settings.spiffeId };
}
