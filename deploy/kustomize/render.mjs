// Gives the objects of a rendered chart the namespace of the release, where they have none and their kind wants one:
// render.mjs NAMESPACE <rendered.yaml. Kustomize's own transformer would move those of other namespaces, too.
import { readFileSync } from "node:fs";
import { parseAllDocuments, stringify } from "yaml";

const clusterWide = /^(Cluster.*|CustomResourceDefinition|Namespace|MutatingWebhookConfiguration|PriorityClass)$/;
const namespace = process.argv[2];
for (const document of parseAllDocuments(readFileSync(0, "utf8"))) {
  const object = document.toJS();
  if (object === null) continue;
  if (!clusterWide.test(object.kind)) object.metadata = { namespace, ...object.metadata };
  process.stdout.write(`---\n${stringify(object, { lineWidth: 0 })}`);
}
