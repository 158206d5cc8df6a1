// Uploads a file through a proxy, with undici, and prints what the server answers.
//
//     NODE_PATH=/usr/share/nodejs node upload.mjs PROXY CA URL FILE
//
// CA is a file with the authorities that issue the server's certificate, and the proxy's if it has
// one. Errors are printed in the library's own words, with the exit code 1.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// `import` ignores NODE_PATH, where Debian's packages are, so use `require`.
const { ProxyAgent, request } = createRequire(import.meta.url)("undici");

const [proxy, ca, url, file] = process.argv.slice(2);
const tls = { ca: readFileSync(ca) };
const dispatcher = new ProxyAgent({ uri: proxy, proxyTls: tls, requestTls: tls });
try {
  const { statusCode, body } = await request(url, { method: "POST", body: readFileSync(file), dispatcher });
  if (statusCode !== 200) throw new Error(`status ${statusCode}`);
  console.log(await body.text());
  await dispatcher.close();
} catch (error) {
  console.error(`${error.name}: ${error.message}`);
  // Undici 5 would try the refused tunnel for ten seconds more, so end here.
  process.exit(1);
}
