/** One body of a test over both ways to run a node. */
import { type TestContext, test } from "node:test";

/** How the parts of a node are put into processes; what holds for one shape holds for the other. */
export type Shape = "apart" | "joined";
export const shapes: readonly Shape[] = ["apart", "joined"];

/** The same test over both shapes. */
export function testShapes(name: string, run: (t: TestContext, shape: Shape) => Promise<void>): void {
  for (const shape of shapes) test(`${name} (${shape})`, (t) => run(t, shape));
}
