// A reporter for node's test runner: the files in which a test failed, one a line.
export default async function* failedFiles(source) {
  const told = new Set();
  for await (const { type, data } of source) {
    if (type !== "test:fail" || data.todo !== undefined || data.skip !== undefined) continue;
    // a file that ended by itself or was cut off is reported as a test with the file's name
    const file = data.name.endsWith(".test.ts") ? data.name : data.file;
    if (file === undefined || told.has(file)) continue;
    told.add(file);
    yield `${file}\n`;
  }
}
