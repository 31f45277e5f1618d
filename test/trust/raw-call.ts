/** A gRPC call made by hand, for callers that no honest client would be: any certificate, any headers, any bytes. */
import type { KeyObject, X509Certificate } from "node:crypto";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect as connectTls } from "node:tls";

export interface Shown {
  readonly certificate?: X509Certificate;
  readonly privateKey?: KeyObject;
}

export interface RawStatus {
  readonly code: number;
  readonly details: string;
}

export interface RawConnection {
  /** @param path  of the method, e.g. /networkservice.NetworkService/Request */
  call(path: string, message: Uint8Array, headers?: Readonly<Record<string, string>>): Promise<RawStatus>;
  close(): void;
}

const timeoutMs = 15_000;

/** @param url  unix:///path */
export async function openRaw(url: string, { certificate, privateKey }: Shown): Promise<RawConnection> {
  const socket = connectTls({
    path: url.replace(/^unix:\/\//, ""),
    ALPNProtocols: ["h2"],
    rejectUnauthorized: false,
    ...(certificate === undefined ? {} : { cert: certificate.toString() }),
    ...(privateKey === undefined ? {} : { key: privateKey.export({ type: "pkcs8", format: "pem" }) }),
  });
  await new Promise((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("error", reject);
  });
  const session = connectHttp2("https://raw", { createConnection: () => socket });
  session.on("error", () => {});
  return { call: (path, message, headers = {}) => callOver(session, path, message, headers), close: () => session.destroy() };
}

function callOver(
  session: ClientHttp2Session,
  path: string,
  message: Uint8Array,
  headers: Readonly<Record<string, string>>,
): Promise<RawStatus> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const timer = setTimeout(() => stream.destroy(new Error(`${path}: no answer`)), timeoutMs);
    let found: RawStatus | undefined;
    const look = (got: Readonly<Record<string, unknown>>): void => {
      const code = got["grpc-status"];
      if (code !== undefined) found = { code: Number(code), details: decodeURIComponent(String(got["grpc-message"] ?? "")) };
    };
    stream.on("response", look).on("trailers", look).on("error", reject);
    stream.on("close", () => {
      clearTimeout(timer);
      if (found === undefined) reject(new Error(`${path}: ended without a status`));
      else resolve(found);
    });
    stream.resume();
    const frame = Buffer.alloc(5);
    frame.writeUInt32BE(message.length, 1);
    stream.end(Buffer.concat([frame, message]));
  });
}
