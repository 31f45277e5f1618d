import assert from "node:assert/strict";
import { test } from "node:test";
import { backgroundCall, type CallContext, chain, type Element } from "./chain.js";

type Api = { ask: (question: string) => string; drop: (question: string) => void };
interface HasLabel {
  readonly label: string;
}

const addLabel: Element<Api, object, HasLabel> = {
  name: "add-label",
  steps: {
    ask: async (question, _context, rest) => `<${await rest.ask(question, { label: "l" })}>`,
    drop: (question, _context, rest) => rest.drop(question, { label: "l" }),
  },
};
const useLabel: Element<Api, HasLabel> = {
  name: "use-label",
  steps: { ask: (question, { label }, rest) => rest.ask(`${question}+${label}`) },
};

test("elements run in the order of use, and context flows down", async () => {
  const dropped: string[] = [];
  const handler = chain<Api>("test", ["ask", "drop"])
    .use(addLabel)
    .use(useLabel)
    .end({ ask: async (question, { label }) => `${question}.${label}`, drop: async (question) => void dropped.push(question) });
  const call = backgroundCall(new AbortController().signal);
  assert.equal(await handler.ask("q", call), "<q+l.l>");
  await handler.drop("d", call);
  assert.deepEqual(dropped, ["d"]);
});

test("a wrong order does not compile", () => {
  // @ts-expect-error: `label` is needed before it is added
  chain<Api>("test", ["ask", "drop"]).use(useLabel).use(addLabel);
});

test("an observer sees every element once and may replace the context", async () => {
  const seen: string[] = [];
  const observer = {
    around<T>(
      step: { element: string; method: string },
      _input: unknown,
      context: CallContext,
      run: (c: CallContext) => Promise<T>,
    ) {
      seen.push(`${step.element}/${step.method} ${context.traceparent}`);
      return run({ ...context, traceparent: `${step.element}-span` });
    },
  };
  const handler = chain<Api>("test", ["ask", "drop"], observer)
    .use(addLabel)
    .use(useLabel)
    .end({ ask: async (_question, context) => `${context.traceparent}`, drop: async () => {} });
  const call = backgroundCall(new AbortController().signal);
  assert.equal(await handler.ask("q", call), "<use-label-span>");
  assert.deepEqual(seen, ["add-label/ask undefined", "use-label/ask add-label-span"]);
});

test("detached work keeps what elements added and has its own signal", async () => {
  const later: (() => Promise<string>)[] = [];
  const controller = new AbortController();
  const detach: Element<Api, HasLabel> = {
    name: "detach",
    steps: {
      ask: async (question, _context, rest) => {
        later.push(() => rest.detach({ signal: controller.signal }).ask("again"));
        return rest.ask(question);
      },
    },
  };
  const handler = chain<Api>("test", ["ask", "drop"])
    .use(addLabel)
    .use(detach)
    .end({
      ask: async (question, { label, signal }) => `${question} ${label} ${signal === controller.signal}`,
      drop: async () => {},
    });
  await handler.ask("q", backgroundCall(new AbortController().signal));
  assert.equal(await later[0]?.(), "again l true");
});
