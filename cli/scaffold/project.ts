/** What every kind of new project has in common: how it is built, tested, packed into an image and deployed. */

export interface Project {
  /** Of the folder, the image and the deployment: a DNS label (RFC 1123). */
  readonly name: string;
  /** The network service that it serves, or asks for. */
  readonly service: string;
  /** Where @weft/sdk and @weft/testing come from: versions, or files in the project. */
  readonly packages: { readonly sdk: string; readonly testing: string };
}

/** Path in the project → content. */
export type Files = Readonly<Record<string, string>>;

export function projectFiles(project: Project, kind: string, capabilities: readonly string[]): Files {
  return {
    "package.json": packageJson(project),
    "tsconfig.json": tsconfig,
    ".gitignore": "node_modules/\ndist/\n",
    ".dockerignore": "node_modules/\ndist/\nchart/\n",
    Dockerfile: dockerfile(kind === "firewall" ? "RUN apk add --no-cache nftables" : ""),
    "chart/Chart.yaml": `apiVersion: v2\nname: ${project.name}\nversion: 0.1.0\nappVersion: "0.1.0"\ndescription: A network function of a Weft mesh\n`,
    "chart/values.yaml": values(project),
    "chart/templates/deployment.yaml": deployment(capabilities),
  };
}

function packageJson({ name, packages }: Project): string {
  const content = {
    name,
    version: "0.1.0",
    private: true,
    type: "module",
    engines: { node: ">=20.11" },
    scripts: { build: "tsc", start: "node dist/main.js", test: "tsc && node --test dist/main.test.js" },
    dependencies: { "@weft/sdk": packages.sdk },
    devDependencies: { "@types/node": "^20.19.0", "@weft/testing": packages.testing, typescript: "^5.9.0" },
  };
  return `${JSON.stringify(content, undefined, 2)}\n`;
}

const tsconfig = `{
  "compilerOptions": {
    "target": "ES2023",
    "lib": ["ES2023", "ESNext.Disposable"],
    "module": "nodenext",
    "types": ["node"],
    "strict": true,
    "noUncheckedIndexedAccess": true,
    "rootDir": "src",
    "outDir": "dist"
  },
  "include": ["src"]
}
`;

function dockerfile(extra: string): string {
  return `# docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/NAME:0.1.0 --push .
FROM node:22-alpine AS build
WORKDIR /src
COPY . .
RUN npm install --no-audit --no-fund && npm run build && npm prune --omit=dev

FROM node:22-alpine
${extra === "" ? "" : `${extra}\n`}WORKDIR /app
COPY --from=build /src/package.json ./
COPY --from=build /src/node_modules ./node_modules
COPY --from=build /src/dist ./dist
ENTRYPOINT ["node", "dist/main.js"]
`;
}

function values({ name, service }: Project): string {
  return `image: ${name}:0.1.0
replicas: 1
service: ${service}
# Where the workload gets its identity: socket of a SPIFFE agent, or empty with insecure: true.
spiffeSocket: /run/spire/sockets/agent.sock
insecure: false
resources:
  requests: { cpu: 50m, memory: 64Mi }
  limits: { memory: 128Mi }
`;
}

function deployment(capabilities: readonly string[]): string {
  const security =
    capabilities.length === 0
      ? "allowPrivilegeEscalation: false, capabilities: { drop: [ALL] }"
      : `allowPrivilegeEscalation: false, runAsUser: 0, capabilities: { drop: [ALL], add: [${capabilities.join(", ")}] }`;
  return `apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: { app: {{ .Release.Name }} }
  template:
    metadata:
      labels: { app: {{ .Release.Name }} }
    spec:
      containers:
        - name: main
          image: {{ .Values.image | quote }}
          env:
            - { name: SERVICE, value: {{ .Values.service | quote }} }
            - { name: NSM_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
            - { name: NSM_CONNECT_TO, value: "unix:///var/lib/networkservicemesh/nsm.io.sock" }
            {{- if .Values.insecure }}
            - { name: WEFT_INSECURE, value: "true" }
            {{- else }}
            - { name: SPIFFE_ENDPOINT_SOCKET, value: "unix://{{ .Values.spiffeSocket }}" }
            {{- end }}
          resources: {{- toYaml .Values.resources | nindent 12 }}
          securityContext: { ${security} }
          volumeMounts:
            - { name: nsm, mountPath: /var/lib/networkservicemesh }
            {{- if not .Values.insecure }}
            - { name: spiffe, mountPath: {{ dir .Values.spiffeSocket | quote }}, readOnly: true }
            {{- end }}
      volumes:
        - { name: nsm, hostPath: { path: /var/lib/networkservicemesh, type: DirectoryOrCreate } }
        {{- if not .Values.insecure }}
        - { name: spiffe, hostPath: { path: {{ dir .Values.spiffeSocket | quote }}, type: Directory } }
        {{- end }}
`;
}

/** The head of each main.ts: how the program is told to end, who it is, and where its mesh is. */
export function mainHead({ name, service }: Project, imports: readonly string[], listens: boolean): string {
  const listening = `// where operators reach it (\`weft why\`); else the SDK chooses
const listenOn = process.env.NSM_LISTEN_ON === undefined ? {} : { listenOn: [process.env.NSM_LISTEN_ON] };
`;
  return `import { ${[...imports, "createLog", "identityFromEnvironment"].sort().join(", ")} } from "@weft/sdk";

const { NSM_NAME: name = "${name}", NSM_CONNECT_TO: nsmgr = "unix:///var/lib/networkservicemesh/nsm.io.sock" } = process.env;
const service = process.env.SERVICE ?? "${service}";
${listens ? listening : ""}const stop = new AbortController();
process.once("SIGINT", () => stop.abort()).once("SIGTERM", () => stop.abort());
const { signal } = stop;

const log = createLog({ name, level: "info" });
const identity = await identityFromEnvironment({ env: process.env, log, signal });
`;
}
