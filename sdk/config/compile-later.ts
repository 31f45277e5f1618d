/**
 * When V8 optimises what a component runs. Its default takes a function for hot after some 200 calls. A component that starts, or
 * that has to do much at once after a quiet hour, passes that with most of its code within seconds, and the compiler's threads then
 * take a quarter of the processor time, just when it is short (docs/decisions/0009-many-lost-at-once.md). Eight times as many calls
 * still come within minutes for what is hot indeed.
 */
import { setFlagsFromString } from "node:v8";

/** In bytes of bytecode that have run; V8's default is 66 KiB. */
const interruptBudget = 540_000;

/** V8 11 (Node 20) alone: later ones count calls, have a cheaper compiler in between, and complain about a flag that they do not know. */
export function knowsInterruptBudget(v8Version: string = process.versions.v8): boolean {
  return v8Version.startsWith("11.");
}

/** For this whole process, so it is for the owner of the process to call, once, at its start. */
export function compileLater(): void {
  if (knowsInterruptBudget()) setFlagsFromString(`--interrupt-budget=${interruptBudget}`);
}
