/** Clean-up in reverse order: node's own `after` runs first things first, which pulls the ground away from later ones. */

/** The part of a test context that our helpers use. */
export interface CleanUp {
  after(undo: () => unknown): void;
}

/** Collects undo steps and runs them, last first, when the test ends; all run even if one fails. */
export function cleanUp(t: CleanUp): CleanUp {
  const steps: (() => unknown)[] = [];
  t.after(async () => {
    const errors: unknown[] = [];
    for (const undo of steps.reverse()) {
      try {
        await undo();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, "clean-up failed");
  });
  return { after: (undo) => void steps.push(undo) };
}
