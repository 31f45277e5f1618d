import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { knowsInterruptBudget } from "./compile-later.js";

const skip = knowsInterruptBudget() ? false : "needs Node 20: later versions of V8 count in another way";

/** How often a function is found hot while each of fifty is called two hundred times. */
function foundHot(before: string): number {
  const work = `
    const texts = Array.from({ length: 50 }, (_, at) => "let sum = " + at + "; for (let i = 0; i < 40; i++) sum += i ^ n; return sum;");
    const all = texts.map((text) => new Function("n", text));
    for (let n = 0; n < 200; n++) for (const one of all) one(n);`;
  const flags = [...process.execArgv.filter((flag) => !flag.startsWith("--test")), "--trace-opt", "--input-type=module"];
  const { stdout, stderr, status } = spawnSync(process.execPath, [...flags, "--eval", `${before}${work}`], { encoding: "utf8" });
  assert.equal(status, 0, stderr);
  // not those of what loads the modules
  return stdout.split("\n").filter((line) => line.startsWith("[marking") && line.includes("<JSFunction (sfi")).length;
}

test("row 11.3: what has run a few hundred times is not optimised yet", { skip }, () => {
  const without = foundHot("");
  const url = import.meta.resolve("./compile-later.js");
  const later = foundHot(`const { compileLater } = await import(${JSON.stringify(url)}); compileLater();\n`);
  assert.ok(without >= 50, `${without} without`);
  assert.ok(later < without / 2, `${later} instead of ${without}`);
});

test("only the version of V8 that has the flag is told", () => {
  assert.equal(knowsInterruptBudget("11.3.244.8-node.33"), true);
  for (const version of ["12.4.254.21-node.57", "13.6.233.17-node.53", "9.4.146.26-node.26"])
    assert.equal(knowsInterruptBudget(version), false);
});
