/** What is the same for every client that is put into a pod. */
export interface Resources {
  readonly limits: Readonly<Record<string, string>>;
  readonly requests: Readonly<Record<string, string>>;
}

/** How a client shows who it is. */
export type SidecarIdentity =
  | { readonly kind: "insecure" }
  | { readonly kind: "spire" }
  /** The built-in authority; `caRoot` is the SHA-256 fingerprint of its root, in hexadecimal digits. */
  | { readonly kind: "ca"; readonly caUrl: string; readonly caRoot: string };

export interface SidecarSettings {
  readonly image: string;
  readonly imagePullPolicy: "Always" | "IfNotPresent" | "Never";
  readonly resources: Resources;
  readonly identity: SidecarIdentity;
  /** Folder of the node with the manager's socket; the same path in the pod. */
  readonly socketFolder: string;
  readonly spireSocketFolder: string;
  /** TCP port of the pod on which the client answers the kubelet's probe. */
  readonly healthPort: number;
  /** Further environment of the client. */
  readonly envs: Readonly<Record<string, string>>;
  /** Labels that every pod with a client gets. */
  readonly labels: Readonly<Record<string, string>>;
  /** How long a native sidecar may take to connect before the kubelet starts it again, in seconds. */
  readonly startSeconds: number;
}
