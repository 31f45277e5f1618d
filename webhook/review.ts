/** AdmissionReview (admission.k8s.io/v1) from and to JSON (pure). */
import { Code, statusError } from "../sdk/status.js";
import type { Review, Verdict } from "./decide.js";
import { at, fieldsOf } from "./objects.js";

const apiVersion = "admission.k8s.io/v1";

/** @throws INVALID_ARGUMENT when it is none */
export function parseReview(text: string): Review {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw wrong(`it is no JSON (${(error as Error).message})`, error);
  }
  const request = fieldsOf(at(value, ["request"]));
  if (at(value, ["kind"]) !== "AdmissionReview" || at(value, ["apiVersion"]) !== apiVersion || request === undefined) {
    throw wrong(`it has no request, or is not of ${apiVersion}`);
  }
  const uid = textOf(request["uid"]);
  if (uid === "") throw wrong("request.uid is missing");
  return {
    uid,
    kind: textOf(at(request, ["kind", "kind"])),
    operation: textOf(request["operation"]),
    namespace: textOf(request["namespace"]),
    object: request["object"],
    oldObject: request["oldObject"],
  };
}

export function answerOf(uid: string, verdict: Verdict): object {
  if (!verdict.allowed) {
    return {
      apiVersion,
      kind: "AdmissionReview",
      response: { uid, allowed: false, status: { code: 422, reason: "Invalid", message: verdict.message } },
    };
  }
  const patch = Buffer.from(JSON.stringify(verdict.patch)).toString("base64");
  return {
    apiVersion,
    kind: "AdmissionReview",
    response: {
      uid,
      allowed: true,
      ...(verdict.patch.length === 0 ? {} : { patchType: "JSONPatch", patch }),
      // longer ones are cut by the apiserver
      ...(verdict.warnings.length === 0 ? {} : { warnings: verdict.warnings.map((text) => text.slice(0, 256)) }),
    },
  };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function wrong(problem: string, cause?: unknown) {
  return statusError(Code.INVALID_ARGUMENT, `this is no AdmissionReview: ${problem}`, cause);
}
