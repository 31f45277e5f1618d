import assert from "node:assert/strict";
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryFolder } from "../../sdk/testing/test-server.js";
import { createPodFinder, podOf } from "./find-pod.js";

const uid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

test("the uid of a pod is in the control group of its processes, whatever driver and runtime made it", () => {
  const systemd = uid.replaceAll("-", "_");
  for (const text of [
    `4:memory:/kubepods/burstable/pod${uid}/abc\n0::/`,
    `0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${systemd}.slice/cri-containerd-1.scope`,
    `0::/../pod${uid}/crio-12`,
    `3:cpu:/node-1/kubepods/pod${uid}/x`,
  ]) {
    assert.equal(podOf(text), uid, text);
  }
  for (const text of ["", "0::/", "0::/system.slice/docker-abc.scope", "0::/kubepods/podabc"])
    assert.equal(podOf(text), undefined);
});

test("a process is of its pod once it is in the pod's group and out of the node's namespace", (t) => {
  const proc = temporaryFolder(t);
  let nowMs = 0;
  const put = (pid: string, cgroup: string, netns: string): void => {
    mkdirSync(join(proc, pid, "ns"), { recursive: true });
    writeFileSync(join(proc, pid, "cgroup"), cgroup);
    writeFileSync(join(proc, `ns-${netns}`), "");
    rmSync(join(proc, pid, "ns/net"), { force: true });
    symlinkSync(join(proc, `ns-${netns}`), join(proc, pid, "ns/net"));
  };
  put("self", "", "node");
  put("10", "0::/system.slice", "node");
  const finder = createPodFinder(proc, () => nowMs);
  const look = () => {
    nowMs += 50;
    return finder.find(uid);
  };
  assert.equal(look(), undefined);
  put("11", "0::/runtime", "node");
  assert.equal(look(), undefined);
  put("11", `0::/kubepods/pod${uid}/a`, "node");
  assert.equal(look(), undefined, "it is in its group and still in the node's namespace");
  put("11", `0::/kubepods/pod${uid}/a`, "pod");
  const found = look();
  assert.ok(found !== undefined);
  rmSync(join(proc, "11"), { recursive: true });
  assert.equal(look(), undefined, "it has gone");
  put("12", `0::/kubepods/pod${uid}/b`, "pod");
  assert.deepEqual(look(), found, "another process of the same pod");
});
