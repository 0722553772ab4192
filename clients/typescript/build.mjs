// Build the client: `make client`. The first line of the script names the digest of the sources it was built from.

import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";

const SOURCES = ["openapi.json", "src/index.ts"];

const digest = createHash("sha256");
for (const file of SOURCES) digest.update(readFileSync(file));

rmSync("dist", { recursive: true, force: true });
const run = (name, ...options) => execFileSync(`node_modules/.bin/${name}`, options, { stdio: "inherit" });
run("openapi-typescript", "openapi.json", "--default-non-nullable", "false", "--output", "src/schema.ts");
run("tsc");
rmSync("dist/schema.js"); // types only
const script = readFileSync("dist/index.js", "utf8");
writeFileSync("dist/index.js", `// Built by make client from sources with SHA-256 ${digest.digest("hex")}.\n${script}`);
