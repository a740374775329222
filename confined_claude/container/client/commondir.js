// Loaded by Claude Code before its own code. Where a git directory has a file `commondir`, it makes no worktree and runs
// little of git. The guard keeps one there that says ".", see guard/pins.py. To git that is the same as none: here as well.
const fs = require("node:fs");

const { lstatSync, readFileSync } = fs;

function isPin(path) {
  if (typeof path !== "string" || !path.endsWith("/commondir")) return false;
  try {
    const status = lstatSync(path);
    return status.isFile() && status.size < 8 && readFileSync(path, "latin1").trim() === ".";
  } catch {
    return false;
  }
}

for (const name of ["access", "lstat", "open", "readFile", "readlink", "stat"])
  for (const [calls, key] of [[fs, `${name}Sync`], [fs.promises, name]]) {
    const call = calls[key];
    calls[key] = (path, ...words) => call(isPin(path) ? "/proc/self/nothing" : path, ...words);
  }

// What the session runs with Bun has nothing of this.
const own = process.env.BUN_OPTIONS.split(" ").slice(2).join(" ");
if (own) process.env.BUN_OPTIONS = own;
else delete process.env.BUN_OPTIONS;
