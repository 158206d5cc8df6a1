// Uploads a file through a proxy, with undici, and prints what the server answers.
//
//     NODE_PATH=/usr/share/nodejs node upload.mjs PROXY CA URL FILE
//
// CA is the file with the certificate authorities that the server's certificate has to come from, and the proxy's if it has one. What
// goes wrong is said in the library's own words, and the exit code is 1.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

// NODE_PATH, where Debian's packages are found, counts for `require` only.
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
  // Undici 5 goes on with the tunnel that it was refused, for ten seconds.
  process.exit(1);
}
