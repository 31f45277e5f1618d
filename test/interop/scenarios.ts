/** Tests of their own beside the matrix: each a chapter of docs/interop.md with its lines. */
import { suite, test } from "node:test";
import { strangers } from "./strangers.js";
import { liveSwaps } from "./swap.js";
import { twoNodes } from "./two-nodes.js";

export interface Chapter {
  readonly name: string;
  /** For the reader of the page. */
  readonly shows: string;
  readonly scenarios: readonly Scenario[];
  /** Runs after the last. */
  readonly end?: () => Promise<void>;
}

export interface Scenario {
  readonly name: string;
  run(): Promise<void>;
}

export interface ScenarioResult {
  readonly chapter: string;
  readonly shows: string;
  readonly name: string;
  readonly outcome: "passed" | "failed";
  readonly tookMs: number;
}

/** Registers all tests; their results come into `results` as they end. */
export function runScenarios(results: ScenarioResult[], only: string): void {
  const chapters = [liveSwaps(), twoNodes(), strangers()];
  suite("beside the matrix", { concurrency: 3 }, () => {
    for (const chapter of chapters) if (chapter.name.includes(only)) runChapter(chapter, results);
  });
}

function runChapter(chapter: Chapter, results: ScenarioResult[]): void {
  test(chapter.name, async (t) => {
    try {
      for (const { name, run } of chapter.scenarios) {
        await t.test(name, async () => {
          const result = { chapter: chapter.name, shows: chapter.shows, name };
          const startedMs = Date.now();
          try {
            await run();
            results.push({ ...result, outcome: "passed", tookMs: Date.now() - startedMs });
          } catch (error) {
            results.push({ ...result, outcome: "failed", tookMs: Date.now() - startedMs });
            throw error;
          }
        });
      }
    } finally {
      await chapter.end?.();
    }
  });
}
