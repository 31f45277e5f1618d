/** Numbers on the command line. */
import { InvalidArgumentError } from "commander";
import { maxNodes } from "./mesh/plan.js";

export function wholeNumber(text: string): number {
  const number = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number)) throw new InvalidArgumentError("it must be a whole number.");
  return number;
}

export function nodeCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || count > maxNodes) throw new InvalidArgumentError(`it must be 1 … ${maxNodes}.`);
  return count;
}
