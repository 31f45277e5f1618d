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
  joinTokenFile: setting(
    "WEFT_JOIN_TOKEN_FILE",
    optional(text),
    "file with a Kubernetes service account token for the authority; read anew each time",
    { default: "" },
  ),
  caRoot: setting("WEFT_CA_ROOT", optional(text), "with a token file: SHA-256 of the authority's root certificate, in hex", {
    default: "",
  }),
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
  readonly joinTokenFile?: string | undefined;
  readonly caRoot?: string | undefined;
  readonly spiffeId?: string | undefined;
}

export type IdentityChoice =
  | { readonly kind: "insecure" }
  | { readonly kind: "workload-api"; readonly url: string }
  | { readonly kind: "files"; readonly certificate: string; readonly key: string; readonly bundles: readonly string[] }
  | {
      readonly kind: "ca";
      readonly url: string;
      readonly join: { readonly token: string } | { readonly file: string; readonly root: string };
      readonly spiffeId: string | undefined;
    };

/** Which identity the settings ask for; a text says what is wrong with them, with the remedy. */
export function chooseIdentity(settings: IdentitySettings): IdentityChoice | string {
  const { insecure, spiffeEndpointSocket: url, tlsCert, tlsKey, tlsBundle, caUrl, joinToken, joinTokenFile } = settings;
  const files = tlsCert !== undefined || tlsKey !== undefined || tlsBundle.length > 0;
  const ca = caUrl !== undefined || joinToken !== undefined || joinTokenFile !== undefined;
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
  return chooseCa(settings, given[0] ?? "");
}

function chooseCa(settings: IdentitySettings, names: string): IdentityChoice | string {
  const { caUrl, joinToken, joinTokenFile, caRoot, spiffeId } = settings;
  if (joinToken !== undefined && joinTokenFile !== undefined)
    return "WEFT_JOIN_TOKEN and WEFT_JOIN_TOKEN_FILE exclude each other";
  if (caUrl !== undefined && joinToken !== undefined) return { kind: "ca", url: caUrl, join: { token: joinToken }, spiffeId };
  if (caUrl === undefined || joinTokenFile === undefined) return `${names} must be set together`;
  if (caRoot === undefined || !/^[0-9a-f]{64}$/.test(caRoot)) {
    return "WEFT_JOIN_TOKEN_FILE needs WEFT_CA_ROOT, the 64 hexadecimal digits that `weft ca` logs as `root`: without it anybody could be the authority";
  }
  return { kind: "ca", url: caUrl, join: { file: joinTokenFile, root: caRoot }, spiffeId };
}
