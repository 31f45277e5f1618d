/** What is tried on the real cluster: one cluster for all, because it takes a while to come up. */
import { after, before, describe } from "node:test";
import { clusterJourneys } from "./journeys/cluster.js";
import { faultJourneys } from "./journeys/faults.js";
import { installJourney, uninstallJourney } from "./journeys/install.js";
import { podJourneys } from "./journeys/pods.js";
import { type Cluster, noCluster, startCluster } from "./rig/cluster/cluster.js";

const skip = noCluster();
let cluster: Cluster | undefined;
/** Only to be called in tests. */
const theCluster = (): Cluster => {
  if (cluster === undefined) throw new Error("the cluster is not up");
  return cluster;
};

describe("on a real cluster", { skip }, () => {
  before(async () => {
    cluster = await startCluster();
  });
  after(async () => await cluster?.stop());
  clusterJourneys(theCluster);
  // from here on Weft is installed
  installJourney(theCluster);
  podJourneys(theCluster);
  faultJourneys(theCluster);
  uninstallJourney(theCluster);
});
