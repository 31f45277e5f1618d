/** How a call ended, from what the other end sent. */
import { Code } from "../../status.js";
import { Reset } from "./frames.js";
import { codeOfHttp, decodeText } from "./grpc-text.js";
import { type Fields, fieldOf } from "./header-decoder.js";
import type { StreamEnd } from "./session.js";

/** Whether this is an answer of gRPC at all. */
export function strangeAnswer(fields: Fields): { code: number; details: string } | undefined {
  const status = fieldOf(fields, ":status");
  const type = fieldOf(fields, "content-type");
  if (status === "200" && type?.startsWith("application/grpc")) return undefined;
  return { code: codeOfHttp(status), details: `the other end is no gRPC server: status ${status}, ${type ?? "no type"}` };
}

export function statusOf(fields: Fields, answered: boolean): { code: number; details: string } {
  const text = fieldOf(fields, "grpc-status");
  if (text !== undefined && /^[0-9]{1,2}$/.test(text)) {
    const code = Number(text);
    return { code: code <= 16 ? code : Code.UNKNOWN, details: decodeText(fieldOf(fields, "grpc-message") ?? "") };
  }
  if (answered) return { code: Code.UNKNOWN, details: "the answer ended without a status" };
  return strangeAnswer(fields) ?? { code: Code.UNKNOWN, details: "the answer ended without a status" };
}

/** gRPC's codes for resets (grpc/grpc doc/PROTOCOL-HTTP2.md, "Errors"). */
export function statusOfReset({ reset, text }: StreamEnd): { code: number; details: string } {
  switch (reset) {
    case undefined:
      return { code: Code.UNAVAILABLE, details: text };
    case Reset.REFUSED_STREAM:
      return { code: Code.UNAVAILABLE, details: "the server refused the call without looking at it" };
    case Reset.CANCEL:
      return { code: Code.CANCELLED, details: "the server cancelled the call" };
    case Reset.ENHANCE_YOUR_CALM:
      return { code: Code.RESOURCE_EXHAUSTED, details: "the server asks for less" };
    case Reset.INADEQUATE_SECURITY:
      return { code: Code.PERMISSION_DENIED, details: "the server asks for more security" };
    default:
      return { code: Code.INTERNAL, details: text };
  }
}
