// Build the console's page: `make console`. The first line of the script names the digest of the sources it was built
// from, which a test compares.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, copyFileSync } from "node:fs";
import { join } from "node:path";
import * as esbuild from "esbuild";

const here = import.meta.dirname;
const out = join(here, "..", "serving", "console", "static");

function files(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)],
  );
}

const digest = createHash("sha256");
for (const file of [...files(join(here, "src")), join(here, "build.mjs"), join(here, "package-lock.json")].sort())
  digest.update(readFileSync(file));

const common = { bundle: true, minify: true, target: "es2022", legalComments: "linked", logLevel: "warning" };
await esbuild.build({
  ...common,
  entryPoints: [join(here, "src", "main.jsx")],
  outfile: join(out, "console.js"),
  format: "esm",
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none",
  banner: { js: `// Built by make console from sources with SHA-256 ${digest.digest("hex")}; MIT parts: preact, uPlot, marked.` },
});
await esbuild.build({
  ...common,
  entryPoints: [join(here, "src", "style.css")],
  outfile: join(out, "console.css"),
  legalComments: "none",
});
copyFileSync(join(here, "src", "index.html"), join(out, "index.html"));
for (const name of ["console.js", "console.css", "index.html"])
  console.log(`${name}: ${(readFileSync(join(out, name)).length / 1000).toFixed(1)} kB`);
