/** A cluster as the chart makes it. */
import type { Surroundings } from "../decide.js";

export const surroundingsForTests: Surroundings = {
  namespace: { name: "default" },
  defaultMode: "sidecar",
  native: true,
  csi: false,
  annotation: "networkservicemesh.io",
  sidecar: {
    image: "ghcr.io/weft/client:1",
    imagePullPolicy: "IfNotPresent",
    resources: { limits: { memory: "80Mi", cpu: "200m" }, requests: { memory: "40Mi", cpu: "100m" } },
    identity: { kind: "ca", caUrl: "tcp://weft-ca.weft-system:5010", caRoot: "ab" },
    socketFolder: "/var/lib/networkservicemesh",
    spireSocketFolder: "/run/spire/sockets",
    healthPort: 15390,
    envs: {},
    labels: { "spiffe.io/spiffe-id": "true" },
    startSeconds: 120,
  },
};
