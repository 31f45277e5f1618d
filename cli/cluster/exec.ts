/** Runs a program in a container of the cluster and gives what it wrote, through the API server (pods/exec). */
import { Writable } from "node:stream";
import type { KubeConfig, V1Status } from "@kubernetes/client-node";
import { Code, statusError } from "../../sdk/status.js";
import type { CliContext } from "../context.js";
import type { ClusterOptions } from "./open.js";

export interface Place {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

export interface Ran {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

export type ExecInPod = (place: Place, command: readonly string[]) => Promise<Ran>;

/** How long the program may take. */
const limitMs = 30_000;

/** @throws FAILED_PRECONDITION no kubeconfig, or it cannot be used */
export async function execThrough({ kubeconfig, context }: ClusterOptions, { env, signal }: CliContext): Promise<ExecInPod> {
  // loaded when it is needed: the library is large
  const { Exec, KubeConfig } = await import("@kubernetes/client-node");
  const config: KubeConfig = new KubeConfig();
  const file = kubeconfig ?? env["KUBECONFIG"];
  if (file === undefined || file === "") config.loadFromDefault();
  else config.loadFromFile(file);
  if (context !== undefined) config.setCurrentContext(context);
  const exec = new Exec(config);
  return (place, command) =>
    new Promise<Ran>((resolve, reject) => {
      const [out, err] = [collector(), collector()];
      let socket: { close(): void } | undefined;
      const fail = (why: string, cause?: unknown): void => {
        clearTimeout(late);
        signal.removeEventListener("abort", stop);
        socket?.close();
        reject(statusError(Code.UNAVAILABLE, `pod ${place.namespace}/${place.pod}, container ${place.container}: ${why}`, cause));
      };
      const stop = (): void => fail("interrupted");
      const late = setTimeout(() => fail(`no end of \`${command.join(" ")}\` within ${limitMs} ms`), limitMs);
      signal.addEventListener("abort", stop, { once: true });
      const done = (status: V1Status): void => {
        const exitCode = exitCodeOf(status);
        if (exitCode === undefined) {
          fail(status.message ?? "it could not be run");
          return;
        }
        clearTimeout(late);
        signal.removeEventListener("abort", stop);
        resolve({ exitCode, out: out.text(), err: err.text() });
      };
      exec
        .exec(place.namespace, place.pod, place.container, [...command], out, err, null, false, done)
        .then((opened) => {
          socket = opened;
        })
        .catch((error: unknown) => fail(reasonOf(error), error));
    });
}

function collector(): Writable & { text(): string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _, next) {
      chunks.push(chunk);
      next();
    },
  });
  return Object.assign(stream, { text: () => Buffer.concat(chunks).toString("utf8") });
}

/** Source: Kubernetes, remotecommand protocol v4: a failure's exit code is among the causes. Undefined: it never ran. */
function exitCodeOf({ status, reason, details }: V1Status): number | undefined {
  if (status === "Success") return 0;
  if (reason !== "NonZeroExitCode") return undefined;
  return Number(details?.causes?.find((cause) => cause.reason === "ExitCode")?.message ?? 1);
}

function reasonOf(error: unknown): string {
  const { message } = (error ?? {}) as { message?: string };
  const forbidden = /403/.test(message ?? "")
    ? '; missing RBAC rule: {apiGroups: [""], resources: ["pods/exec"], verbs: ["create", "get"]}'
    : "";
  return `${message || "the API server ended the connection"}${forbidden}`;
}
